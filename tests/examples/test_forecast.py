"""The forecaster as its users run it: in a process of its own."""

import csv
import io
import math
import re
import subprocess
import sys

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
