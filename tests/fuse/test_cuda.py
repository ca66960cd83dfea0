"""Generated kernels: NVRTC takes them, and on the CPU they compute what NumPy computes."""

import math

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.cuda_tools import compile_for_gpu, library_functions, needs_compiler, needs_nvrtc
from tests.fuse.test_pointwise import FUNCTIONS
from tests.support import strict
from tinygrad_rnn.engine import REGISTRY
from tinygrad_rnn.fuse.lower.cuda import Variant, layout_of
from tinygrad_rnn.fuse.pointwise import pointwise
from tinygrad_rnn.ops import elementwise

pytestmark = pytest.mark.host  # brings its own backends
LIBRARY = {name: pointwise(f.function) for name, f in library_functions().items()}
ALL = {**LIBRARY, **{f"tests.{name}": pointwise(function) for name, (function, _) in FUNCTIONS.items()}}
TOLERANCE = {"float64": 1e-13, "float32": 1e-5, "float16": 3e-3}


def test_the_librarys_functions_are_found():
    assert {"nn.cells.lstm", "nn.cells.gru_update", "nn.cells.rnn_tanh"} <= set(LIBRARY)


def test_every_elementwise_op_has_an_expression():
    ops = [op for op in REGISTRY.values() if op.forward.__module__ == elementwise.__name__]
    assert len(ops) > 30
    assert [op.name for op in ops if not (op.elementwise and op.c)] == []


def launchers(fused):
    """The kernels of a function: forward, and backward for all arguments."""
    plan = fused.example("cuda")
    yield plan.lowered(plan.forward_block)
    yield plan.lowered(plan.back(tuple(plan.depends), (True,) * len(fused.arguments)).block)


@needs_nvrtc
@pytest.mark.parametrize("name", sorted(ALL))
def test_nvrtc_compiles_every_kernel(name):
    for launcher in launchers(ALL[name]):
        for way, itemsize, narrow in (("c", 4, True), ("s", 2, False)):
            assert (
                compile_for_gpu(launcher.text_for(Variant(itemsize, narrow, (way,) * launcher.n_arrays))) > 0
            )


@needs_nvrtc
def test_nvrtc_refuses_what_is_wrong():
    with pytest.raises(AssertionError, match="undefined"):
        compile_for_gpu('extern "C" __global__ void f(float* x) { x[0] = nothing(1); }')


# ---------------------------------------------------------------- values


def close(there, here, kind):
    assert len(there) == len(here)
    for a, b in zip(there, here, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            a, b = a.numpy(), b.numpy()
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            a, b = a.astype("float64"), b.astype("float64")
            size = max(1.0, np.abs(b[np.isfinite(b)]).max(initial=0))
            np.testing.assert_allclose(a, b, rtol=TOLERANCE[kind], atol=TOLERANCE[kind] * size)


def values_and_gradients(fused, arrays, arrange):
    inputs = [tg.tensor(a, requires_grad=True) for a in arrays]
    results = fused(*arrange(inputs))
    results = results if isinstance(results, tuple) else (results,)
    total = sum((r * (k + 0.5)).sum() for k, r in enumerate(results) if r.dtype.kind == "f")
    return [*results, *tg.grad(total, inputs, allow_unused=True)]


def gates(inputs):
    """The arguments but the last as the pieces of one array, as a cell has them."""
    if len(inputs) < 3:
        return inputs
    widths = [x.shape[-1] for x in inputs[:-1]]
    return [*tg.split(tg.concat(inputs[:-1], axis=-1), widths, axis=-1), inputs[-1]]


def transposed(inputs):
    """Arguments of which the first lies otherwise in memory than the others."""
    return [tg.swapaxes(tg.swapaxes(inputs[0], 0, 1).contiguous(), 0, 1), *inputs[1:]]


def plain(inputs):
    return inputs


@needs_compiler
@pytest.mark.parametrize("arrange", [plain, gates, transposed])
@pytest.mark.parametrize("name", sorted(ALL))
def test_kernels_compute_what_numpy_computes(name, arrange):
    fused = ALL[name]
    rng = np.random.default_rng(1)
    for kind, shape in (("float32", (5, 3)), ("float16", (2, 3, 4)), ("float64", (1, 2))):
        shapes = [(*shape[:-1], n * shape[-1]) for n in fused.pieces]
        arrays = [rng.uniform(0.2, 1.5, s).astype(kind) for s in shapes]
        if not name.endswith("powers"):
            arrays = [a * np.sign(rng.uniform(-1, 1, a.shape)).astype(kind) for a in arrays]
        with tg.use("numpy"):
            here = values_and_gradients(fused, arrays, arrange)
        with strict.kernels() as module:
            there = values_and_gradients(fused, arrays, arrange)
        close(there, here, kind)
        assert sum(module.launched.values()) >= (1 if name.endswith("identity") else 2)


@needs_compiler
def test_rows_are_broadcast():
    fused = pointwise(lambda x, b, y: (tg.tanh(x * b) + b, tg.sigmoid(y)))
    arrays = [np.random.default_rng(0).standard_normal(s) for s in ((4, 2, 3), (2, 3), (4, 2, 3))]
    here = values_and_gradients(fused, arrays, plain)
    with strict.kernels() as module:
        close(values_and_gradients(fused, arrays, plain), here, "float64")
    assert set(module.launched) == {"lambda"}


@needs_compiler
def test_second_order():
    """Gradients of gradients go through the ops, from what the kernels kept."""
    fused = LIBRARY["nn.cells.lstm"]

    def second():
        x = [tg.tensor(np.linspace(-1, 1, 6 * n).reshape(2, -1), requires_grad=True) for n in (4, 1)]
        first = tg.grad(sum(r.sum() for r in fused(*x)), x, create_graph=True)
        return tg.grad(sum((g * g).sum() for g in first), x)

    here = second()
    with strict.kernels():
        close(second(), here, "float64")


@needs_compiler
def test_unfused_and_part_of_the_gradients():
    fused = LIBRARY["nn.cells.lstm"]
    with strict.kernels() as module:
        x = [tg.randn(2, 12), tg.randn(2, 3, requires_grad=True)]
        h, _ = fused(*x)
        found = tg.grad(h.sum(), x[1:])
        assert module.launched["lstm"] == 2
        with tg.eager():
            expected = tg.grad(fused(*x)[0].sum(), x[1:])
        assert module.launched["lstm"] == 2
    close(found, expected, "float32")


EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.0, 0.3, -2.7, 100.0, -100.0, math.inf, -math.inf, math.nan]


