"""Hooks of modules: functions that are called before or after a module computes, when gradients have passed
it, and when its state is asked for or loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Any

from ..engine import Node, Output, Value, is_grad_enabled, versions

Hook = Callable[..., Any]
__all__ = ["Hooks", "RemovableHandle"]
_numbers = count()


class RemovableHandle:
    """Of a hook: `remove()` ends it, and so does the end of a `with` block around the handle."""

    def __init__(self, hooks: dict[int, Any]) -> None:
        self.id = next(_numbers)
        self._hooks = hooks

    def remove(self) -> None:
        """Has the hook called no more."""
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.remove()


class Hooks:
    """The hooks of one module, by what they wait for."""

    def __init__(self) -> None:
        self.forward_pre: dict[int, tuple[Hook, bool]] = {}  # with whether it is given keyword arguments
        self.forward: dict[int, tuple[Hook, bool]] = {}
        self.always: set[int] = set()  # forward hooks that are called after an exception, too
        self.backward_pre: dict[int, Hook] = {}
        self.backward: dict[int, Hook] = {}
        self.state_pre: dict[int, Hook] = {}
        self.state: dict[int, Hook] = {}
        self.load_pre: dict[int, Hook] = {}
        self.load: dict[int, Hook] = {}

    def add(self, kind: str, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Adds a hook of a kind, at the end or at the beginning. Returns what removes it."""
        hooks = getattr(self, kind)
        handle = RemovableHandle(hooks)
        if prepend:
            others = dict(hooks)
            hooks.clear()
            hooks[handle.id] = hook
            hooks.update(others)
        else:
            hooks[handle.id] = hook
        return handle

    def run(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """module.forward(*args, **kwargs) with the hooks around it."""
        for hook, keywords in [*self.forward_pre.values()]:
            found = hook(module, args, kwargs) if keywords else hook(module, args)
            if found is None:
                continue
            if keywords:
                if not (isinstance(found, tuple) and len(found) == 2):
                    raise RuntimeError(
                        f"{type(module).__name__}: a forward pre-hook with kwargs returns None or (args, "
                        f"kwargs), got {type(found).__name__}"
                    )
                args, kwargs = found
            else:
                args = found if isinstance(found, tuple) else (found,)
        passing = (
            _Backward(self, module) if (self.backward or self.backward_pre) and is_grad_enabled() else None
        )
        if passing is not None:
            args = passing.before(args)
        try:
            output = module.forward(*args, **kwargs)
        except Exception:
            for number in [*self.always]:
                if number in self.forward:
                    hook, keywords = self.forward[number]
                    hook(module, args, kwargs, None) if keywords else hook(module, args, None)
            raise
        for hook, keywords in [*self.forward.values()]:
            found = hook(module, args, kwargs, output) if keywords else hook(module, args, output)
            output = output if found is None else found
        return output if passing is None else passing.after(output)


class _Passing:
    """The op of a node through which gradients pass unchanged, unless who looks on gives others."""

    name, variadic, asks_owned, pulls = "full_backward_hook", False, False, None

    def __init__(self, seen: Callable[[list[Any]], Sequence[Any]]) -> None:
        self.seen = seen

    def gradients(self, values: list[Any], parents: Sequence[Any]) -> list[Any]:
        """What arrived, or what `seen` makes of it."""
        gs = list(values[0])
        symbolic = any(isinstance(g, Value) for g in gs)
        shown = [g if g is None or isinstance(g, Value) else Value.result._of(g) for g in gs]
        found = self.seen(shown)
        return [g if g is None or symbolic or not isinstance(g, Value) else g.array for g in found]


def _through(tensors: list[Any], seen: Callable[[list[Any]], Sequence[Any]]) -> list[Any]:
    """The same tensors behind a node at which their gradients are looked at."""
    parents = [versions.vertex_of(t) for t in tensors]
    node = Node(_Passing(seen), parents, [None, *[None] * len(tensors)], outputs=len(tensors))
    return [Value.result._of(t.array, Output(node, k, t.array)) for k, t in enumerate(tensors)]


class _Backward:
    """One call of a module with backward hooks: what comes back to its results and goes on to its
    arguments."""

    def __init__(self, hooks: Hooks, module: Any) -> None:
        self._hooks, self._module = hooks, module
        self._of_output: tuple[Any, ...] = ()
        self._waits = False  # whether the arguments have gradients, too
        self._places: list[int] = []
        self._n_arguments = 0

    def before(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        tensors = [k for k, a in enumerate(args) if isinstance(a, Value)]
        self._n_arguments = len(args)
        self._places = [k for k in tensors if args[k].requires_grad]
        if not self._places:
            return args
        self._waits = True
        new = list(args)
        for k, t in zip(
            self._places, _through([args[k] for k in self._places], self._at_arguments), strict=True
        ):
            new[k] = t
        return tuple(new)

    def after(self, output: Any) -> Any:
        several = isinstance(output, (tuple, list))
        parts = list(output) if several else [output]
        tracked = [
            k for k, t in enumerate(parts) if isinstance(t, Value) and versions.vertex_of(t) is not None
        ]
        if not tracked:
            return output
        self._n_results, self._tracked = len(parts), tracked
        for k, t in zip(tracked, _through([parts[k] for k in tracked], self._at_results), strict=True):
            parts[k] = t
        if not several:
            return parts[0]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)

    def _at_results(self, gs: list[Any]) -> list[Any]:
        whole: list[Any] = [None] * self._n_results
        for k, g in zip(self._tracked, gs, strict=True):
            whole[k] = g
        for hook in [*self._hooks.backward_pre.values()]:
            found = hook(self._module, tuple(whole))
            if found is not None:
                whole = list(found) if isinstance(found, (tuple, list)) else [found]
        self._of_output = tuple(whole)
        if not self._waits:
            self._call((None,) * self._n_arguments)
        return [whole[k] for k in self._tracked]

    def _at_arguments(self, gs: list[Any]) -> Sequence[Any]:
        whole: list[Any] = [None] * self._n_arguments
        for k, g in zip(self._places, gs, strict=True):
            whole[k] = g
        found = self._call(tuple(whole))
        return [found[k] for k in self._places]

    def _call(self, of_arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        for hook in [*self._hooks.backward.values()]:
            found = hook(self._module, of_arguments, self._of_output)
            if found is not None:
                found = found if isinstance(found, tuple) else (found,)
                if len(found) != len(of_arguments):
                    raise RuntimeError(
                        f"{type(self._module).__name__}: a backward hook returned {len(found)} gradients for "
                        f"{len(of_arguments)} arguments"
                    )
                of_arguments = found
        return of_arguments


class Hooked:
    """What a module can be asked to call. `_hooks` is None where nobody has asked."""

    _hooks: Hooks | None = None

    def _own_hooks(self) -> Hooks:
        if self._hooks is None:
            object.__setattr__(self, "_hooks", Hooks())
        found: Hooks = self._hooks  # type: ignore[assignment]
        return found

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args)` before `forward`, with_kwargs `hook(module, args, kwargs)`; what it
        returns, if not None, takes the arguments' place."""
        return self._own_hooks().add("forward_pre", (hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False, always_call: bool = False
    ) -> RemovableHandle:
        """Calls `hook(module, args, output)` after `forward`, with_kwargs `hook(module, args, kwargs,
        output)`; what it returns, if not None, takes the output's place."""
        hooks = self._own_hooks()
        handle = hooks.add("forward", (hook, with_kwargs), prepend)
        if always_call:
            hooks.always.add(handle.id)
        return handle

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_output)` when the gradients of the results are there; what it
        returns, if not None, takes their place."""
        return self._own_hooks().add("backward_pre", hook, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(module, grad_input, grad_output)`, tuples with None for what has no gradient, when the
        gradients of the arguments are there; what it returns, if not None, takes their place."""
        return self._own_hooks().add("backward", hook, prepend)

    register_backward_hook = register_full_backward_hook

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Calls `hook(module, prefix, keep_vars)` before the module's part of a state dict is made."""
        return self._own_hooks().add("state_pre", hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata)` when the module's part is there."""
        return self._own_hooks().add("state", hook)

    _register_state_dict_hook = register_state_dict_post_hook

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Calls `hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
        error_msgs)` before a state is loaded: it may change the dict, which is a copy."""
        return self._own_hooks().add("load_pre", hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Calls `hook(module, incompatible_keys)` when a state was loaded."""
        return self._own_hooks().add("load", hook)


def before_loading(
    modules: Sequence[tuple[str, Any]], state: Mapping[str, Any], strict: bool
) -> Mapping[str, Any]:
    """The state as the hooks of these modules leave it."""
    if not any(module._hooks is not None and module._hooks.load_pre for _, module in modules):
        return state
    changed = dict(state)
    for path, module in modules:
        hooks = module._hooks.load_pre.values() if module._hooks is not None else ()
        for hook in [*hooks]:
            hook(module, changed, f"{path}." if path else "", {}, strict, [], [], [])
    return changed
