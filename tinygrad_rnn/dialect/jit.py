"""`torch.jit`: functions and modules as they are. Recurrent layers are compiled without being asked."""

from __future__ import annotations

from typing import Any

from ..nn import Module

__all__ = [
    "ScriptModule", "export", "freeze", "ignore", "is_scripting", "is_tracing", "load", "save", "script",
    "script_method", "trace", "unused",
]  # fmt: skip

ScriptModule = Module


def script(obj: Any, *args: Any, **settings: Any) -> Any:
    """The function or module itself."""
    return obj


def trace(func: Any, example_inputs: Any = None, *args: Any, **settings: Any) -> Any:
    """The function or module itself."""
    return func


def ignore(drop: Any = False, **settings: Any) -> Any:
    """The function itself, or as `ignore()` what gives it back."""
    return drop if callable(drop) else (lambda function: function)


export = script_method = freeze = script
unused = ignore


def is_scripting() -> bool:
    """False."""
    return False


def is_tracing() -> bool:
    """False."""
    return False


def save(m: Any, f: Any, **settings: Any) -> None:
    """Is not here: code is not written to files."""
    raise NotImplementedError(
        "jit.save: code is not written to files; tinygrad_rnn.save(path, model) writes weights"
    )


def load(f: Any, **settings: Any) -> Any:
    """Is not here: code is not read from files."""
    raise NotImplementedError("jit.load: code is not read from files; build the module and load its weights")
