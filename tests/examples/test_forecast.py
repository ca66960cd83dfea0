"""The forecaster as its users run it: in a process of its own."""

import csv
import io
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.examples import EXAMPLES, run_example

pytestmark = pytest.mark.host  # the backend is an option of the script


def run(*arguments, check=0):
    return run_example("forecast.py", *arguments, check=check)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A quick run on sunspots, shared by the tests that look at it."""
    out = tmp_path_factory.mktemp("forecast")
    return out, run("--quick", "--out", out).stdout


def row(said, name):
    """The numbers of one line of a table."""
    return [float(x) for x in re.search(rf"^{name} +(.*)$", said, re.M).group(1).replace("%", "").split()]


@pytest.fixture
def waves(tmp_path):
    """A series with a season of 7, as a CSV file with a date and a name."""
    values = [10 + 3 * math.sin(2 * math.pi * t / 7) + 0.01 * t for t in range(140)]
    path = tmp_path / "waves.csv"
    path.write_text("day,value\n" + "".join(f"{t},{v:.4f}\n" for t, v in enumerate(values)))
    return path, values


def test_quick_run_forecasts_and_writes_what_it_promises(quick):
    out, said = quick
    ours, others = row(said, r"2 nets \(gru\), their mean"), row(said, "persistence")
    assert ours[0] < 0.2 < others[0]
    assert row(said, "linear AR")[:2] == pytest.approx([0.126, 0.358], abs=0.002)  # Weigend et al. 1990
    assert "published: linear AR(12) 0.126" in said
    assert 60 <= row(said, "in the band, of 90 %")[0] <= 100
    assert {p.name for p in out.iterdir()} == {"forecast_sunspots_quick.npz", "forecast_sunspots_quick.png"}
    assert (out / "forecast_sunspots_quick.png").read_bytes()[:4] == b"\x89PNG"


def test_every_net_leaves_something_out(tmp_path):
    """Of a short series, too: where nothing is left out, the error there is none."""
    said = run("--data", "airline", "--epochs", 1, "--out", tmp_path).stdout
    assert len(re.findall(r"net \d of 8: \d\.\d+ of the variance", said)) == 8
    assert row(said, "persistence")[0] == pytest.approx(48.0, abs=0.05)
    assert row(said, "seasonal naive")[0] == pytest.approx(41.9, abs=0.05)
    said = run("--data", "airline", "--nets", 100, "--out", tmp_path, check=2).stderr
    assert "83 steps are too few for 100 nets" in said
    assert said.count("\n") == 1


def test_going_on_with_a_users_series(quick, tmp_path):
    out, _ = quick
    path = tmp_path / "spots.csv"
    path.write_text("\n".join(str(50 + 45 * math.sin(2 * math.pi * t / 11)) for t in range(40)))
    table = list(csv.DictReader(io.StringIO(run("--predict", path, "--horizon", 5, "--out", out).stdout)))
    assert [row["step"] for row in table] == ["1", "2", "3", "4", "5"]
    for line in table:
        assert 0 <= float(line["low"]) < float(line["forecast"]) < float(line["high"]) < 400


def test_values_as_they_come_in(quick, tmp_path):
    """One forecast at once for every value, the same as those with the whole series at hand."""
    out, _ = quick
    values = [50 + 45 * math.sin(2 * math.pi * t / 11) for t in range(14)]
    command = [sys.executable, str(EXAMPLES / "forecast.py"), "--predict", "-", "--out", str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said = []
        for value in values:
            process.stdin.write(f"{value}\n")
            process.stdin.flush()
            said.append(float(process.stdout.readline()))
        process.stdin.close()
    assert process.returncode == 0
    path = tmp_path / "spots.csv"
    path.write_text("\n".join(map(str, values)))
    table = run("--predict", path, "--horizon", 1, "--out", out).stdout.splitlines()
    _, forecast, low, high = map(float, table[1].split(","))
    assert low < said[-1] < high
    assert abs(said[-1] - forecast) < 0.3 * (high - low)  # the mean of paths drawn by chance


def test_a_series_of_the_users_own(tmp_path, waves):
    path, values = waves
    settings = ("--season", 7, "--quick", "--cell", "lstm", "--out", tmp_path / "run")
    said = run("--data", path, *settings).stdout
    assert row(said, r"2 nets \(lstm\), their mean")[0] < 0.3 * row(said, "persistence")[0]
    table = run("--data", path, "--predict", path, "--out", tmp_path / "run").stdout.splitlines()
    for t, line in enumerate(table[1:], 140):
        expected = 10 + 3 * math.sin(2 * math.pi * t / 7) + 0.01 * t
        assert float(line.split(",")[1]) == pytest.approx(expected, abs=0.5)
    assert len(values) == 140


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no numbers in its last column"),
        ("day,value\nmonday,many\n", "has no numbers in its last column"),
        ("1\n2\nthree\n4\n", "has 'three' where a number should stand"),
        ("1\n2\nnan\n4\n", "has a NaN or an infinity"),
        ("1\n2\n3\n", "has 3 values; at least"),
        (b"\xff\xfe\x00", "is no text in UTF-8"),
    ],
)
def test_bad_files_get_one_sentence(quick, tmp_path, content, message):
    out, _ = quick
    path = tmp_path / "bad.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for option in ("--predict", "--data"):
        done = run(option, path, "--out", out, check=2)
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def series_of(tmp_path, values, name="a.csv"):
    path = tmp_path / name
    path.write_text("".join(f"{t};{value}\n" for t, value in enumerate(values)))
    return path


def test_large_values_are_as_right_as_small_ones(tmp_path):
    """The same variation on 1e9: the same forecast, to seven digits of the variation."""
    waves = [10 * math.sin(2 * math.pi * t / 7) + math.sin(t * t) for t in range(84)]
    settings = ("--season", 7, "--quick", "--epochs", 3, "--nets", 1)
    found = []
    for offset in (0, 2**30):
        path = series_of(tmp_path, [f"{offset + wave:.6f}" for wave in waves], f"{offset}.csv")
        out = ("--data", path, "--out", tmp_path / "run")
        said = run(*out, *settings).stdout
        table = run(*out, "--predict", path, "--horizon", 17).stdout.splitlines()[1:]  # beyond a season
        rows = [[float(x) for x in line.split(",")[1:]] for line in table]
        found.append((np.array(rows) - offset, [row(said, n)[0] for n in ("linear AR", "seasonal naive")]))
    assert len(found[0][0]) == 17
    np.testing.assert_allclose(found[1][0], found[0][0], atol=2e-5)  # the file has six decimals
    assert found[1][1] == found[0][1]


@pytest.mark.parametrize(
    "values",
    [
        [[3, 1, 4, 1, 5, 9, 2][t % 7] for t in range(84)],
        [[3, 1, 4, 1, 5, 9, 2][t % 7] + 0.25 * t for t in range(84)],
        [0.1 + 1e9 * (t % 7 == 0) for t in range(84)],
        [7.0 * (t == 80) for t in range(84)],
    ],
)
def test_what_repeats_goes_on_repeating(tmp_path, values):
    path = series_of(tmp_path, values)
    settings = ("--season", 7, "--quick", "--epochs", 2, "--nets", 1, "--out", tmp_path / "run")
    said = run("--data", path, *settings)
    assert "nan" not in said.stdout
    assert said.stderr == ""
    table = run("--data", path, "--predict", path, "--out", tmp_path / "run", "--horizon", 9).stdout
    rise = values[83] - values[76]
    for h, line in enumerate(table.splitlines()[1:]):
        expected = values[77 + h % 7] + rise * (1 + h // 7)
        assert [float(x) for x in line.split(",")[1:]] == pytest.approx([expected] * 3, rel=1e-9, abs=1e-9)


def test_more_steps_than_there_are_to_compare_with(tmp_path):
    said = run("--horizon", 60, "--out", tmp_path, check=2).stderr
    assert said == "forecast.py: --horizon 60 is more than the 59 values that are held out; take fewer\n"


def feed(out, text, *arguments):
    command = [sys.executable, str(EXAMPLES / "forecast.py"), "--predict", "-", "--out", str(out)]
    return subprocess.run(
        [*command, *map(str, arguments)], input=text.encode(), capture_output=True, timeout=60, check=False
    )


def test_lines_that_are_no_values(quick):
    out, _ = quick
    done = feed(out, "\ufeffspots\n\n# of 1700\n5\n   \n11\r\n\n16\n")
    assert len(done.stdout.split()) == 3
    assert done.stderr == b"forecast.py: line 1 of the input is taken for names\n"
    assert done.stdout.split() == feed(out, "1700;5\n1701,11.0\n1702\t16\n").stdout.split()
    for text, message in [
        ("5\n100,37\n", "line 2 of the input has '100,37', which may be 2 columns or one number"),
        ("5\nsix\n", "line 2 of the input has 'six' where a number should stand"),
        ("5\nnan\n", "line 2 of the input has a NaN or an infinity"),
        ("5\n1e200\n", "line 2 of the input has 1e+200, beyond 1e+100"),
        ("5\n1e90\n", "too far from those that were learned"),
        ("\n\n", "the input is empty"),
    ]:
        done = feed(out, text)
        assert done.returncode == 2
        assert message in done.stderr.decode()
        assert done.stderr.count(b"\n") == 1
        assert len(done.stdout.split()) == text.startswith("5")
    assert len(feed(out, "100,37\n", "--delimiter", "none", "--decimal", ",").stdout.split()) == 1


def test_files_of_all_kinds(example, tmp_path, capsys):
    """What is said before anything is learned."""
    table, names = example("table"), {
        "": "has no numbers in its last column",
        ".": "cannot be read: Is a directory",
        "none.csv": "cannot be read: No such file",
        "long": "cannot be read: File name too long",
        "program": "is no text in UTF-8 or UTF-16: it holds zero bytes",
        "half": "is no text in UTF-8 or UTF-16, though it begins like one",
    }  # fmt: skip
    (tmp_path / "program").write_bytes(b"\x7fELF\0\0" * 20)
    (tmp_path / "half").write_bytes(b"\xff\xfe1")
    (tmp_path / "empty").write_bytes(b"")
    for name, message in names.items():
        with pytest.raises(SystemExit):
            table.series(tmp_path / {"": "empty", "long": "x" * 300}.get(name, name))
        said = capsys.readouterr().err
        assert message in said
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1e302 * (1 + t % 5) for t in range(70)], "has 5e+302, beyond 1e+100; divide all values by a power"),
        ([1e-200 * (1 + t % 5) for t in range(70)], "varies less than numbers of 16 digits can tell"),
        ([5 + 2e-15 * (t % 2) for t in range(70)], "varies less than numbers of 16 digits can tell"),
        ([5], "has 1 value; at least 60 are needed"),
    ],
)
def test_values_that_are_not_learned(tmp_path, values, message):
    path = series_of(tmp_path, values)
    said = run("--data", path, "--out", tmp_path / "run", check=2).stderr
    assert message in said
    assert said.count("\n") == 1


def test_other_complaints(quick, tmp_path):
    out, _ = quick
    path = tmp_path / "flat.csv"
    path.write_text("5\n" * 100)
    assert "repeats one value" in run("--data", path, "--out", out, check=2).stderr
    path.write_text("\n".join(str(t - 50) for t in range(100)))
    done = run("--data", path, "--transform", "log", "--out", out, check=2)
    assert "whose log does not exist; take --transform none" in done.stderr
    assert "the input is empty" in run("--predict", "-", "--out", out, check=2).stderr
    assert "there is no file" in run("--predict", path, "--out", tmp_path, check=2).stderr
    (tmp_path / "forecast_sunspots.npz").write_text("hello")
    assert "is no checkpoint" in run("--predict", path, "--out", tmp_path, check=2).stderr
