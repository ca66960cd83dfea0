"""The export as its users run it: in a process of its own; and the programs that it writes."""

import re
import shutil
import subprocess
import wave

import numpy as np
import pytest

from tests.examples import run_example

pytestmark = [
    pytest.mark.host,  # the backend is an option of the script
    pytest.mark.skipif(
        not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler is installed"
    ),
]


def run(*arguments, check=0):
    return run_example("export.py", *arguments, check=check)


def test_a_language_model_writes_text(tmp_path):
    done = run("--quick", "--out", tmp_path, "--length", 50)
    assert "a small one learns" in done.stdout
    assert len(done.stdout.split("largest output\n")[1]) >= len("The ") + 50
    folder = tmp_path / "export_quick"
    assert {p.name for p in folder.iterdir()} == {"net.c", "net.h", "main.c", "main", "vocab.h"}
    assert len((folder / "main.c").read_text().splitlines()) <= 60
    again = [run("--quick", "--out", tmp_path, "--length", 50).stdout for _ in range(2)]
    assert again[0] == again[1]
    assert "a small one learns" not in again[0]
    clean = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
    command = ["cc", *clean, "main.c", "net.c", "-lm", "-o", "clean"]
    subprocess.run(command, cwd=folder, check=True)
    said = [
        subprocess.run([folder / "clean", "If", "80", "0.7", seed], capture_output=True, check=True).stdout
        for seed in ("1", "1", "2")
    ]
    assert said[0] == said[1] != said[2]
    assert all(text.startswith(b"If") for text in said)
    assert all(len(text.decode()) == 2 + 80 for text in said)
    unknown = subprocess.run([folder / "clean", "\N{SNOWMAN}"], capture_output=True, check=False)
    assert unknown.returncode == 2
    assert "there is no file" in run("--resume", "--out", tmp_path, check=2).stderr


def test_a_net_filters_sound(tmp_path):
    done = run("--quick", "--task", "sound", "--weights", "int8", "--out", tmp_path)
    assert re.search(r"error \d+\.\d\d% of the energy; linear filter \d+\.\d\d%", done.stdout)
    folder = tmp_path / "export_sound_quick_int8"
    sounds = []
    for name in ("strings.wav", "filtered.wav"):
        with wave.open(str(folder / name)) as file:
            assert file.getparams()[:3] == (1, 2, 8000)
            sounds.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
    assert len(sounds[0]) == len(sounds[1]) == 16000
    assert np.abs(np.corrcoef(sounds[0].astype(float), sounds[1])[0, 1]) > 0.3
    assert "int8" in (folder / "net.c").read_text()
