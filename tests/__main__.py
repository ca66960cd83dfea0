"""`python -m tests`: linter, formatter, type checker, tests on NumPy and on the strict stand-in for CuPy, and
those of what is compiled with compiled code.

Further arguments go to pytest: `python -m tests -k lstm`. `--only ruff,mypy,numpy,strict` chooses checks. Two
more, `extras` and `extras-strict`, are the tests that need PyTorch, CuPy or NVRTC, which must be installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

USUAL = ("ruff", "format", "mypy", "numpy", "strict", "native")


def checks(pytest_arguments: list[str]) -> dict[str, list[str]]:
    """The command of each check, by name."""
    python = [sys.executable, "-m"]
    tests = [*python, "pytest", "-q", "-n", "auto", *pytest_arguments]
    return {
        "ruff": [*python, "ruff", "check", "."],
        "format": [*python, "ruff", "format", "--check", "."],
        "mypy": [*python, "mypy"],
        "numpy": [*tests, "--backend", "numpy"],
        "strict": [*tests, "--backend", "strict"],
        "native": [*tests, "--native", "tests/nn", "tests/fuse", "tests/ops", "tests/optim"],
        "extras": [*tests, "--extras", "--backend", "numpy"],
        "extras-strict": [*tests, "--extras", "--backend", "strict"],
    }


def main(arguments: list[str]) -> int:
    chosen = list(USUAL)
    if arguments[:1] == ["--only"] and len(arguments) > 1:
        chosen, arguments = arguments[1].split(","), arguments[2:]
    commands = checks(arguments)
    unknown = sorted(set(chosen) - set(commands))
    if unknown:
        print(f"--only: {unknown[0]!r} is no check; there are {', '.join(commands)}", file=sys.stderr)
        return 2
    # One thread for each test process: two processes with two threads each get in each other's way.
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **os.environ}
    failed = []
    for name, command in commands.items():
        if name not in chosen:
            continue
        print(f"== {name}: {' '.join(['python', *command[1:]])}", flush=True)
        start = time.perf_counter()
        status = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
        print(
            f"== {name}: {'passed' if status == 0 else 'FAILED'} in {time.perf_counter() - start:.0f} s",
            flush=True,
        )
        if status:
            failed.append(name)
    print("All checks passed." if not failed else f"Failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
