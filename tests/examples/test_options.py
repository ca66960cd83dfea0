"""Options of all examples: numbers that make no sense, what --quick leaves alone, whose files are whose."""

import itertools
import os
import subprocess
import sys

import pytest

import tinygrad_rnn as tg
from tests.examples import EXAMPLES

pytestmark = pytest.mark.host  # the backend is an option of the scripts

SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text("utf-8"))
EXTREMES = ("0", "-1", "nan", "inf", "-inf", "1e-320", "1e308", "1" + "0" * 30, "one", "")
FRACTIONS = {"dropout", "word_dropout", "noise", "sampling", "babble"}  # which may be 0


@pytest.fixture
def options(example, monkeypatch):
    """A function of a script's name and arguments that returns its options."""

    def of(script, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{script}.py", *map(str, arguments)])
        return example(script).options()

    return of


@pytest.mark.parametrize("script", SCRIPTS)
def test_numbers_that_make_no_sense_are_one_sentence(script, example, monkeypatch, capsys):
    """Every option that takes a number."""
    with monkeypatch.context() as patch:
        patch.setattr(example("common"), "parse", lambda parser, *_, **__: parser)
        parser = example(script).options()
    numeric = [a for a in parser._actions if getattr(a.type, "__name__", "") in ("int", "float")]
    assert len(numeric) >= 5
    for action, text in itertools.product(numeric, EXTREMES):
        command = [f"{action.option_strings[0]}={text}"]
        if action.type.__name__ == "int" or action.dest not in FRACTIONS or text not in ("0", "1e-320"):
            if text == "0" and action.dest in ("seed", "header"):
                continue
            with pytest.raises(SystemExit, match="2"):
                parser.parse_args(command)
            said = capsys.readouterr().err
            assert said.startswith(f"toy.py: argument {action.option_strings[0]}: ")
            assert said.count("\n") == 1


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_is_given_counts_beside_quick(script, example, options):
    small = example(script).QUICK
    small = small.get("digits", small)  # speech has its own for each task
    if isinstance(small, tuple):
        small = dict.fromkeys(("nets", "hidden", "epochs", "batch", "lr"))
    for name in small:
        value = {"lr": 0.25, "dropout": 0.25}.get(name, 6)
        given = options(script, "--quick", f"--{name.replace('_', '-')}", value)
        usual = options(script, "--quick")
        assert getattr(given, name) == value != getattr(usual, name)
        assert all(getattr(given, other) == getattr(usual, other) for other in small if other != name)


VARIANTS = {
    "char_lm": [["--text", "kjv"], ["--text", "a/my.txt"], ["--text", "b/my.txt"], ["--text", "b/kjv.txt"],
                ["--layers", 2]],
    "forecast": [["--data", "airline"], ["--data", "a/airline.csv"], ["--data", "airline.csv"],
                 ["--season", 7], ["--transform", "log"], ["--column", "b"]],
    "translate": [["--task", "g2p"]],
    "speech": [["--task", "digits"], ["--nets", 2]],
    "music": [["--independent"]],
    "vanishing": [["--long"], ["--steps-back", 50], ["--pause", 9]],
    "caption": [["--longest", 3]],
    "tagging": [["--nets", 2], ["--word-dropout", 0.5]],
    "sentiment": [["--dropout", 0.1]],
    "intents": [["--embedding", 9]],
    "export": [["--task", "sound"], ["--weights", "int8"]],
}  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_task_and_each_net_has_files_of_its_own(script, options):
    cells = [] if script in ("intents", "vanishing") else [["--cell", "rnn"]]  # which name the cell anyway
    variants = [[], ["--quick"], ["--hidden", 7], ["--quick", "--hidden", 7], *cells, *VARIANTS[script]]
    stems = [options(script, *variant).stem for variant in variants]
    assert len(set(stems)) == len(stems), stems
    assert all(stem.startswith(script) for stem in stems)
    for change in (["--lr", 0.5], ["--seed", 9], ["--out", "elsewhere"]):
        assert options(script, *change).stem == stems[0]


# ---------------------------------------------------------------- going on, and reading


@pytest.fixture
def folder(options, example, tmp_path):
    """A folder with checkpoints of tagging.py: of three nets, the smallest the latest."""
    for k, hidden in enumerate((128, 64, 32)):
        args = options("tagging", "--hidden", hidden, "--lr", 0.5, "--out", tmp_path)
        path = example("common").path(args, "both")
        tg.save(path, example="tagging.py", run=example("common").kept(args, "both"))
        os.utime(path, (k, k))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "hidden"), [([], 128), (["--hidden", 64], 64), (["--lr", 0.5, "--hidden", 32], 32)]
)
def test_a_resumed_run_takes_over_the_options(folder, options, example, arguments, hidden):
    args = options("tagging", "--resume", *arguments, "--out", folder)
    example("common").start(args)
    assert (args.hidden, args.lr) == (hidden, 0.5)
    assert example("common").path(args, "both").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hidden", 16], "is of --hidden 32, not 16; leave --hidden out, or learn anew without --resume"),
        (["--lr", 0.25], "tagging_both.npz is of --lr 0.5, not 0.25"),
        (["--cell", "rnn"], "is of --cell lstm, not rnn"),
        (["--quick"], "is of --quick False, not True"),
        (["--seed", 1], "is of --seed 0, not 1"),
    ],
)
def test_going_on_with_other_options_is_one_sentence(folder, options, example, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        example("common").start(options("tagging", "--resume", *arguments, "--out", folder))
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_which_checkpoint_is_read(folder, options, example):
    """That of the options; else the latest one that agrees with what was given."""

    def found(*arguments):
        return example("common").find(options("tagging", *arguments, "--out", folder), "both").name

    assert found() == "tagging_both.npz"
    assert found("--hidden", 64) == "tagging_hidden-64_both.npz"
    assert found("--cell", "gru") == "tagging_gru_both.npz"  # which is not there, as will be said
    (folder / "tagging_both.npz").unlink()
    assert found() == found("--lr", 9) == "tagging_hidden-32_both.npz"
    assert found("--hidden", 128) == "tagging_both.npz"


# ---------------------------------------------------------------- where the output goes


@pytest.mark.parametrize("script", [*SCRIPTS, "learn/01_gradient"])
def test_an_output_that_is_cut_short_ends_quietly(script):
    """As with `| head -1`, where what follows is written to nobody."""
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode in (141, -13)  # as a shell says it, and as Python does
    assert said == ""


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_console_without_the_characters(script):
    """The help has Chinese, dashes and letters with dots."""
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), "--help"]
    done = subprocess.run(
        command, capture_output=True, timeout=60, check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert done.stdout.isascii()
    assert done.stderr == b""
    assert (b"\\u4f60" in done.stdout) == (script == "tagging")
