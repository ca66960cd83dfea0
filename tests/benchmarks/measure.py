"""Times of several contestants, taken in turn in one process, because machines are noisy."""

from __future__ import annotations

import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

Run = Callable[[], object]


@dataclass
class Times:
    """Seconds of each contestant, round by round."""

    of: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.of[name])

    def ratio(self, name: str) -> tuple[float, float, float]:
        """How many times as long as ours a contestant takes: the median over rounds, and its quartiles."""
        ratios = [other / own for other, own in zip(self.of[name], self.of["ours"], strict=True)]
        low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
        return float(middle), float(low), float(high)


REST = 0.06  # seconds


def race(contestants: Mapping[str, Run], seconds: float, block: float = 0.04, rest: float = REST) -> Times:
    """Runs all in turn, A B C, B C A, C A B, for about `seconds` and at least five rounds. A turn is one run
    that is not timed and then as many as `block` seconds hold, for otherwise they would be timed with the
    caches and the memory of another's; and who begins changes.

    Before each turn comes a `rest`, because the threads of a library go on looking for work when there is
    none, those of OpenBLAS for 2^26 ticks of the processor's clock, and take a core from whoever comes next.
    """
    runs: dict[str, int] = {}
    for name, run in contestants.items():
        run()
        start = time.perf_counter()
        run()
        runs[name] = max(1, round(block / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or any(len(taken) < 5 for taken in times.values()):
        gc.collect()
        for name in order:
            run = contestants[name]
            time.sleep(rest)
            run()
            start = time.perf_counter()
            for _ in range(runs[name]):
                run()
            times[name].append((time.perf_counter() - start) / runs[name])
        order.append(order.pop(0))
    return Times(times)


def race_processes(programs: Mapping[str, str], rounds: int) -> Times:
    """The wall time of whole processes, in turn."""
    times: dict[str, list[float]] = {name: [] for name in programs}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        for k in range(rounds + 1):
            for name, program in programs.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", program], check=True, env=environment)
                if k > 0:  # the first compiles
                    times[name].append(time.perf_counter() - start)
    return Times(times)


def peak_memory(program: str) -> float:
    """MiB that the `step()` of a program takes at its peak, above what it had before; 0 where the system does
    not tell. (getrusage would tell the peak of the process that started it.)
    """
    watched = f"""
def now():
    try:
        lines = open("/proc/self/status").read().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
{program}
before = now()
step()
print(now() - before)
"""
    done = subprocess.run([sys.executable, "-c", watched], check=True, capture_output=True, text=True)
    return float(done.stdout)


def assert_close(name: str, ours: object, theirs: object, tolerance: float) -> None:
    """Raises unless two results agree to `tolerance` of the largest value."""
    a, b = (np.asarray(x, dtype=np.float64) for x in (ours, theirs))
    apart = abs(a - b).max() / max(1e-12, abs(b).max())
    if a.shape != b.shape or not apart < tolerance:
        raise AssertionError(f"{name}: results differ by {apart:.2g} of the largest; {a.shape}, {b.shape}")
