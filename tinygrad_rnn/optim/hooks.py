"""Hooks of optimisers: functions that are called before and after a step, and when a state is asked for or
loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..nn.hooks import RemovableHandle

Hook = Callable[..., Any]
__all__ = ["OptimizerHooks"]


class OptimizerHooks:
    """What an optimiser can be asked to call."""

    _hooks: dict[str, dict[int, Hook]] | None = None  # by what they wait for; None where nobody has asked

    def _add(self, kind: str, hook: Hook, prepend: bool = False) -> RemovableHandle:
        if self._hooks is None:
            self._hooks = {}
        hooks = self._hooks.setdefault(kind, {})
        handle = RemovableHandle(hooks)
        others = dict(hooks) if prepend else {}
        for number in others:
            del hooks[number]
        hooks[handle.id] = hook
        hooks.update(others)
        return handle

    def _of(self, kind: str) -> list[Hook]:
        return [*self._hooks.get(kind, {}).values()] if self._hooks else []

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` before each step."""
        return self._add("step_pre", hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Calls `hook(optimizer, args, kwargs)` after each step."""
        return self._add("step", hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(optimizer)` before a state dict is made."""
        return self._add("state_pre", hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(optimizer, state_dict)` when it is made; what it returns, if not None, takes its
        place."""
        return self._add("state", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(optimizer, state_dict)` before a state is loaded; what it returns, if not None, is
        loaded."""
        return self._add("load_pre", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Calls `hook(optimizer)` when a state was loaded."""
        return self._add("load", hook, prepend)

    @contextlib.contextmanager
    def hooked(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """The time of a step: hooks are called before and after it."""
        for hook in self._of("step_pre"):
            hook(self, args, kwargs)
        yield
        for hook in self._of("step"):
            hook(self, args, kwargs)

    def before_state(self) -> None:
        """Calls what waits for a state dict to be made."""
        for hook in self._of("state_pre"):
            hook(self)

    def shown_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state dict as its hooks leave it."""
        for hook in self._of("state"):
            found = hook(self, state)
            state = state if found is None else found
        return state

    def before_loading(self, state: Mapping[str, Any]) -> Mapping[str, Any]:
        """A state to be loaded as its hooks leave it."""
        for hook in self._of("load_pre"):
            found = hook(self, dict(state))
            state = state if found is None else found
        return state

    def after_loading(self) -> None:
        """Calls what waits for a state to be loaded."""
        for hook in self._of("load"):
            hook(self)
