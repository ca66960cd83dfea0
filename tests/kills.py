"""Trainings that are killed again and again, and resumed: they end as if nothing had happened.

    python -m tests.kills 100 20        # kills of `fit`, and of examples/char_lm.py; some minutes

Each run is ended at a moment drawn by chance, by SIGKILL or by Ctrl-C, and goes on from its checkpoint until
it is complete. Then weights, rows and log are those of a run that nobody has ended, and nothing else is left
in its folder.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CHAR_LM = ("--hidden", "8", "--embedding", "4", "--window", "16", "--batch", "8", "--epochs", "3")


def train(folder: str) -> None:
    """What is killed: a training with dropout, validation, a schedule and a log."""
    import tinygrad_rnn as tg
    from tinygrad_rnn import data, nn, optim

    signal.signal(signal.SIGINT, signal.default_int_handler)
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1))
    x = tg.randn(64, 4)
    loader = data.DataLoader(data.TensorDataset(x, x.sum(1, keepdim=True)), 8, shuffle=True)
    optimizer = optim.Adam(model.parameters(), 0.01)
    print("begins", flush=True)
    tg.fit(
        model, lambda model, batch: tg.mse_loss(model(batch[0]), batch[1]), loader, optimizer, epochs=40,
        validate=[(x, x.sum(1, keepdim=True))], checkpoint=f"{folder}/run.npz", resume=True,
        log=f"{folder}/log.jsonl", scheduler=optim.lr_scheduler.CosineAnnealingLR(optimizer, 40),
        progress=False,
    )  # fmt: skip


def fit_command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.kills", "train", str(folder)]


def char_lm_command(folder: Path) -> list[str]:
    text = folder.parent / "text.txt"
    if not text.exists():
        rng = random.Random(0)
        text.write_text(" ".join(rng.choice(["alpha", "beta", "gamma"]) for _ in range(2500)))
    resume = ["--resume"] if list(folder.glob("*.npz")) else []
    settings = [] if resume else CHAR_LM
    script = str(ROOT / "examples" / "char_lm.py")
    return [sys.executable, "-u", script, "--text", str(text), "--out", str(folder), *settings, *resume]


def killed(command: list[str], seconds: float, how: int) -> tuple[int, float, str]:
    """How a process ended that got a signal some time after it began to learn; how long it lasted; and what
    it said of errors.
    """
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        begin = time.perf_counter()
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            _, errors = process.communicate(timeout=120)
        return process.returncode, time.perf_counter() - begin, errors


def content(folder: Path) -> Any:
    """What a run has come to, without times."""
    import tinygrad_rnn as tg

    (path,) = folder.glob("*.npz")
    saved = tg.load(path)
    rows = saved["fit"]["rows"] if "fit" in saved else saved["history"]
    log = folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for row in [*lines, *(rows if isinstance(rows, list) else [])]:
        row.pop("seconds")
    weights = {name: value.numpy().tobytes() for name, value in saved["model"].items()}
    return weights, rows, lines


def ended_and_resumed(command: Any, n: int, seed: int = 0, seconds: float = float("inf")) -> dict[str, Any]:
    """Up to n times a run is ended. What was found: counts, and what was wrong."""
    rng, wrong, begin = random.Random(seed), [], time.perf_counter()
    kills = runs = 0
    with tempfile.TemporaryDirectory() as parent:
        whole = Path(parent) / "whole"
        whole.mkdir()
        _, lasts, errors = killed(command(whole), 600, signal.SIGKILL)
        expected = content(whole)
        names = sorted(path.name for path in whole.iterdir())
        while kills < n and time.perf_counter() - begin < seconds:
            folder = Path(parent) / f"run{runs}"
            folder.mkdir()
            while True:
                how = rng.choice((signal.SIGKILL, signal.SIGINT))
                ends = rng.uniform(0, lasts) if kills < n else 600
                status, _, errors = killed(command(folder), ends, how)
                kills += status in (-9, 130) or "KeyboardInterrupt" in errors
                if "nothing to resume" in errors or status == 0:
                    if command is char_lm_command or len(content(folder)[1]) == len(expected[1]):
                        break
                    kills += 1  # Ctrl-C, after which fit returns
                elif status not in (-9, -2, 130) and "KeyboardInterrupt" not in errors:
                    wrong.append(f"run {runs}: ends with {status}: {errors[-500:]}")
                    break
            runs += 1
            if content(folder) != expected:
                wrong.append(f"run {runs - 1} is another than the whole one")
            left = sorted(path.name for path in folder.iterdir() if path.suffix != ".png")
            if "nothing to resume" in errors:  # it was ended while it wrote its pictures, and has not again
                left = [name for name in left if not name.endswith(".part")]
            if left != [name for name in names if not name.endswith(".png")]:
                wrong.append(f"run {runs - 1} leaves {left}")
    return {"kills": kills, "runs": runs, "wrong": wrong}


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["train"]:
        train(arguments[1])
        return 0
    counts = [int(n) for n in arguments] or [100, 20]
    failed = False
    for command, n in zip((fit_command, char_lm_command), counts, strict=False):
        found = ended_and_resumed(command, n)
        print(json.dumps({"what": command.__name__, **found}), flush=True)
        failed = failed or bool(found["wrong"])
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
