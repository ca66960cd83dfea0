"""Exports: int8, what is refused, files and the header."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tinygrad_rnn as tg
from tests.io.exported import COMPILER, CharLM, Exported, by_python, close, moved, sequence, through
from tinygrad_rnn import nn

pytestmark = pytest.mark.host
compiles = pytest.mark.skipif(not COMPILER, reason="no C compiler is installed")


@compiles
@pytest.mark.parametrize(
    "make", [lambda: through(nn.LSTM(3, 33), nn.Linear(33, 2)), CharLM, lambda: through(nn.GRU(3, 70))]
)
def test_int8(make, tmp_path):
    tg.manual_seed(0)
    model = make()
    made = Exported(model, tmp_path / "net", weights="int8")
    whole = Exported(model, tmp_path / "whole")
    rng = np.random.default_rng(0)
    if made.is_token:
        xs = rng.integers(0, 11, 64)
        given = xs[:, None]
    else:
        given = xs = rng.normal(size=(64, 3)).astype("float32")  # as the error was measured on
    ys, right = made.stream().steps(given), by_python(model, xs)
    error = np.abs(ys - right).max() / np.abs(right).max()
    assert 1e-5 < error < 0.1
    np.testing.assert_allclose(error, made.found.error, rtol=1e-2)
    assert f"{made.found.error:.1e}" in made.header
    if not made.is_token:
        assert len(Path(made.found.c).read_text()) < 0.6 * len(Path(whole.found.c).read_text())


# ---------------------------------------------------------------- what is refused


class Attends(nn.Module):
    """Looks at all steps."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4)

    def forward(self, x):
        y, _ = self.rnn(x)
        return y.mean(0)


class Scans(nn.Module):
    """Begins with zeros by itself."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 3)

    def forward(self, x):
        return tg.scan(lambda x, h: (tg.tanh(self.out(x) + h),) * 2, x, tg.zeros(x.shape[1], 3))[0]


class Draws(nn.Module):
    def forward(self, x):
        return x + tg.randn(*x.shape)


class Asks(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


class Sorts(nn.Module):
    def forward(self, x):
        return x + tg.argsort(x, -1)


class Starts(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 3)

    def forward(self, x):
        return self.cell(x[0], tg.zeros(x.shape[1], 3))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(3, 3)

    def forward(self, x):
        return self.cell(self.cell(x[0]))


REFUSED = {
    "bidirectional": (
        lambda: through(nn.LSTM(3, 4, bidirectional=True)),
        r"parts\.0 \(LSTM\) reads from the end",
    ),
    "twins": (lambda: nn.Bidirectional(nn.GRU(3, 4)), "Bidirectional reads from the end"),
    "reverse": (lambda: nn.Recurrent(nn.GRUCell(3, 4), reverse=True), "Recurrent reads from the end"),
    "attends": (Attends, "Attends cannot be exported: what it makes of a sequence"),
    "scans": (Scans, "Scans cannot be exported: what it makes of a sequence"),
    "a scan inside": (lambda: through(nn.GRU(3, 3), Scans()), "Chain cannot be exported: what it makes of a"),
    "draws": (lambda: through(nn.GRU(3, 4), Draws()), "Chain cannot be exported: .* random numbers"),
    "asks": (lambda: through(nn.GRU(3, 4), Asks()), r"in parts\.1 \(Asks\): it asks for a value"),
    "sorts": (
        lambda: through(nn.GRU(3, 4), Sorts()),
        r"Chain cannot be exported: parts\.1 \(Sorts\): argsort is not written in C",
    ),
    "starts": (Starts, r"cell \(GRUCell\) is given its state by what is around it"),
    "twice": (Twice, r"cell \(GRUCell\) is called more than once in a step"),
    "nothing": (lambda: through(nn.Tanh()), "says how many features a step is given; say inputs="),
    "half": (lambda: nn.LSTM(3, 4).to(tg.float16), "LSTM cannot be exported: its numbers are float16"),
    "empty": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Module()), r"in 1 \(Module\): NotImplementedError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_exported_is_one_sentence(name, tmp_path):
    make, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=sentence) as caught:
        tg.native.export_c(make(), tmp_path / "net")
    said = str(caught.value)
    assert said.startswith("export_c: ")
    assert "\n" not in said
    assert not [*tmp_path.iterdir()]


def test_a_single_cell_is_no_sequence(tmp_path):
    """But a module around it is."""
    with pytest.raises(ValueError, match="GRUCell cannot be exported"):
        tg.native.export_c(nn.GRUCell(3, 4), tmp_path / "net")


def test_wrong_arguments(tmp_path):
    with pytest.raises(TypeError, match="export_c: expected a Module, got a function"):
        tg.native.export_c(lambda x: x, tmp_path / "net")
    with pytest.raises(ValueError, match="weights is 'int4', expected 'float' or 'int8'"):
        tg.native.export_c(nn.GRU(3, 4), tmp_path / "net", weights="int4")
    with pytest.raises(TypeError, match="export_c: expected the name of a file"):
        tg.native.export_c(nn.GRU(3, 4), 3)


# ---------------------------------------------------------------- files


@compiles
@pytest.mark.parametrize(
    ("path", "name"),
    [("net.c", "net"), ("net.h", "net"), ("a net-2", "a_net_2"), ("2nd.v1", "net_2nd_v1"), ("_Net", "Net"),
     ("int", "int"), ("n\N{LATIN SMALL LETTER O WITH DIAERESIS}te", "n_te"), ("---", "net_")],
)  # fmt: skip
def test_names(path, name, tmp_path):
    model = moved(nn.GRU(3, 4))
    made = Exported(model, tmp_path / path)
    assert made.name == name
    xs = sequence(model)
    close(made.stream().steps(xs), by_python(model, xs))


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    net = nn.GRU(3, 4)
    with pytest.raises(FileNotFoundError, match=r"export_c: .* make it first"):
        tg.native.export_c(net, tmp_path / "there" / "net")
    (tmp_path / "net.c").write_text("old")
    (tmp_path / "net.h").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        tg.native.export_c(net, tmp_path / "net")
    assert (tmp_path / "net.c").read_text() == "old"
    (tmp_path / "net.h").rmdir()
    made = tg.native.export_c(net, tmp_path / "net")
    assert "GRU" in (tmp_path / "net.h").read_text()
    assert (made.c, made.h) == (str(tmp_path / "net.c"), str(tmp_path / "net.h"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.c", "net.h"]


@compiles
def test_the_header_is_one_of_cpp_too(tmp_path):
    compiler = next((c for c in ("c++", "g++", "clang++") if shutil.which(c)), None)
    if compiler is None:
        pytest.skip("no C++ compiler is installed")
    made = Exported(nn.GRU(3, 4), tmp_path / "net")
    main = tmp_path / "main.cpp"
    main.write_text(
        '#include "net.h"\n#include "net.h"\n'
        "int main() { net_state s; net_init(&s); float x[NET_INPUTS] = {1, 2, 3}, y[NET_OUTPUTS];\n"
        "net_step(x, &s, y); return y[0] != y[0]; }\n"
    )
    library, program = Path(f"{made.found.c}.so"), tmp_path / "main"
    command = [
        compiler,
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pedantic",
        str(main),
        str(library),
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    assert subprocess.run([str(program)], check=False).returncode == 0
