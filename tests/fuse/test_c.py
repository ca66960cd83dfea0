"""Compiled loops: functions, layouts, threads, and what happens where nothing compiles."""

from __future__ import annotations

import ctypes
import math
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests import extras
from tinygrad_rnn import nn
from tinygrad_rnn.backend import compiling, find
from tinygrad_rnn.backend import native as module
from tinygrad_rnn.backend.native import Native, native
from tinygrad_rnn.fuse import stretch
from tinygrad_rnn.fuse.lower import c
from tinygrad_rnn.fuse.lower.c import FLOATS, RUNTIME

pytestmark = [
    pytest.mark.host,
    pytest.mark.skipif(not compiling.compiler(), reason="no C compiler is installed"),
]


@pytest.fixture(autouse=True)
def _compiled():
    stretch._plans.clear()
    with native(True):
        yield


def compiled():
    """The loops that were compiled since."""
    return [plan for plan in stretch._plans.values() if plan is not None and plan.native is not None]


# ---------------------------------------------------------------- functions


@pytest.fixture(scope="module", params=["float32", "float64"])
def functions(request):
    names = ("exp", "tanh", "log", "log1p")
    lines = [
        f"void {n}s(const T* x, T* y, long n) {{ for (long k = 0; k < n; k++) y[k] = {n}(x[k]); }}"
        for n in names
    ]
    library = native.load(FLOATS[request.param] + RUNTIME.read_text() + "\n".join(lines))

    def call(name, x):
        x, y = np.ascontiguousarray(x, request.param), np.empty(len(x), request.param)
        getattr(library, f"{name}s")(*(ctypes.c_void_p(a.ctypes.data) for a in (x, y)), ctypes.c_long(len(x)))
        return y

    return call, np.dtype(request.param)


@pytest.mark.parametrize("name", ["exp", "tanh", "log", "log1p"])
def test_functions_are_right_to_two_units(functions, name):
    call, kind = functions
    rng = np.random.default_rng(0)
    spread = [rng.normal(0, s, 20000) for s in (1e-6, 0.1, 1, 10, 60)]
    x = np.concatenate([*spread, np.linspace(-110, 95, 50001), np.linspace(-0.7, 0.7, 10001)]).astype(kind)
    if name.startswith("log"):
        largest, least = (np.log(float(f)) for f in (np.finfo(kind).max, np.finfo(kind).smallest_subnormal))
        x = np.concatenate([np.exp(rng.uniform(least, largest, 50000)), abs(x), -np.exp(-abs(x[:50000]))])
        x = (x if name == "log1p" else abs(x) + (x == 0)).astype(kind)
    with np.errstate(all="ignore"):
        right = getattr(np, name)(x.astype(np.longdouble))
        y = call(name, x)
        finite = np.isfinite(right.astype(kind)) & (abs(right) > np.finfo(kind).tiny)
        units = abs(y[finite].astype(np.longdouble) - right[finite]) / np.spacing(
            abs(right[finite].astype(kind))
        )
        assert units.max() < 2
        np.testing.assert_array_equal(np.isinf(y), np.isinf(right.astype(kind)))
        np.testing.assert_array_equal(np.isnan(y), np.isnan(right))
        small = abs(right) <= np.finfo(kind).tiny
        np.testing.assert_allclose(
            y[small], right[small].astype(kind), atol=4 * np.finfo(kind).smallest_subnormal, rtol=1e-6
        )


def test_functions_at_their_edges(functions):
    call, kind = functions
    edges = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1e30, -1e30, np.finfo(kind).tiny]
    y = call("tanh", edges)
    assert math.isnan(y[0])
    assert y[1:].tolist() == [1, -1, 0, 0, 1, -1, np.finfo(kind).tiny]
    assert math.copysign(1, y[4]) == -1
    y = call("log", [*edges, 1, -1])
    assert [str(v) for v in y[:7]] == ["nan", "inf", "nan", "-inf", "-inf", str(y[5]), "nan"]
    assert y[8] == 0
    assert math.isnan(y[9])
    y = call("log1p", [*edges, -1])
    assert [str(v) for v in y[:5]] == ["nan", "inf", "nan", "0.0", "-0.0"]
    assert (y[7], y[8]) == (np.finfo(kind).tiny, -math.inf)
    y = call("exp", edges)
    assert math.isnan(y[0])
    assert y[1:7].tolist() == [math.inf, 0, 1, 1, math.inf, 0]


