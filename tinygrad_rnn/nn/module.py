"""Module: what holds parameters.

A module's parts are its attributes: a `Parameter` assigned to `self.w` is a parameter of it, a `Module` a
child, in the order of assignment. There is no other register, so `vars(module)` shows everything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ..backend import dtypes
from ..backend.capture import turning
from ..deprecation import warn_once
from ..dialect.casts import place_and_type
from ..ops import as_array
from ..states import reading_state
from ..tensor import Tensor
from .hooks import before_loading
from .loading import LoadResult, check_dict, compare_names, kind_or_none, values_for
from .parts import Parts

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A tensor that a module trains: a leaf that requires a gradient. `data`, floating, is copied."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        self.array, self.vertex = as_array(data), None
        if requires_grad:
            self.requires_grad = True

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"


class Module(Parts):
    """The base of everything with parameters. Subclass it, assign parameters and modules to `self`, define
    `forward`.

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden, self.out = nn.Linear(4, 8), nn.Linear(8, 1)

            def forward(self, x):
                return self.out(tg.relu(self.hidden(x)))

    Parts that are renamed go on being found by the names before, in state dicts and as attributes, where a
    class says so: `former_names = {"readout": "out"}`.
    """

    training = True
    former_names: Mapping[str, str] = {}  # parts that were renamed: the name before, and the one now
    transposed_in_pytorch: frozenset[str] = frozenset()  # matrices that PyTorch has the other way round
    _buffers: Mapping[str, bool] = {}  # names of the buffers: whether they are part of the state dict

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if args or kwargs:
            raise TypeError(
                f"{type(self).__name__}: the base class takes no arguments; call super().__init__()"
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is not None:
            return self._hooks.run(self, args, kwargs)
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    if not TYPE_CHECKING:  # or a type checker would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            """Asked for what is not there: a part by its former name is."""
            return object.__getattribute__(self, self.present_name(name))

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, self.present_name(name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.former_names:
            name = self.present_name(name)
        if isinstance(value, (Tensor, Module)) or name in self._buffers or hasattr(value, "__array__"):
            self._check_replacement(name, value)
        object.__setattr__(self, name, value)

    def present_name(self, name: str) -> str:
        """What the part is called now that was called so before (`former_names`); any other name as it is."""
        new = self.former_names.get(name)
        if new is None or name in vars(self) or not self._has_part(new):
            return name
        message = f"{type(self).__name__}: {name} is called {new} now; former names work for the time being"
        warn_once("former names", message, stacklevel=3)
        return new

    def _has_part(self, name: str) -> bool:
        """Whether a tensor, a module, or None in place of one, is assigned under this name."""
        return isinstance(vars(self).get(name, False), (Tensor, Module, type(None)))

    def _check_replacement(self, name: str, value: Any) -> None:
        """A parameter that is overwritten by a computed tensor would silently no longer be trained."""
        before, owner = vars(self).get(name), type(self).__name__
        if isinstance(before, Parameter) and not isinstance(value, (Parameter, Module)) and value is not None:
            what = "a plain tensor" if isinstance(value, Tensor) else kind_or_none(value)
            raise TypeError(
                f"{owner}: {name} is a Parameter and cannot become {what}; assign a Parameter, "
                f"or change its values with {name}.data"
            )
        if name in self._buffers and value is not None and not isinstance(value, Tensor):
            raise TypeError(f"{owner}: {name} is a buffer, a Tensor or None; got {kind_or_none(value)}")

    # ------------------------------------------------------------ its parts

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Assigns a parameter under a name; None keeps the place for an optional one."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"{type(self).__name__}: {name} must be a Parameter or None, got {kind_or_none(param)}"
            )
        self._check_name(name, Parameter)
        setattr(self, name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Assigns a tensor that is not trained but moves with the module; saved with it if `persistent`."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"{type(self).__name__}: {name} must be a Tensor or None, got {kind_or_none(tensor)}"
            )
        if name not in self._buffers:
            self._check_name(name, type(None))
        self._buffers = {**self._buffers, name: persistent}
        setattr(self, name, tensor)

    def add_module(self, name: str, module: Module | None) -> None:
        """Assigns a child under a name."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: {name} must be a Module or None, got {kind_or_none(module)}"
            )
        self._check_name(name, Module)
        setattr(self, name, module)

    register_module = add_module

    def _check_name(self, name: str, kind: type) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{type(self).__name__}: names are strings, got {kind_or_none(name)}")
        if not name or "." in name:
            raise KeyError(f"{type(self).__name__}: {name!r} is no name of a part: it is empty or has a dot")
        taken = getattr(self, name, None)
        if taken is not None and not isinstance(taken, kind):
            raise KeyError(f"{type(self).__name__}: {name!r} is already an attribute of another kind")

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules assigned to this one, each once, with their names."""
        seen: set[int] = set()
        for name, module in self._own(Module):
            if id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """The modules assigned to this one, each once."""
        return (module for _, module in self.named_children())

    def _own(self, kind: Any) -> list[tuple[str, Any]]:
        return [(name, value) for name, value in vars(self).items() if isinstance(value, kind)]

    def named_modules(
        self, memo: Any = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module (under `prefix`) and all below it, each once, with names joined by dots; without
        `remove_duplicate` under every name they have."""
        if isinstance(memo, str):  # the prefix, which once came first
            memo, prefix = None, memo
        seen: set[int] = {id(module) for module in memo or ()}
        for name, module in self._walk(prefix, set()):
            if id(module) not in seen or not remove_duplicate:
                seen.add(id(module))
                yield name, module

    def modules(self) -> Iterator[Module]:
        """This module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def _walk(self, prefix: str, above: set[int]) -> Iterator[tuple[str, Module]]:
        """This module and all below it, under every name that leads there; `above` breaks cycles."""
        yield prefix, self
        above = {*above, id(self)}
        for name, module in self._own(Module):
            if id(module) not in above:
                yield from module._walk(_join(prefix, name), above)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names; one that is shared counts once, under its first name, or without
        `remove_duplicate` under each."""
        seen: set[int] = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, parameter in module._own(Parameter):
                if id(parameter) not in seen or not remove_duplicate:
                    seen.add(id(parameter))
                    yield _join(path, name), parameter

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters, each once, in the order of `named_parameters`."""
        found: dict[int, Parameter] = {}
        modules, seen = [self], set[int]()
        while modules:
            module, inside = modules.pop(), list[Module]()
            if id(module) in seen:
                continue
            seen.add(id(module))
            for value in vars(module).values():
                if isinstance(value, Parameter):
                    found.setdefault(id(value), value)
                elif recurse and isinstance(value, Module):
                    inside.append(value)
            modules += reversed(inside)
        yield from found.values()

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their names, each once, or without `remove_duplicate` under each name."""
        seen: set[int] = set()
        modules = self.named_modules(None, prefix, remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name in module._buffers:
                buffer = vars(module).get(name)
                if buffer is not None and (id(buffer) not in seen or not remove_duplicate):
                    seen.add(id(buffer))
                    yield _join(path, name), buffer

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    # ------------------------------------------------------------ its state

    def _state(self) -> dict[str, Tensor]:
        """Parameters and persistent buffers themselves, by every name they have."""
        return {
            _join(path, name): value
            for path, module in self._walk("", set())
            for name, value in vars(module).items()
            if isinstance(value, Parameter) or (isinstance(value, Tensor) and module._buffers.get(name))
        }

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Any]:
        """Name -> tensor for parameters and persistent buffers: their memory, outside the graph.

        `copy.deepcopy(module.state_dict())` keeps the present values. A shared parameter stands under each
        of its names. `prefix` stands before each; with `keep_vars` tensors are those of the module;
        `destination` is a dict to add them to.
        """
        found = {} if destination is None else destination
        modules = [(p, m) for p, m in self._walk("", set()) if m._hooks is not None or _has_extra(m)]
        for path, module in modules:
            for hook in [*module._hooks.state_pre.values()] if module._hooks else ():
                hook(module, prefix + (f"{path}." if path else ""), keep_vars)
        for name, value in self._state().items():
            found[prefix + name] = value if keep_vars else value.detach()
        for path, module in reversed(modules):
            start = prefix + (f"{path}." if path else "")
            if _has_extra(module):
                found[f"{start}{_EXTRA}"] = module.get_extra_state()
            for hook in [*module._hooks.state.values()] if module._hooks else ():
                hook(module, found, start, {})
        return found

    def get_extra_state(self) -> Any:
        """What a module keeps beside tensors, for its state dict; a subclass that defines it also defines
        `set_extra_state`."""
        raise NotImplementedError(f"{type(self).__name__} must define get_extra_state")

    def set_extra_state(self, state: Any) -> None:
        """Takes back what `get_extra_state` gave."""
        raise NotImplementedError(f"{type(self).__name__} must define set_extra_state")

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> LoadResult:
        """Copies values (tensors or arrays) into the parameters and buffers of these names.

        Types and devices stay the module's. A part that was renamed is found by its former name, too. Raises
        ValueError, and changes nothing, where names are missing or unknown (unless `strict=False`: then they
        are returned) or a shape differs.
        """
        owner, mine = type(self).__name__, self._state()
        check_dict(owner, state_dict, mine)
        modules = list(self._walk("", set()))
        state_dict = self._with_present_names(before_loading(modules, state_dict, strict))
        extra = {_join(path, _EXTRA): module for path, module in modules if _has_extra(module)}
        names = (*mine, *extra)
        result = compare_names(owner, names, state_dict, self._in_pytorchs_layout(state_dict), strict)
        with reading_state(f"{owner}.load_state_dict"):
            found = values_for(owner, mine, state_dict)
        for name, value in found.items():
            mine[name].data.copy_(value)
        for name, module in extra.items():
            if name in state_dict:
                module.set_extra_state(state_dict[name])
        for _, module in modules:
            for hook in [*module._hooks.load.values()] if module._hooks else ():
                hook(module, result)
        return result

    def _with_present_names(self, state_dict: Mapping[str, Any]) -> Mapping[str, Any]:
        """The dict with parts under the names they have now. A name that is a part's as it stands, or whose
        new name is there too, is left alone.
        """
        new_names = {}
        for path, module in self._walk("", set()):
            for before, now in module.former_names.items():
                own = before in vars(module) or not module._has_part(now)
                if not own and _join(path, now) not in state_dict:
                    new_names[_join(path, before)] = _join(path, now)
        return {new_names.get(name, name): value for name, value in state_dict.items()}

    def _in_pytorchs_layout(self, state_dict: Mapping[str, Any]) -> list[str]:
        """The names of matrices that are PyTorch's: its tensors, or of the transposed shape."""
        found = []
        for path, module in self._walk("", set()):
            for name in module.transposed_in_pytorch:
                mine, value = vars(module).get(name), state_dict.get(_join(path, name))
                if mine is not None and value is not None:
                    turned = tuple(getattr(value, "shape", ())) == mine.shape[::-1] != mine.shape
                    if turned or type(value).__module__.partition(".")[0] == "torch":
                        found.append(_join(path, name))
        return sorted(found)

    def train(self: M, mode: bool = True) -> M:
        """Sets `training` here and below, which dropout asks for. Returns the module."""
        if not isinstance(mode, (bool, int)):
            raise ValueError(f"{type(self).__name__}.train: expected a boolean, got {kind_or_none(mode)}")
        for module in self.modules():
            if module.training != bool(mode):
                turning(module)
                module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """`train(False)`."""
        return self.train(False)

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Whether the parameters require gradients: False freezes them. Returns the module."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets the parameters' gradients; with `set_to_none=False` fills them with zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad = parameter.grad.detach()
                parameter.grad.zero_()

    # ------------------------------------------------------------ another type or device

    def to(self: M, *to: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False) -> M:
        """Moves parameters, gradients and buffers: `to("cuda")`, `to(float64)`, `to("cpu", float32)`,
        `to(tensor)`.

        Parameters stay the same objects, so an optimizer that holds them still does. Integer buffers keep
        their type. Raises TypeError for a type that is not floating. Returns the module.
        """
        device, dtype = place_and_type(to, device, dtype)
        if dtype is not None and dtypes.as_dtype(dtype).kind != "f":
            raise TypeError(
                f"{type(self).__name__}.to: parameters are floating, got {dtypes.as_dtype(dtype)}"
            )
        for each in (*self.parameters(), *self.buffers()):
            kind = dtype if each.is_floating_point() else None
            grad = each.grad
            moved = each.detach().to(device=device, dtype=kind)
            if moved.array is each.array:
                continue
            each.data = moved
            if grad is not None:
                each.grad = grad.detach().to(device=device, dtype=kind)
        return self

    def cpu(self: M) -> M:
        return self.to("cpu")

    def cuda(self: M) -> M:
        return self.to("cuda")

    def float(self: M) -> M:
        return self.to(dtypes.float32)

    def double(self: M) -> M:
        return self.to(dtypes.float64)

    def half(self: M) -> M:
        return self.to(dtypes.float16)

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Calls `fn` on every module below and last on this one, say to set starting values."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ------------------------------------------------------------ how it prints

    def extra_repr(self) -> str:
        """The settings that stand in the parentheses of `repr`."""
        return ""

    def __repr__(self) -> str:
        n, n_frozen = 0, 0
        for parameter in self.parameters():
            n += parameter.numel()
            n_frozen += 0 if parameter.requires_grad else parameter.numel()
        count = f"  # {n:,} parameters" + (f", {n_frozen:,} of them frozen" if n_frozen else "") if n else ""
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in self._own(Module)]
        settings = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({settings}){count}"
        inside = "".join(f"\n  {line}" for line in ([settings, *lines] if settings else lines))
        return f"{type(self).__name__}({count}{inside}\n)"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_EXTRA = "_extra_state"


def _has_extra(module: Module) -> bool:
    return type(module).get_extra_state is not Module.get_extra_state
