"""`python -m tests.benchmarks`: the performance table.

    python -m tests.benchmarks                          # everything, about a quarter of an hour
    python -m tests.benchmarks --rows lstm,streaming    # some rows
    python -m tests.benchmarks --quick                  # does it run at all: tiny sizes
    python -m tests.benchmarks --json figures.json --markdown
    python -m tests.benchmarks --backend cupy           # a GPU's rows (gpu_rows.py)

Everything is measured side by side in one process, in turn, in blocks of about 40 ms with rests between
them. A ratio is the peer's time over ours, in the median over rounds, with its quartiles: above 1 we are the
faster.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Any

CORES = os.cpu_count() or 1
PEERS = ("torch", "jax", "autograd", "mygrad")


def restart_without_pins(threads: int) -> str:
    """OpenBLAS reads its settings when NumPy is imported; so this program starts anew with the right ones."""
    pinned = os.environ.pop("OPENBLAS_CORETYPE", None)
    wanted = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    if pinned or any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted, BENCHMARKS_CLEARED=pinned or "")
        os.execv(sys.executable, [sys.executable, "-m", "tests.benchmarks", *sys.argv[1:]])
    return os.environ.get("BENCHMARKS_CLEARED", "")


def parse() -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="python -m tests.benchmarks", description="The performance table.")
    p.add_argument("--peers", default=",".join(PEERS), help="whom to compare with, of those installed")
    p.add_argument("--rows", default="", help="rows to measure, with commas between")
    p.add_argument("--seconds", type=float, default=8.0, help="time for each comparison (default: 8)")
    p.add_argument("--threads", type=int, default=CORES, help="threads for each library (default: all cores)")
    p.add_argument("--backend", default="numpy", choices=["numpy", "cupy"], help="cupy: a GPU's rows")
    p.add_argument("--tf32", action="store_true", help="with cupy: TF32 on, on both sides")
    p.add_argument("--quick", action="store_true", help="tiny sizes and little time")
    p.add_argument("--json", metavar="FILE", help="write the figures there too")
    p.add_argument("--markdown", action="store_true", help="print the table for a README")
    return p.parse_args()


def imported(name: str) -> Any:
    """A peer, or None where it is not installed."""
    try:
        for part in {"autograd": ("autograd.numpy",), "jax": ("jax.numpy",)}.get(name, ()):
            importlib.import_module(part)
        return importlib.import_module(name)
    except ImportError:
        return None


def main() -> int:
    options = parse()
    cleared = restart_without_pins(options.threads)
    if options.backend == "cupy":
        from . import gpu_rows

        return gpu_rows.main(options, cleared)
    from . import report
    from .rows import ROWS, Settings

    asked = [r for r in options.rows.split(",") if r]
    unknown = [name for name in asked if name not in ROWS]
    if unknown:
        print(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}", file=sys.stderr)
        return 2
    chosen = {name: row for name, row in ROWS.items() if not asked or name in asked}
    wanted = [name for name in options.peers.split(",") if name]
    for name in wanted:
        if name not in PEERS:
            print(f"{name} is no peer; there are {', '.join(PEERS)}", file=sys.stderr)
            return 2
    peers = {name: module for name in wanted if (module := imported(name)) is not None}
    for name in wanted:
        if name not in peers:
            print(f"{name} is not installed: its column stays empty")
    if "torch" in peers:
        peers["torch"].set_num_threads(options.threads)
    machine = report.machine(peers, options.threads, cleared)
    print("\n".join(f"{k}: {v}" for k, v in machine.items()) + "\n")
    settings = Settings(peers, 0.2 if options.quick else options.seconds, options.quick)
    results = []
    for row in chosen.values():
        for result in row(settings):
            results.append(result)
            print(report.line(result), flush=True)
    print("\n" + report.targets(results, markdown=options.markdown))
    if options.markdown:
        print("\n" + report.table(results))
    if options.json:
        report.write_json(options.json, machine, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