# ---------------------------------------------------------------- layers


class Competing(nn.RNNCell):
    """The elements of the state share a whole; x**3, a maximum, a mean along rows."""

    def step(self, px, h):
        y = tg.softmax(px + h @ self.weight_hh, -1)
        return y * (1 - y.mean(-1, keepdims=True)) + tg.maximum(h, 0.1) * y**3


MAKERS = {
    "LSTM": lambda kind: nn.LSTM(3, 21, dtype=kind),
    "projected": lambda kind: nn.LSTM(3, 18, proj_size=5, dtype=kind),
    "GRU": lambda kind: nn.GRU(3, 17, num_layers=2, bidirectional=True, dtype=kind),
    "GRU after": lambda kind: nn.GRU(3, 40, reset_after=True, dtype=kind),
    "RNN": lambda kind: nn.RNN(3, 9, dtype=kind),
    "relu": lambda kind: nn.RNN(3, 1, nonlinearity="relu", dtype=kind),
    "peepholes": lambda kind: nn.Recurrent(nn.PeepholeLSTMCell(3, 6, dtype=kind), reverse=True),
    "norm LSTM": lambda kind: nn.Recurrent(nn.LayerNormLSTMCell(3, 6, dtype=kind)),
    "norm GRU": lambda kind: nn.Recurrent(nn.LayerNormGRUCell(3, 7, dtype=kind)),
    "norm RNN": lambda kind: nn.Recurrent(nn.LayerNormRNNCell(3, 19, dtype=kind)),
    "softmax": lambda kind: nn.Recurrent(Competing(3, 7, dtype=kind)),
    "zoneout": lambda kind: nn.Recurrent(nn.Zoneout(nn.LSTMCell(3, 6, dtype=kind))),
    "dropout": lambda kind: nn.Recurrent(nn.RecurrentDropout(nn.GRUCell(3, 6, dtype=kind))),
}


def results(name, kind, lengths=None, n_steps=12, n=5, arrange=lambda x: x):
    tg.manual_seed(0)
    layer, x = MAKERS[name](kind), arrange(tg.randn(n_steps, n, 3, dtype=kind)).detach().requires_grad_()
    tg.manual_seed(1)
    output, state = layer(x, lengths=lengths)
    finals = nn.scan.flattened(state)
    (output.square().sum() + sum((s * s * s).sum() for s in finals)).backward()
    found = [output, *finals, x.grad, *(p.grad for p in layer.parameters())]
    return [t.numpy().copy() for t in found]


@pytest.mark.parametrize("lengths", [None, [12, 3, 0, 7, 7]])
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", MAKERS)
def test_a_compiled_loop_computes_what_numpy_does(name, kind, lengths):
    fast = results(name, kind, lengths)
    assert compiled()
    with native(False):
        slow = results(name, kind, lengths)
    bound = 1e-5 if kind == "float32" else 1e-12
    for a, b in zip(fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=bound, atol=bound * max(1, abs(b).max()))


@pytest.mark.parametrize("n", [1, 2, 6, 7, 13])
@pytest.mark.parametrize("name", ["LSTM", "GRU after", "RNN"])
def test_results_do_not_depend_on_the_number_of_threads(name, n, monkeypatch):
    monkeypatch.setattr(module, "ENOUGH", 1)
    monkeypatch.setattr(Native, "threads_for", lambda self, n, work: self.n_threads)
    monkeypatch.setattr(native, "n_threads", 1)
    one = results(name, "float32", n=n)
    for count in (2, 3, 5):
        tg.set_num_threads(count)
        for a, b in zip(one, results(name, "float32", n=n), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["LSTM", "GRU after"])
