"""Vocabularies, the cut of a text, windows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn.data import CharVocab, Vocab, WordVocab, split_text, windows

TEXT = "the cat sat on the mat, the end"
ALPHABET = st.characters(exclude_categories=[])  # lone surrogates among them, as a broken file may give


@given(st.text(ALPHABET, min_size=1, max_size=200))
def test_characters_come_back(text):
    vocab = CharVocab.build(text)
    ids = vocab.encode(text)
    assert (ids.dtype, ids.shape) == ("int64", (len(text),))
    assert vocab.decode(ids) == text
    assert vocab.tokens == sorted(set(text))
    assert [
        vocab[c] for c in text
    ] == ids.tolist()  # the table for long texts gives what single look-ups give


@given(st.text("ab \n", max_size=50), st.integers(1, 3), st.one_of(st.none(), st.integers(1, 5)))
def test_words(text, min_count, max_size):
    text += " end end end"
    vocab = WordVocab.build(text, min_count, max_size, specials=("unk",))
    assert vocab.tokens[0] == "<unk>"
    assert len(vocab) <= (max_size or 10**6)
    words = text.split()
    kept = {w for w in words if w in vocab}
    assert all(words.count(w) >= min_count for w in kept)
    assert vocab.decode(vocab.encode(text)).split() == [w if w in kept else "<unk>" for w in words]


def test_most_frequent_words_first_and_kept():
    vocab = WordVocab.build(TEXT)
    assert vocab.tokens[0] == "the"
    assert vocab.tokens[1:] == sorted(vocab.tokens[1:])
    assert WordVocab.build(TEXT, max_size=1).tokens == ["the"]
    assert vocab.encode(["the", "cat"]).tolist() == [vocab["the"], vocab["cat"]]
    assert WordVocab.build([TEXT, "one more"])["more"]


def test_specials():
    vocab = CharVocab.build("ab" * 50, specials=("pad", "unk", "bos", "eos"))
    assert (vocab.pad_id, vocab.unk_id, vocab.bos_id, vocab.eos_id) == (0, 1, 2, 3)
    ids = vocab.encode("abx" * 40, bos=True, eos=True)
    assert ids.tolist() == [2, *[4, 5, 1] * 40, 3]
    assert vocab.decode(ids) == "ab<unk>" * 40
    assert vocab.decode([2, 4, 3, 0], skip_specials=False) == "<bos>a<eos><pad>"
    named = WordVocab.build("a b", specials={"unk": "?", "eos": "\n"})
    assert named.tokens == ["?", "\n", "a", "b"]
    assert named.encode("zzz").tolist() == [0]
    # a special that also stands in the text is one token
    assert CharVocab.build("a?b", specials={"unk": "?"}).tokens == ["?", "a", "b"]


@pytest.mark.parametrize("kind", [CharVocab, WordVocab])
def test_saved_as_lists(kind):
    vocab = kind.build(TEXT, specials=("unk", "eos"))
    state = vocab.state_dict()
    assert type(state["tokens"]) is list
    again = kind.from_state(state)
    assert again.tokens == vocab.tokens
    assert again.eos_id == vocab.eos_id
    assert again.encode(TEXT).tolist() == vocab.encode(TEXT).tolist()
    assert repr(again) == f"{kind.__name__}({len(vocab)} tokens)"


UNKNOWN = r"CharVocab: .z. is not among the 2 characters, .*; build with specials=\(.unk.,\)"
ERRORS = [
    (lambda: CharVocab.build("ab").encode("az"), ValueError, UNKNOWN),
    (lambda: CharVocab.build("ab").encode("a" * 99 + "z"), ValueError, UNKNOWN),
    (lambda: CharVocab.build("ab")["z"], ValueError, UNKNOWN),
    (lambda: CharVocab.build(""), ValueError, "CharVocab: the text is empty"),
    (lambda: WordVocab.build(" \n"), ValueError, "WordVocab: the text is empty"),
    (lambda: CharVocab("aa"), ValueError, "CharVocab: 'a' stands twice among the tokens"),
    (lambda: CharVocab("a", {"unk": "b"}), ValueError, "the special token 'b' is not among the tokens"),
    (lambda: CharVocab("a", {"what": "a"}), ValueError, "a special is one of pad, unk, bos, eos, got 'what'"),
    (lambda: CharVocab("a").encode("a", eos=True), ValueError, "CharVocab: has no eos token; build it with"),
    (lambda: CharVocab("a").decode([1]), IndexError, "there is no token 1; there are 1, from 0 on"),
    (lambda: CharVocab("a").decode([-1]), IndexError, "there is no token -1"),
    (lambda: CharVocab.build("a", max_size=1, specials=("unk", "pad")), ValueError, "leaves no room for 2"),
    (
        lambda: split_text("abc", (0.5, 0.6)),
        ValueError,
        r"fractions must be at least 0 and sum to 1, got \(0.5",
    ),
    (lambda: windows([[1, 2]], 1, 1), ValueError, r"windows: tokens must have one axis, got shape \(1, 2\)"),
    (
        lambda: windows([1, 2], 0, 1),
        ValueError,
        "windows: batch_size must be an integer of at least 1, got 0",
    ),
    (
        lambda: windows([1, 2], 1, 1.5),
        ValueError,
        "windows: length must be an integer of at least 1, got 1.5",
    ),
    (lambda: windows([1, 2], 2, 1), ValueError, "windows: 2 tokens are too few for 2 rows, .* at least 3"),
]


@pytest.mark.parametrize(("call", "kind", "sentence"), ERRORS)
def test_errors(call, kind, sentence):
    with pytest.raises(kind, match=sentence):
        call()


def test_base_vocab_defines_no_split():
    with pytest.raises(NotImplementedError):
        Vocab(["a"]).encode("a")
    with pytest.raises(NotImplementedError):
        Vocab(["a"]).decode([0])


@given(st.text(max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_parts_of_a_text_are_the_whole(text, odds):
    parts = split_text(text, [n / sum(odds) for n in odds])
    assert "".join(parts) == text
    assert len(parts) == len(odds)
    assert all(abs(len(p) - len(text) * n / sum(odds)) <= 1 for p, n in zip(parts, odds, strict=True))


@given(st.integers(2, 120), st.integers(1, 6), st.integers(1, 20))
def test_windows_go_on_row_by_row(n, batch_size, length):
    if (n - 1) // batch_size < 1:
        return
    found = windows(tg.arange(n), batch_size, length)
    pairs = list(found)
    assert len(pairs) == len(found)
    assert all(x.shape == y.shape and x.shape[1] == batch_size for x, y in pairs)
    assert all(len(x) == length for x, _ in pairs[:-1])
    rows = tg.concat([x for x, _ in pairs]).T.tolist()
    assert [i for row in rows for i in row] == list(range(n - 1 - found.unused))
    assert tg.concat([y for _, y in pairs]).T.tolist() == [[i + 1 for i in row] for row in rows]
    assert found.unused < batch_size
    assert [x.tolist() for x, _ in found.batches(1)] == [x.tolist() for x, _ in pairs[1:]]
