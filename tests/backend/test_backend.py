"""Which library new tensors are made in, and what importing the package costs and brings along."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.extras import extra
from tests.support import strict
from tinygrad_rnn import backend


@pytest.fixture(autouse=True)
def _as_it_was():
    strict.install()
    name = backend.current()
    yield
    tg.use(name)


def library(x):
    return backend.array_module(x.array).name


def test_use_is_a_global_switch():
    tg.use("strict")
    assert tg.current_backend().name == "strict"
    made = [
        tg.zeros(2), tg.ones(2), tg.empty(2), tg.full((2,), 1.0), tg.eye(2), tg.arange(3),
        tg.linspace(0, 1, 3), tg.randn(2), tg.rand(2), tg.randint(3, (2,)), tg.randperm(3),
        tg.normal(0.0, 1.0, (2,)), tg.tensor([1.0]),
        tg.tensor(np.ones(2)), tg.as_tensor(np.ones(2)), tg.Tensor([1.0]), tg.nn.Linear(2, 2).weight,
    ]  # fmt: skip
    assert {library(x) for x in made} == {"strict"}
    assert library(tg.from_numpy(np.ones(2))) == "numpy"
    found = []
    thread = threading.Thread(target=lambda: found.append(library(tg.zeros(1))))
    thread.start()
    thread.join()
    assert found == ["strict"]
    tg.use("numpy")
    assert library(tg.zeros(2)) == "numpy"


def test_use_is_a_block_too_local_to_its_thread():
    tg.use("cpu")
    found = []
    with tg.use("strict") as module:
        assert module.name == "strict"
        assert library(tg.zeros(2)) == "strict"
        thread = threading.Thread(target=lambda: found.append(library(tg.zeros(1))))
        thread.start()
        thread.join()
        with tg.use("numpy"):
            assert library(tg.zeros(2)) == "numpy"
        assert library(tg.zeros(2)) == "strict"
    assert found == ["numpy"]
    assert library(tg.zeros(2)) == "numpy"


def test_the_array_decides_not_the_switch():
    tg.use("numpy")
    x = tg.ones(2, device="strict", requires_grad=True)
    made = [
        x * 2,
        tg.zeros_like(x),
        x.new_zeros(3),
        tg.randn_like(x),
        x.detach(),
        tg.tensor(x.detach()),
        tg.as_tensor(x),
    ]
    assert {library(y) for y in made} == {"strict"}
    (x * x).sum().backward()
    assert library(x.grad) == "strict"
    assert (str(x.device), x.is_cuda, x.cpu().is_cuda) == ("cuda", True, False)
    assert library(tg.zeros(1, device=x.device)) == "strict"
    with tg.use("strict"):
        y = tg.ones(2, device="numpy")
        assert {library(v) for v in (y, y + 1, tg.tensor(y), tg.ones_like(y))} == {"numpy"}
        assert library(y.to("cuda")) == "strict"


def test_unknown_names():
    for call in (lambda: tg.use("jax"), lambda: tg.zeros(1, device="jax"), lambda: tg.ones(1).to("jax")):
        with pytest.raises((ValueError, TypeError), match="jax"):
            call()
    with pytest.raises(ValueError, match="no backend is called 'jax'; there are 'cpu', 'cuda', 'cupy'"):
        tg.use("jax")
    assert tg.zeros(1).tolist() == [0.0]


def run(code, **environment):
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=100
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


START = "import tinygrad_rnn as tg\n"


def test_the_environment_chooses_the_start():
    code = START + "print(tg.zeros(1).device, tg.current_backend().name)"
    assert run(code, TINYGRAD_RNN_BACKEND="cpu")[1] == "cpu numpy"
    status, _, text = run(code, TINYGRAD_RNN_BACKEND="jax")
    assert status == 1
    assert "ValueError: no backend is called 'jax'" in text


def test_without_cupy_one_sentence_says_what_to_install():
    code = START + (
        "import sys; sys.modules['cupy'] = None\n"
        "for name in ('cupy', 'cuda'):\n"
        "    try: tg.use(name)\n"
        "    except RuntimeError as e: print(e)\n"
        "print(tg.ones(2).tolist(), tg.cuda.is_available())"
    )
    status, text, errors = run(code)
    assert (status, errors) == (0, "")
    sentence = "the cupy backend needs CuPy, which is not installed: pip install '.[cuda12]'"
    assert text.count(sentence) == 2
    assert text.endswith("[1.0, 1.0] False")


@pytest.mark.extras("cupy")
def test_without_a_driver_one_sentence_says_so():
    cupy = extra("cupy")
    if cupy.cuda.is_available():
        pytest.skip("there is a GPU")
    code = START + (
        "x = tg.zeros(1)\n"
        "for call in (lambda: tg.use('cupy'), lambda: tg.zeros(1, device='cuda'), lambda: x.cuda()):\n"
        "    try: call()\n"
        "    except RuntimeError as e: print(e)\n"
        "print(tg.ones(2).tolist(), tg.cuda.is_available())"
    )
    status, text, errors = run(code)
    assert (status, errors) == (0, "")
    assert (
        text.count("the cupy backend finds no CUDA GPU (is the driver installed?); use('numpy') goes on") == 3
    )
    assert text.endswith("[1.0, 1.0] False")
    status, text, _ = run(
        START
        + "try: tg.zeros(1)\nexcept RuntimeError as e: print(e)\n"
        + "tg.use('numpy'); print(tg.zeros(1).tolist())",
        TINYGRAD_RNN_BACKEND="cupy",
    )
    assert status == 0
    assert "finds no CUDA GPU" in text
    assert text.endswith("[0.0]")


def test_importing_brings_nothing_optional():
    optional = "cupy", "torch", "matplotlib", "tqdm", "hypothesis", "safetensors", "pytest", "scipy"
    code = START + f"import sys; print([name for name in {optional} if name in sys.modules])"
    assert run(code)[1] == "[]"


def test_importing_costs_little_more_than_numpy(tmp_path):
    """Whole processes, one after the other by turns: the median is below 1.5 times NumPy's."""
    resource = pytest.importorskip("resource")
    taken = {"import numpy": [], "import tinygrad_rnn": []}
    compiled = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    for code in taken:
        run(code, **compiled)  # from here on compiled, as after an installation
    for _ in range(9):
        for code, times in taken.items():
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run(code, **compiled)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(sum(after[:2]) - sum(before[:2]))  # processor time, user's and system's
    numpy, ours = (statistics.median(times) for times in taken.values())
    assert ours < 1.5 * numpy