def test_long_calls_are_cut(name, monkeypatch):
    whole = results(name, "float64", [12, 3, 0, 7, 7])
    for each in (1, 3000, 9000):
        monkeypatch.setattr(c, "LONG", each)
        for a, b in zip(whole, results(name, "float64", [12, 3, 0, 7, 7]), strict=True):
            np.testing.assert_array_equal(a, b)


def unaligned(x):
    """The same numbers, one byte behind where they should begin."""
    memory = np.zeros(x.nbytes + 1, np.uint8)
    found = np.frombuffer(memory.data, x.dtype, x.size, offset=1).reshape(x.shape)
    found[...] = x
    return found


def test_arrays_of_any_layout():
    """Swapped axes, every second element, from the last to the first, one number for all."""
    plain = tg.randn(12, 5, 3).numpy()
    arranged = {
        "swapped": lambda x: tg.tensor(plain.swapaxes(0, 1).copy()).swapaxes(0, 1),
        "columns": lambda x: tg.tensor(np.asfortranarray(plain)),
        "pieces": lambda x: tg.Tensor._of(np.repeat(plain, 2, axis=2)[:, :, ::2]),
        "backwards": lambda x: tg.Tensor._of(plain[::-1].copy()[::-1]),
        "repeated": lambda x: tg.Tensor._of(np.broadcast_to(plain[:1], plain.shape)),
        "elsewhere": lambda x: tg.Tensor._of(unaligned(plain)),
        "the other way round": lambda x: tg.Tensor._of(plain.astype(plain.dtype.newbyteorder())),
    }
    for arrange in arranged.values():
        fast = results("LSTM", "float32", arrange=arrange)
        with native(False):
            slow = results("LSTM", "float32", arrange=arrange)
        for a, b in zip(fast, slow, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_gradients_of_gradients_and_a_graph_that_is_kept():
    layer, x = nn.LSTM(3, 4, dtype="float64"), tg.randn(6, 3, 3, dtype="float64", requires_grad=True)
    found = []
    for on in (True, False):
        with native(on):
            y = layer(x)[0].square().sum()
            (g,) = tg.grad(y, [x], create_graph=True)
            (second,) = tg.grad(g.square().sum(), [x], retain_graph=True)
            (again,) = tg.grad(y, [x])
            found.append([g.detach().numpy(), second.numpy(), again.numpy()])
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_many_python_threads_at_once():
    layer, x = nn.LSTM(8, 32), tg.randn(20, 16, 8)
    with tg.no_grad():
        alone = layer(x)[0].numpy().copy()

        def run(_):
            with tg.no_grad():
                return layer(x)[0].numpy().copy()

        with ThreadPoolExecutor(8) as pool:
            for found in pool.map(run, range(64)):
                np.testing.assert_array_equal(found, alone)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_child_process_makes_threads_of_its_own():
    code = """
        import os, sys
        import numpy as np
        import tinygrad_rnn as tg
        from tinygrad_rnn import nn
        from tinygrad_rnn.backend.native import Native
        Native.threads_for = lambda self, n, work: 2
        tg.set_num_threads(2)
        layer, x = nn.LSTM(4, 16), tg.randn(10, 8, 4)
        before = layer(x)[0].numpy().copy()
        child = os.fork()
        same = (layer(x)[0].numpy() == before).all()
        if not child:
            os._exit(0 if same else 1)
        assert same and os.waitpid(child, 0)[1] == 0
    """
    run_python(code)


def test_other_numbers_are_left_to_numpy():
    layer = nn.LSTM(3, 4, dtype="float16")
    layer(tg.randn(5, 2, 3, dtype="float16"))
    assert not compiled()


# ---------------------------------------------------------------- products


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize(
    "sizes", [(1600, 64, 256), (129, 1200, 77), (7, 700, 900), (900, 700, 3), (1, 1 << 19, 1)]
)
def test_products_are_numpys_for_any_number_of_threads(kind, sizes, monkeypatch):
    if compiling.blas() is None:
        pytest.skip("NumPy has another library for products")
    xp, rng, (n, k, m) = find("numpy"), np.random.default_rng(0), sizes
    a, b, add = (rng.standard_normal(s).astype(kind) for s in ((n, k), (k, m), (m,)))
    for left in (a, np.asfortranarray(a), np.repeat(a, 2, axis=0)[::2]):
        for right in (b, np.asfortranarray(b), np.repeat(b, 2, axis=1)[:, ::2]):
            found = []
            for count in (1, 2, 5):
                monkeypatch.setattr(native, "n_threads", count)
                found.append(xp.product(left, right, add))
            bound = 1e-4 if kind == "float32" else 1e-12
            np.testing.assert_allclose(found[0], a @ b + add, rtol=bound, atol=bound * k**0.5)
            for other in found[1:]:
                np.testing.assert_array_equal(other, found[0])


# ---------------------------------------------------------------- where nothing compiles


def run_python(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


SAME = """
    import numpy as np
    import tinygrad_rnn as tg
    from tinygrad_rnn import nn
    layer, x = nn.LSTM(4, 8), tg.randn(10, 3, 4)
    layer(x)[0].sum().backward()
    layer(x)[0].sum().backward()
    with tg.eager():
        expected = layer(x)[0].numpy()
    assert np.allclose(layer(x)[0].numpy(), expected, atol=1e-5)
    print(tg.native.info()["why not"])
"""


@pytest.mark.parametrize(
    ("environment", "why"),
    [
        ({"CC": "false"}, "false failed"),
        ({"PATH": "/nowhere"}, "no C compiler was found"),
        ({"TINYGRAD_RNN_CACHE": "/proc/nowhere"}, "nowhere"),
    ],
)
def test_numpy_does_the_work_after_one_warning(environment, why):
    done = run_python(SAME, **{"TINYGRAD_RNN_CACHE": os.environ["TINYGRAD_RNN_CACHE"] + "_2", **environment})
    if "PATH" not in environment or why in done.stdout:  # ziglang may be installed
        assert why in done.stdout
        assert done.stderr.count("native: nothing is compiled, NumPy does the work") == 1


def test_without_a_compiler_numpys_products_keep_their_threads():
    code = """
        import numpy as np
        import tinygrad_rnn as tg
        from tinygrad_rnn import nn
        from tinygrad_rnn.backend import compiling
        try:
            library, before = compiling._openblas()
        except Exception:
            raise SystemExit  # NumPy has another library
        x = tg.randn(700, 700)
        assert np.allclose((x @ x).numpy(), x.numpy() @ x.numpy(), atol=1e-2)
        nn.LSTM(4, 8)(tg.randn(5, 2, 4))
        assert library.scipy_openblas_get_num_threads64_() == before == 2
    """
    folder = os.environ["TINYGRAD_RNN_CACHE"] + "_2"
    done = run_python(code, CC="false", OPENBLAS_NUM_THREADS="2", TINYGRAD_RNN_CACHE=folder)
    assert done.stderr.count("native: nothing is compiled") == 1


def test_a_folder_that_others_may_write_to_is_not_used(tmp_path):
    tmp_path.chmod(0o777)
    done = run_python(SAME, TINYGRAD_RNN_CACHE=str(tmp_path))
    assert "others may write there" in done.stdout
    assert not list(tmp_path.iterdir())


def test_off_by_a_variable_and_a_folder_that_is_made(tmp_path):
    run_python(
        SAME + "    assert not tg.native.info()['on']",
        TINYGRAD_RNN_NATIVE="0",
        TINYGRAD_RNN_CACHE=str(tmp_path / "a"),
    )
    assert not (tmp_path / "a").exists()
    run_python(SAME, TINYGRAD_RNN_NATIVE="1", TINYGRAD_RNN_CACHE=str(tmp_path / "a"))
    assert len(list((tmp_path / "a").glob("*.so"))) >= 3
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("damage", ["cut short", "half", "a bit", "empty", "foreign"])
def test_a_damaged_library_is_compiled_again(tmp_path, damage):
    run_python(SAME, TINYGRAD_RNN_CACHE=str(tmp_path / "a"))
    libraries = sorted((tmp_path / "a").iterdir())
    for path in libraries:
        data = path.read_bytes()
        path.write_bytes({
            "cut short": data[:100], "half": data[: len(data) // 2], "empty": b"", "foreign": b"MZ" + data,
            "a bit": data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        }[damage])  # fmt: skip
    done = run_python(SAME, TINYGRAD_RNN_CACHE=str(tmp_path / "a"))
    assert done.stdout.strip() == "None"
    assert all(path.stat().st_size > 1000 for path in libraries)
    assert sorted((tmp_path / "a").iterdir()) == libraries


def test_a_compiler_that_hangs_or_makes_rubbish(tmp_path, monkeypatch):
    script = tmp_path / "cc"
    monkeypatch.setattr(compiling, "PATIENCE", 0.5)
    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(compiling, "compiler", lambda: (str(script),))
    for text, why in (
        ("exec sleep 60", "took longer than 0.5 seconds"),
        ("exit 0", "it made no library"),
        ("echo 'no room' >&2; exit 3", "no room"),
        ("while [ $# -gt 1 ]; do [ $1 = -o ] && echo rubbish > $2; shift; done", "invalid ELF|too short"),
    ):
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o700)
        compiling.for_processor.cache_clear()
        with pytest.raises(OSError, match=why):
            compiling.load(f"int f(void) {{ return {len(text)}; }}")
    compiling.for_processor.cache_clear()
    assert all(path.suffix for path in (tmp_path / "cache").iterdir())  # nothing half done


def test_a_full_disk(monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("TINYGRAD_RNN_CACHE", str(tmp_path))
    monkeypatch.setattr(compiling.Path, "write_text", full)
    own = Native()
    with (
        pytest.warns(UserWarning, match="nothing is compiled.*No space left"),
        pytest.raises(OSError, match="No space"),
    ):
        own.load("int g(void) { return 1; }")
    assert not own.works
    assert not [*tmp_path.iterdir()]


def test_what_is_found_is_said_and_proved(tmp_path):
    def run(**environment):
        return subprocess.run(
            [sys.executable, "-m", "tinygrad_rnn.native"],
            env={**os.environ, "TINYGRAD_RNN_CACHE": str(tmp_path), **environment},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = run()
    assert done.returncode == 0, done.stderr
    assert "it works" in done.stdout
    assert str(tmp_path) in done.stdout
    done = run(CC="false", TINYGRAD_RNN_CACHE=str(tmp_path / "other"))
    assert done.returncode == 1
    assert "NumPy does the work" in done.stdout


def test_the_switch_is_an_object_however_it_is_imported():
    code = """
        import tinygrad_rnn.native
        from tinygrad_rnn import native
        import tinygrad_rnn as tg
        assert tg.native is native is tinygrad_rnn.native
        with native(False):
            assert not tg.native.info()["on"]
    """
    run_python(code)


@pytest.mark.extras("ziglang")
@pytest.mark.parametrize(
    "target",
    ["x86_64-windows-gnu", "aarch64-windows-gnu", "x86_64-macos", "aarch64-macos", "aarch64-linux-gnu"],
)
def test_other_systems_libraries_can_be_made(target, tmp_path, monkeypatch):
    """Threads, products and a loop; they are not run."""
    extras.extra("ziglang")
    texts = [compiling.POOL.read_text()]
    load = native.load
    monkeypatch.setattr(Native, "load", lambda self, text: (texts.append(text), load(text))[1])
    stretch._plans.clear()
    nn.LSTM(4, 8)(tg.randn(5, 2, 4))[0].sum().backward()
    assert len(texts) == 3
    for text in texts:
        made = tmp_path / "library"
        compiling.compile_to(made, text, (sys.executable, "-m", "ziglang", "cc"), "-target", target)
        assert made.stat().st_size > 4000


def test_switches():
    with native(False):
        assert not tg.native.info()["on"]
    assert tg.native.info()["on"]
    for wrong in (0, -1, 1.5, "2"):
        with pytest.raises(ValueError, match="set_num_threads: expected a positive integer"):
            tg.set_num_threads(wrong)
