"""Scripts written for PyTorch, and the runner that runs them with either library.

A script is an ordinary program: `python tests/dialect/sine_waves.py` runs it on PyTorch. `load` reads one, on
PyTorch as it stands, or on this library after `translate`, which replaces the imports and
asks for PyTorch's form and parameters of the recurrent layers.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent

# name: what its build_model takes, one model each
SCRIPTS = {
    "name_classification": ("letters", "packed"),
    "name_generation": ("gru", "lstm"),
    "translation": (24,),
    "sine_waves": ("LBFGS", "Adam"),
    "word_language_model": (),
    "sentiment": (),
    "tagging": ("crf", "softmax"),
    "forecasting": ("lstm", "gru"),
    "speech": (),
    "attention": (),
    "old_language_model": ("layer", "own"),
    "regularised": (),
}
CASES = [(name, option) for name, options in SCRIPTS.items() for option in options or (None,)]

REPLACEMENTS = (
    (r"^import torch$", "import tinygrad_rnn as torch"),
    (r"^import torch\.([\w.]+) as (\w+)$", r"import tinygrad_rnn.\1 as \2"),
    (r"^import torch\.([\w.]+)$", r"import tinygrad_rnn.\1"),
    (r"^from torch import ", "from tinygrad_rnn import "),
    (r"^from torch\.([\w.]+) import ", r"from tinygrad_rnn.\1 import "),
    # what is no import: PyTorch's form of the GRU, and its parameters, a second bias among them
    (r"\bnn\.GRU\(([^()]*)\)", r"nn.GRU(\1, reset_after=True)"),
    (r"\bnn\.((?:RNN|LSTM|GRU)(?:Cell)?)\(([^()]*)\)", r'nn.\1(\2, init="torch")'),
)


def translate(source: str) -> str:
    """A script for PyTorch as a script for this library."""
    for pattern, replacement in REPLACEMENTS:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    return source


def load(name: str, ours: bool) -> ModuleType:
    """A script as a module, on this library or on PyTorch."""
    path = HERE / f"{name}.py"
    source = path.read_text(encoding="utf-8")
    module = ModuleType(f"{name}_{'ours' if ours else 'torch'}")
    code = compile(translate(source) if ours else source, str(path), "exec")
    exec(code, vars(module))
    return module
