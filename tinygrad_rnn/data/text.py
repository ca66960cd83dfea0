"""Text as numbers: vocabularies of characters and of words, and the cut into training, validation and test
text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ..backend import current, host_array, to_numpy
from ..creation import tensor
from ..engine import Value
from ..states import reading_state
from ..tensor import Tensor

SPECIALS = ("pad", "unk", "bos", "eos")


class Vocab:
    """A numbered list of tokens. Use CharVocab or WordVocab; `build` makes one from text.

    `tokens[i]` is token i. `specials` maps any of "pad", "unk", "bos", "eos" (padding, unknown, begin and end
    of a sequence) to tokens of the list; `pad_id`, `unk_id`, `bos_id`, `eos_id` are their numbers, or None.
    Raises ValueError for a token that stands twice.
    """

    _what: ClassVar[str]  # what a token is, in errors

    def __init__(self, tokens: Iterable[str], specials: Mapping[str, str] | None = None) -> None:
        self.tokens = list(tokens)
        self.specials = dict(specials or {})
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        if len(self.ids) != len(self.tokens):
            twice = next(token for token, n in Counter(self.tokens).items() if n > 1)
            raise ValueError(f"{self._name}: {twice!r} stands twice among the tokens")
        for role, token in self.specials.items():
            if role not in SPECIALS:
                raise ValueError(f"{self._name}: a special is one of {', '.join(SPECIALS)}, got {role!r}")
            if token not in self.ids:
                raise ValueError(f"{self._name}: the special token {token!r} is not among the tokens")
        self.pad_id, self.unk_id, self.bos_id, self.eos_id = (
            self.ids.get(self.specials[role]) if role in self.specials else None for role in SPECIALS
        )

    @property
    def _name(self) -> str:
        return type(self).__name__

    @classmethod
    def build(
        cls,
        text: Any,
        min_count: int = 1,
        max_size: int | None = None,
        *,
        specials: Sequence[str] | Mapping[str, str] = (),
    ) -> Any:
        """The vocabulary of a text, or of several.

        Tokens that come fewer than `min_count` times are left out, and so are the rarest where there would be
        more than `max_size` (specials among them). `specials`: roles to have, as ("pad", "unk"), for the
        tokens "<pad>" and "<unk>", or a dict of roles and tokens; they come first, in that order. Raises
        ValueError for a text without tokens.
        """
        vocab = cls.__new__(cls)
        named = dict(specials) if isinstance(specials, Mapping) else {role: f"<{role}>" for role in specials}
        counts: Counter[str] = Counter()
        for part in [text] if isinstance(text, str) else text:
            counts.update(vocab.split(part))
        if not counts:
            raise ValueError(
                f"{cls.__name__}: the text is empty; there is nothing to build a vocabulary from"
            )
        found = [token for token, n in counts.items() if n >= min_count and token not in named.values()]
        room = None if max_size is None else max_size - len(named)
        if room is not None and room < 0:
            raise ValueError(f"{cls.__name__}: max_size={max_size} leaves no room for {len(named)} specials")
        if room is not None and len(found) > room:
            found = sorted(found, key=lambda token: (-counts[token], token))[:room]
        vocab.__init__([*named.values(), *vocab.sorted(found, counts)], named)  # type: ignore[misc]
        return vocab

    def split(self, text: Any) -> Iterable[str]:
        """The tokens of a text."""
        raise NotImplementedError

    def join(self, tokens: list[str]) -> str:
        """The text of tokens."""
        raise NotImplementedError

    def sorted(self, tokens: list[str], counts: Counter[str]) -> list[str]:
        """The order of a new vocabulary's tokens: the most frequent first."""
        return sorted(tokens, key=lambda token: (-counts[token], token))

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self.ids

    def __getitem__(self, token: str) -> int:
        """The number of a token, or `unk_id` for an unknown one."""
        found = self.ids.get(token, self.unk_id)
        if found is None:
            raise self._unknown(token)
        return found

    def __repr__(self) -> str:
        return f"{self._name}({len(self)} tokens)"

    def _unknown(self, token: str) -> ValueError:
        return ValueError(
            f"{self._name}: {token!r} is not among the {len(self)} {self._what}s, and there is no unknown "
            "one to stand "
            'for it; build with specials=("unk",), or from text that has it'
        )

    def _role(self, role: str) -> int:
        found: int | None = getattr(self, f"{role}_id")
        if found is None:
            raise ValueError(f"{self._name}: has no {role} token; build it with specials=({role!r},)")
        return found

    def encode(self, text: Any, *, bos: bool = False, eos: bool = False, device: Any = None) -> Tensor:
        """The numbers of a text's tokens (N,) int64; with `bos` and `eos` those of the specials around them.

        Raises ValueError for a token that is not in the vocabulary where there is no "unk".
        """
        before = [self._role("bos")] if bos else []
        after = [self._role("eos")] if eos else []
        return self._tensor(np.concatenate([before, self._numbers(text), after]), device)

    def _numbers(self, text: Any) -> Any:
        return np.array([self[token] for token in self.split(text)], np.int64)

    @staticmethod
    def _tensor(numbers: Any, device: Any) -> Tensor:
        return tensor(numbers.astype(np.int64), device=current() if device is None else device)

    def decode(self, ids: Any, *, skip_specials: bool = True) -> str:
        """The text of numbers: a tensor (N,), an array or a list.

        Specials other than "unk" are left out, unless `skip_specials=False`. Raises IndexError for a number
        that no token has.
        """
        numbers = to_numpy(ids.array) if isinstance(ids, Value) else host_array(ids)
        hidden = {self.pad_id, self.bos_id, self.eos_id} if skip_specials else set()
        chosen = [int(i) for i in numbers.reshape(-1).tolist()]
        wrong = next((i for i in chosen if not 0 <= i < len(self)), None)
        if wrong is not None:
            raise IndexError(f"{self._name}: there is no token {wrong}; there are {len(self)}, from 0 on")
        return self.join([self.tokens[i] for i in chosen if i not in hidden])

    def state_dict(self) -> dict[str, Any]:
        """What `from_state` needs: {"tokens": a list of strings, "specials": a dict of strings}."""
        return {"tokens": list(self.tokens), "specials": dict(self.specials)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Any:
        """The vocabulary that `state_dict` described. Raises ValueError for what is no such description."""
        with reading_state(f"{cls.__name__}.from_state"):
            return cls(state["tokens"], state["specials"])


class CharVocab(Vocab):
    """A vocabulary of characters, in the order of their code points. `CharVocab.build(text)`, `encode`,
    `decode`.
    """

    _what = "character"

    def split(self, text: Any) -> Iterable[str]:
        return text

    def join(self, tokens: list[str]) -> str:
        return "".join(tokens)

    def sorted(self, tokens: list[str], counts: Counter[str]) -> list[str]:
        return sorted(tokens)

    def _numbers(self, text: Any) -> Any:
        if not isinstance(text, str) or len(text) < 64:
            return super()._numbers(text)
        # A table by code point: some fifty times as fast as a look-up for each character.
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        table = np.full(max(int(codes.max()), max(map(ord, self._characters()), default=0)) + 1, -1, np.int64)
        for token in self._characters():
            table[ord(token)] = self.ids[token]
        numbers = table[codes]
        missing = numbers < 0
        if missing.any():
            if self.unk_id is None:
                raise self._unknown(text[int(missing.argmax())])
            numbers[missing] = self.unk_id
        return numbers

    def _characters(self) -> list[str]:
        return [token for token in self.tokens if len(token) == 1]


class WordVocab(Vocab):
    """A vocabulary of words, the most frequent first.

    A text's words are what stands between its spaces; `split` and `join` may be overridden, and lists of
    words are taken as they are.
    """

    _what = "word"

    def split(self, text: Any) -> Iterable[str]:
        return text.split() if isinstance(text, str) else text

    def join(self, tokens: list[str]) -> str:
        return " ".join(tokens)


def split_text(text: Any, fractions: Sequence[float] = (0.9, 0.05, 0.05)) -> tuple[Any, ...]:
    """A text, or anything else with a length and slices, cut one after the other into parts of the given
    fractions.

    The parts together are the whole; ends are rounded. Raises ValueError where fractions are negative or do
    not sum to 1.
    """
    if any(f < 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"split_text: fractions must be at least 0 and sum to 1, got {tuple(fractions)}")
    ends = [round(len(text) * sum(fractions[: k + 1])) for k in range(len(fractions))]
    return tuple(text[start:end] for start, end in zip([0, *ends], ends, strict=False))
