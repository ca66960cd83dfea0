"""PyTorch's place for compilation, which is nobody's task here: `torch.jit.script` gives back what it is
given."""

from .dialect.jit import (
    ScriptModule,
    export,
    freeze,
    ignore,
    is_scripting,
    is_tracing,
    load,
    save,
    script,
    script_method,
    trace,
    unused,
)

__all__ = [
    "ScriptModule", "export", "freeze", "ignore", "is_scripting", "is_tracing", "load", "save", "script",
    "script_method", "trace", "unused",
]  # fmt: skip
