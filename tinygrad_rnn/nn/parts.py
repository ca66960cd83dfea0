"""Parts of a module by their names, and names of PyTorch's that mean what others say here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..tensor import Tensor
from .hooks import Hooked

P = TypeVar("P", bound="Parts")

__all__ = ["Parts"]


class Parts(Hooked):
    """What finds and replaces the parts of a module by names joined by dots, "encoder.rnn.cells.0"."""

    def get_submodule(self, target: str) -> Any:
        """The module of that name, "" this one. Raises AttributeError where there is none."""
        found: Any = self
        for name in target.split(".") if target else ():
            part = vars(found).get(name)
            if not isinstance(part, Parts):
                what = "is no module" if hasattr(found, name) else f"has no part {name!r}"
                said = f"{target!r}" if hasattr(found, name) else type(found).__name__
                raise AttributeError(f"{type(self).__name__}.get_submodule: {said} {what}")
            found = part
        return found

    def set_submodule(self, target: str, module: Any, strict: bool = False) -> None:
        """Puts a module under a name, in place of the one that is there."""
        path, _, name = target.rpartition(".")
        if not name:
            raise ValueError(f"{type(self).__name__}.set_submodule: cannot replace the module itself")
        owner = self.get_submodule(path)
        if strict:
            owner.get_submodule(name)
        setattr(owner, name, module)

    def _get_tensor(self, target: str, what: str, fits: Callable[[Any, str, Any], bool]) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        found = getattr(owner, name, None)
        if not fits(owner, name, found):
            raise AttributeError(f"{type(owner).__name__}: {name!r} is no {what}")
        return found

    def get_parameter(self, target: str) -> Any:
        """The parameter of that name. Raises AttributeError where there is none."""
        return self._get_tensor(
            target, "parameter", lambda m, n, t: isinstance(t, Tensor) and n not in m._buffers
        )

    def get_buffer(self, target: str) -> Any:
        """The buffer of that name. Raises AttributeError where there is none."""
        return self._get_tensor(target, "buffer", lambda m, n, t: n in m._buffers and t is not None)

    def type(self: P, dst_type: Any) -> P:
        """With parameters in another type: a dtype, `torch.DoubleTensor` or "torch.DoubleTensor"."""
        for tensor in self.parameters():  # type: ignore[attr-defined]
            kind = (
                tensor.detach()[..., :0].type(dst_type).dtype
                if tensor.ndim
                else tensor.detach().type(dst_type).dtype
            )
            return self.to(kind)  # type: ignore[attr-defined]
        return self

    def share_memory(self: P) -> P:
        """Itself: processes share no memory here."""
        return self

    def compile(self, *args: Any, **settings: Any) -> None:
        """Has no effect: recurrent layers are compiled without being asked."""

    def to_empty(self: P, *, device: Any, recurse: bool = True) -> P:
        """On another device; the values stay, which PyTorch leaves open."""
        return self.to(device)  # type: ignore[attr-defined]

    @property
    def _modules(self) -> dict[str, Any]:
        """The parts that are modules, by name, as PyTorch keeps them: a copy, to be looked at."""
        return {name: part for name, part in vars(self).items() if isinstance(part, Parts)}

    @property
    def _parameters(self) -> dict[str, Any]:
        """The parameters of its own, by name, as PyTorch keeps them: a copy, to be looked at."""
        buffers = self._buffers  # type: ignore[attr-defined]
        return {
            n: t for n, t in vars(self).items() if isinstance(t, Tensor) and t.is_leaf and n not in buffers
        }

    def _get_name(self) -> str:
        return self.__class__.__name__
