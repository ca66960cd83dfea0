"""What we call, against the real CuPy: its wheel imports without a GPU, and has the signatures."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

import tinygrad_rnn as tg
from tests.backend.test_strict import moved, moved_settings, values_and_gradients
from tests.extras import extra
from tests.support import strict
from tests.support.rows import ROWS
from tinygrad_rnn import nn, optim

cupy = extra("cupy")
pytestmark = [pytest.mark.host, pytest.mark.extras("cupy")]
PACKAGE = Path(tg.__file__).parent


def few_examples(row):
    @seed(0)
    @settings(
        max_examples=3, deadline=None, database=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )  # fmt: skip
    @given(case=row.cases)
    def run(case):
        arrays = [moved(a) for a in case.arrays]
        values_and_gradients(row, arrays, moved_settings(case), False)

    run()


def work():
    """Calls everything that runs on arrays: each op forward and back, layers, losses, optimisers."""

    for row in ROWS.values():
        few_examples(row)
    for make in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad):
        layer = nn.LSTM(2, 3, num_layers=2, bidirectional=True, dropout=0.5)
        table, norm = nn.Embedding(5, 2, padding_idx=0), nn.LayerNorm(6)
        parameters = [*layer.parameters(), *table.parameters(), *norm.parameters()]
        optimiser = make(parameters, lr=0.1, weight_decay=0.1)
        for _ in range(2):
            output, _ = layer(table(tg.tensor([[1, 2], [3, 0], [4, 1]])), lengths=[3, 1])
            loss = nn.functional.cross_entropy(norm(output[0]), tg.tensor([1, 2]), label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            nn.utils.clip_grad_value_(parameters, 0.5)
            optimiser.step()


def signature(function):
    """The signature of one of CuPy's functions; None where it takes anything, or tells nothing."""
    if isinstance(function, cupy.ufunc):
        names = ", ".join(f"x{i}" for i in range(function.nin))
        return inspect.signature(eval(f"lambda {names}, out=None, *, dtype=None: 0"))
    try:
        found = inspect.signature(function)
        return None if "args" in found.parameters else found
    except (ValueError, TypeError):  # compiled: the first line of its documentation is its signature
        line = (function.__doc__ or "").strip().split("\n")[0]
        text = re.search(r"\((.*?)\)( ->|$)", line)
        if text is None:
            return None
        types = r"\b(Py_ssize_t|size_t|ptrdiff_t|intptr_t|int|bint|bool|str|tuple|BaseMemory) (?=\w)"
        return inspect.signature(eval(f"lambda {re.sub(types, '', text.group(1))}: 0"))


def signature_of(call):
    return signature(getattr(cupy.ndarray if call.is_method else cupy, call.name))


@pytest.fixture(scope="module")
def made():
    with tg.use("strict"), strict.calls() as found:
        work()
    return sorted(found)


def test_enough_was_called(made):
    names = {call.name for call in made}
    assert {"exp", "where", "concatenate", "argsort", "sum", "astype", "multiply", "take"} <= names
    assert len(names) > 60
    assert sum(signature_of(call) is not None for call in made) > 0.9 * len(made)


def test_every_call_fits_the_real_signature(made):
    wrong = []
    for call in made:
        owner = cupy.ndarray if call.is_method else cupy
        if not hasattr(owner, call.name):
            wrong.append(f"{call}: CuPy has no such function")
            continue
        expected = signature_of(call)
        if expected is None:
            continue
        try:
            expected.bind(*range(call.n_positional + call.is_method), **dict.fromkeys(call.keywords))
        except TypeError as error:
            wrong.append(f"{call}: {error}; CuPy's is {expected}")
    assert wrong == []


def test_a_call_that_does_not_fit_is_found():
    """The check is no empty one: NumPy takes these, CuPy does not."""
    for call in (
        strict.Call("sum", False, 1, ("initial",)),
        strict.Call("add", False, 2, ("where",)),
        strict.Call("var", True, 0, ("correction",)),
        strict.Call("take", True, 1, ("mode",)),
        strict.Call("concatenate", False, 4, ()),
    ):
        with pytest.raises(TypeError):
            signature_of(call).bind(
                *range(call.n_positional + call.is_method), **dict.fromkeys(call.keywords)
            )


def chains(path):
    """`cupy.a.b` and `cupyx.a.b` as they stand in a file, and the call where one is called."""
    tree = ast.parse(path.read_text())
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"cupyx?(\.\w+)+", ast.unparse(node)):
            yield ast.unparse(node), calls.get(id(node))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cupy"):
            for name in node.names:
                yield f"{node.module}.{name.name}", None


def named(text):
    """What a dotted name stands for; modules in it are imported."""
    first, *parts = text.split(".")
    value = importlib.import_module(first)
    for k, part in enumerate(parts):
        if not hasattr(value, part):
            importlib.import_module(".".join([first, *parts[: k + 1]]))
        value = getattr(value, part)
    return value


TESTS = Path(__file__).parents[1]
FILES = [
    PACKAGE / "backend" / "cupy_.py",
    *sorted((TESTS / "gpu").glob("*.py")),
    TESTS / "benchmarks" / "gpu_rows.py",
]


def test_names_are_found():
    found = {text for text, _ in chains(FILES[0])}
    assert {"cupy.cuda.Stream", "cupy.RawKernel", "cupyx.scipy.special.erf"} <= found
    with pytest.raises(ModuleNotFoundError):
        named("cupy.cuda.nothing")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_is_named_is_there_and_takes_its_arguments(path):
    for text, call in chains(path):
        expected = signature(named(text))
        if call is not None and expected is not None:
            expected.bind(*call.args, **{k.arg: 0 for k in call.keywords})


METHODS = {  # of CuPy's other classes: with how many arguments they are called
    "cuda.Stream.begin_capture": 0,
    "cuda.Stream.end_capture": 0,
    "cuda.Stream.synchronize": 0,
    "cuda.Graph.launch": 0,
    "cuda.MemoryPool.malloc": 1,
    "cuda.MemoryPool.free_all_blocks": 0,
    "cuda.MemoryPool.used_bytes": 0,
    "ndarray.astype": 1,
}


@pytest.mark.parametrize("name", METHODS)
def test_methods_of_streams_graphs_and_pools(name):
    signature(named(f"cupy.{name}")).bind(*range(1 + METHODS[name]))


def test_kernels_are_built_as_the_backend_builds_them():
    """Making one compiles nothing, and so needs no GPU; that it takes these arguments is what is seen."""
    kernel = cupy.RawKernel('extern "C" __global__ void f() {}', "f")
    assert (kernel.name, kernel.backend, kernel.enable_cooperative_groups) == ("f", "nvrtc", False)
    assert isinstance(cupy.cuda.Stream, type)
    assert np.dtype(cupy.float32) == np.float32


def test_the_stand_in_knows_what_cupy_lacks():
    assert [name for name in strict.MISSING if hasattr(cupy, name)] == []
    assert [name for name in strict.METHODS if not hasattr(cupy.ndarray, name)] == []
