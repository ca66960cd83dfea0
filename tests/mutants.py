"""Lines that are broken on purpose, one at a time: a test fails for each, or there is a test too few.

    python -m tests.mutants                 # all that have no result yet; a minute for ten or so
    python -m tests.mutants optim ctc       # those of files whose names have these words
    python -m tests.mutants --whole         # the bare test command, too, for those that survive theirs

Each mutant is a line of the package with something else in it, in a copy of the repository. The tests that
belong to its file run until one of them fails. Results are in mutants.json beside the copy's folder
(`--results FILE`); what has one is not run again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# A file of the package: the tests that go through its lines.
TESTS = {
    "optim/sgd": "optim/test_references.py", "optim/adam": "optim/test_references.py",
    "optim/rmsprop": "optim/test_references.py", "optim/adagrad": "optim/test_references.py",
    "optim/lbfgs": "optim/test_references.py optim/test_optimizer.py optim/test_torn_steps.py",
    "optim/lr_scheduler/formulas": "optim/test_references.py optim/test_schedulers.py",
    "optim/optimizer": "optim/test_torn_steps.py optim/test_optimizer.py",
    "optim/signals": "optim/test_torn_steps.py test_fit_interrupts.py",
    "nn/amp": "optim/test_references.py nn/test_amp.py",
    "nn/wrappers": "nn/test_dropped_states.py nn/test_options.py",
    "nn/cells": "nn/test_dropped_states.py nn/test_recurrent.py", "nn/cell": "nn/test_dropped_states.py",
    "nn/losses": "nn/test_losses.py", "nn/ctc": "nn/test_ctc.py",
    "ops/elementwise": "ops/test_bounds.py ops/test_rows.py",
    "io/archive": "io/test_hostile.py io/test_io.py", "io/checkpoint": "io/test_hostile.py io/test_io.py",
    "io/safetensors": "io/test_hostile.py io/test_io.py", "io/formats": "io/test_hostile.py test_messages.py",
    "io/atomic": "test_fit_resume.py test_messages.py io/test_io.py",
    "training/run": "test_fit.py test_fit_interrupts.py test_fit_resume.py",
    "training/files": "test_fit.py test_fit_resume.py test_fit_interrupts.py",
    "training/state": "test_fit_resume.py test_fit_interrupts.py",
    "training/randomness": "test_fit_resume.py", "data/loader": "test_fit_resume.py data/test_loader.py",
    "backend/random": "io/test_hostile.py test_fit_resume.py",
}  # fmt: skip
# File, what stands in a line of it, what is put there.
MUTANTS = [
    ("optim/sgd", "1 - dampening if dampening", "1 + dampening if dampening"),
    ("optim/sgd", "else g * share", "else g"),
    ("optim/sgd", "(g + b * momentum if nesterov", "(g + b if nesterov"),
    ("optim/sgd", "b = g if first else", "b = g * 0.5 if first else"),
    ("optim/sgd", "g + p * weight_decay", "g - p * weight_decay"),
    ("optim/sgd", "g = -g if maximize", "g = g if maximize"),
    ("optim/adam", 'float(group["eps"]) * root', 'float(group["eps"])'),
    ("optim/adam", "size = lr * root / (1 - beta1**t)", "size = lr * root"),
    ("optim/adam", "root = math.sqrt(1 - beta2**t)", "root = 1.0"),
    ("optim/adam", "largest = [maximum(x, v) for x in largest]", "largest = [v for x in largest]"),
    ("optim/adam", "1 - lr * weight_decay if", "1 + lr * weight_decay if"),
    ("optim/adam", "v = v * beta2 + g * g * rate2", "v = v * beta2 + abs(g) * rate2"),
    ("optim/rmsprop", "spread = v - mean * mean", "spread = v"),
    ("optim/rmsprop", "(sqrt(spread) + eps)", "sqrt(spread + eps)"),
    ("optim/rmsprop", "step = rest[-1] * momentum + step", "step = rest[-1] + step"),
    ("optim/adagrad", "(t - 1) * float", "t * float"),
    ("optim/lbfgs", "3 * (a.loss - b.loss)", "2 * (a.loss - b.loss)"),
    ("optim/lbfgs", "b.slope - a.slope + 2 * d2", "b.slope - a.slope + d2"),
    ("optim/lbfgs", 'state["H_diag"] = curvature / _dot(y, y)', 'state["H_diag"] = 1.0'),
    ("optim/lbfgs", "start.loss + self.c1 * point.t", "start.loss + 0.5 * point.t"),
    ("optim/lbfgs", "self._put_back(values)\n            state.clear()", "state.clear()"),
    ("optim/lr_scheduler/formulas", "self.last_epoch % self.step_size",
     "(self.last_epoch + 1) % self.step_size"),
    ("optim/lr_scheduler/formulas", "self.last_epoch != self.total_iters",
     "self.last_epoch != self.total_iters + 1"),
    ("optim/lr_scheduler/formulas", "(self.last_epoch - 1) * change", "self.last_epoch * change"),
    ("optim/lr_scheduler/formulas", "self.last_epoch > self.total_iters",
     "self.last_epoch >= self.total_iters"),
    ("optim/lr_scheduler/formulas", "base * (t + 1) / self.warmup_steps", "base * t / self.warmup_steps"),
    ("optim/lr_scheduler/formulas", "(1 + cos(pi * share)) / 2 for", "(1 + cos(pi * share)) for"),
    ("optim/optimizer", "self.torn, self.n_changes = True,", "self.torn, self.n_changes = False,"),
    ("optim/optimizer", "        if self.torn:\n            raise", "        if False:\n            raise"),
    ("optim/optimizer", "        self.torn = False\n", ""),
    ("optim/signals", "if self.depth > 1:", "if self.depth > 0:"),
    ("optim/signals", "and not entering", ""),
    ("optim/signals", ".count(number) > 2", ".count(number) > 99"),
    ("nn/amp", "good + 1 >= self.growth_interval", "good + 1 > self.growth_interval"),
    ("nn/amp", "scale * self.backoff_factor, grown", "scale, grown"),
    ("nn/amp", "(good + 1) % self.growth_interval", "good + 1"),
    ("nn/wrappers", "vars(clone)[name] = F.dropout(getattr(cell, name), self.p, True",
     "vars(clone)[name] = F.dropout(getattr(cell, name), self.p, False"),
    ("nn/wrappers", "F.dropout(ones, self.p, True", "F.dropout(ones[:1] * ones, self.p, False"),
    ("nn/cell", "self.dropout_mask[: h.shape[0]]", "self.dropout_mask[-h.shape[0] :]"),
    ("nn/cells", "gru_reset(xr, ur, known)", "gru_reset(xr, ur, h)"),
    ("nn/cells", "u: Tensor = self.dropped(h) @", "u: Tensor = h @"),
    ("ops/elementwise", "where(x <= max, g, 0.0)", "where(x < max, g, 0.0)"),
    ("ops/elementwise", "where(x >= min, g, 0.0)", "where(x > min, g, 0.0)"),
    ("ops/elementwise", "safe = where(logical_and(a == 0, b >= 0), 1.0, a)", "safe = a"),
    ("ops/elementwise", "exponent = where(logical_and(base == 0, flat), 1.0, b)", "exponent = b"),
    ("io/archive", "if entry.method or entry.size != entry.packed:", "if False:"),
    ("io/archive", "if entry.flags & 1:", "if False:"),
    ("io/archive", "if name in self.members:", "if False:"),
    ("io/archive", "if entry.offset != at:", "if False:"),
    ("io/archive", "if at != start:", "if False:"),
    ("io/archive", "if crc != member.crc:", "if False:"),
    ("io/archive", "if size != member.size - len(words):", "if False:"),
    ("io/checkpoint", "names.remove(name)", "pass"),
    ("io/checkpoint", "    if names:\n        raise", "    if False:\n        raise"),
    ("io/checkpoint", "if pair[0] in found:", "if False:"),
    ("io/checkpoint", 'header["version"] > VERSION', 'header["version"] > VERSION + 1'),
    ("io/safetensors", "if entry.start != at:", "if entry.start < at:"),
    ("io/safetensors", "if entry.start != at:", "if entry.start > at:"),
    ("io/safetensors", "if at != length:", "if at > length:"),
    ("io/safetensors", "0 <= n < 2**63", "n < 2**63"),
    ("io/formats", "if len(found) != len(pairs):", "if False:"),
    ("io/formats", "if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):", "if False:"),
    ("io/atomic", "unfinished and not is_running(int(number))", "unfinished"),
    ("io/atomic", "os.chmod(temporary, _mode(path))", "os.chmod(temporary, 0o644)"),
    ("io/atomic", "target = os.path.realpath(path)", "target = os.path.abspath(path)"),
    ("io/atomic", "os.fsync(file.fileno())", "pass"),
    ("training/run", "self.half_done = True\n        self.step, self", "self.step, self"),
    ("training/run", 'self._files.write(always=True, only="log")', "pass"),
    ("training/run", "elif not keeps_its_place(source):", 'elif not hasattr(source, "load_state_dict"):'),
    ("training/files", 'run.best_step, run.n_worse = progress["best_step"], progress["n_worse"]',
     'run.best_step = progress["best_step"]'),
    ("training/files", 'progress["epoch_start"], progress["seconds"]', 'progress["epoch_start"], 0.0'),
    ("training/files", "if not self.run.is_whole:", "if False:"),
    ("training/state", "self.n_changes == getattr(", "0 != getattr("),
    ("training/randomness", "and depth < 5", "and depth < 0"),
    ("training/randomness", "and not isinstance(part, SeededSampler)", "and isinstance(part, SeededSampler)"),
    ("data/loader", "isinstance(part, SeededSampler) or type(part) in ours", "True"),
    ("backend/random", "if type(bits) is type(own.bit_generator):", "if False:"),
    ("backend/random", "issubclass(kind, np.random.BitGenerator)", "issubclass(kind, object)"),
]  # fmt: skip


def outcome(copy: Path, mutant: tuple[str, str, str], whole: bool) -> str:
    """What has become of a mutant: killed, by its tests or by all, or survived."""
    name, before, after = mutant
    path = copy / "tinygrad_rnn" / f"{name}.py"
    text = path.read_text()
    if before not in text:
        return "there is no such line"
    path.write_text(text.replace(before, after, 1))
    try:
        tests = [f"tests/{test}" for test in TESTS[name].split()]
        for how, chosen in (("killed", tests), *([("killed by the whole", [])] if whole else [])):
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *chosen]
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(copy)}
            seconds = 300 if chosen else 3600
            try:
                done = subprocess.run(
                    command, cwd=copy, env=environment, capture_output=True, timeout=seconds,
                    stdin=subprocess.DEVNULL, check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return f"{how} (hangs)"
            if done.returncode:
                return how
        return "survived"
    finally:
        path.write_text(text)


def main(arguments: list[str]) -> int:
    results = Path(tempfile.gettempdir()) / "mutants.json"
    if "--results" in arguments:
        at = arguments.index("--results")
        results, arguments = Path(arguments[at + 1]), arguments[:at] + arguments[at + 2 :]
    words = [word for word in arguments if not word.startswith("--")]
    found = json.loads(results.read_text()) if results.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache"))
        for mutant in MUTANTS:
            key = " | ".join(mutant)
            if key in found or (words and not any(word in mutant[0] for word in words)):
                continue
            found[key] = outcome(copy, mutant, "--whole" in arguments)
            results.write_text(json.dumps(found, indent=1))
            print(f"{found[key]}: {key!r}", flush=True)
    left = [key for key, what in found.items() if not what.startswith("killed")]
    print(f"{len(found)} mutants, {len(left)} not killed")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