def one_op_each():
    """A function of each elementwise op, with its settings as they are by default or as given here."""
    e = elementwise
    settings = {
        "leaky_relu": {"negative_slope": 0.1},
        "elu": {"alpha": 0.7},
        "clip": {"min": -0.5, "max": 1.5},
    }
    for name, op in REGISTRY.items():
        if op.forward.__module__ != e.__name__ or name.startswith("bitwise"):
            continue
        keywords = settings.get(name, {})
        n = len(op.arguments)
        yield name, n, (lambda *a, op=op, keywords=keywords: op.call(*a, **keywords))


@needs_compiler
@pytest.mark.parametrize(("name", "n", "function"), list(one_op_each()))
def test_each_op_at_its_edges(name, n, function):
    """Zeros, halves, infinities and NaN: the kernel's value is NumPy's."""
    first, second = (np.array(x) for x in zip(*((a, b) for a in EDGES for b in EDGES), strict=True))
    arrays = [first, second, second[::-1].copy()][:n] if n > 1 else [np.array(EDGES)]
    arrays = [a.reshape(1, -1) for a in arrays]
    one, two, three = (
        (lambda a: function(a)),
        (lambda a, b: function(a, b)),
        (lambda a, b, c: function(a, b, c)),
    )
    fused = pointwise((one, two, three)[n - 1])
    with np.errstate(all="ignore"):
        here = fused.function(*(tg.tensor(a, device="cpu") for a in arrays)).numpy()
        with strict.kernels() as module:
            there = fused(*(tg.tensor(a, device="strict") for a in arrays)).numpy()
    assert module.launched
    if name in ("floor_divide", "remainder"):  # NumPy's results for infinite arguments are conventions
        finite = np.isfinite(arrays[0]) & np.isfinite(arrays[1]) & (arrays[1] != 0)
        here, there = here[finite], there[finite]
    np.testing.assert_allclose(there.astype("float64"), here.astype("float64"), rtol=1e-13, atol=1e-300)


# ---------------------------------------------------------------- layouts


def strided(*arrays):
    return layout_of(arrays[0].shape, [a.itemsize for a in arrays], [a.strides for a in arrays])


def test_layouts():
    whole = np.zeros((6, 20), "float32")
    full, piece = np.zeros((6, 5), "float32"), whole[:, 5:10]
    assert strided(full, full) == (5, ("c", "c"), (), ())
    assert strided(full, piece) == (5, ("c", "s"), (20,), ())
    assert strided(piece, np.broadcast_to(np.zeros(5, "float32"), (6, 5))) == (5, ("s", "s"), (20, 0), ())
    assert layout_of((6, 5), [4, 4], [full.strides, (4,)]) == (5, ("c", "s"), (0,), ())
    assert strided(full, np.broadcast_to(np.float32(1), (6, 5))).access == ("c", "z")
    assert strided(full, np.zeros((5, 6), "float32").T).misfits == (1,)
    steps = np.zeros((3, 6, 20), "float32")[:, :, :5]
    assert strided(steps) == (5, ("s",), (20,), ())
    assert strided(np.zeros((3, 6, 5)), np.zeros((6, 6, 5))[::2]) == (30, ("c", "s"), (60,), ())
    assert strided(full, full[::-1]) == (5, ("c", "s"), (-5,), ())
    assert strided(np.zeros(4), np.zeros(8)[::2]).misfits == (1,)
    assert strided(np.zeros((1, 5)), np.zeros((1, 20))[:, :5]).access == ("c", "c")


def test_large_arrays_are_counted_in_64_bits():
    launcher, _ = launchers(LIBRARY["nn.cells.rnn_tanh"])
    assert "typedef long long I;" in launcher.text_for(Variant(4, False, ("c",) * 3))
    assert "typedef int I;" in launcher.text_for(Variant(4, True, ("c",) * 3))


def test_source_shows_the_kernels():
    text = LIBRARY["nn.cells.lstm"].source("cuda")
    assert text.count('extern "C" __global__ void lstm(') == 2
    assert "row * (I)stride_a0_3 + column" in text
