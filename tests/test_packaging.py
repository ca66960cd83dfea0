"""What is packed: a wheel holds the package and nothing else, an sdist the whole repository; and what the
package says where nothing but NumPy is installed.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import tinygrad_rnn as tg

pytestmark = pytest.mark.host
ROOT = pathlib.Path(__file__).parents[1]
LEFT_BEHIND = re.compile(
    r"(^|/)(__pycache__|\.\w+_cache|\.hypothesis|\.venv|\.git|build|dist|runs|\S+\.egg-info)(/|$)"
)
STALE = (
    "build/lib/tinygrad_rnn/old.py",
    "build/lib/old/__init__.py",
    "dist/tinygrad_rnn-0.0.0.tar.gz",
    "tinygrad_rnn.egg-info/SOURCES.txt",
    "tinygrad_rnn/__pycache__/old.cpython-310.pyc",
    "tests/__pycache__/old.cpython-310.pyc",
)


def repository():
    """The names of its files: those that git knows; in an sdist all that no build has left."""
    if (ROOT / ".git").exists() and shutil.which("git"):
        command = ["git", "ls-files"]
        names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
            "\n"
        )
    else:
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file()]
    return {name for name in names if name and (ROOT / name).is_file() and not LEFT_BEHIND.search(name)} - {
        "PKG-INFO"
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel, an editable one and an sdist, of a copy in which earlier builds have left their folders."""
    folder = tmp_path_factory.mktemp("packed")
    for name in repository():
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / "source" / name)
    for name in STALE:
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "source" / name).write_text("raise RuntimeError('stale')\n")
    backend = re.search(r'build-backend = "(.*)"', (ROOT / "pyproject.toml").read_text()).group(1)
    for what in ("wheel", "editable", "sdist"):
        (folder / what).mkdir()
        program = f"import {backend} as b; print(b.build_{what}(r'{folder / what}'))"
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def wheel(built, kind="wheel"):
    (path,) = (built / kind).glob("*.whl")
    return zipfile.ZipFile(path)


def test_a_wheel_is_the_package(built):
    with wheel(built) as archive:
        names = archive.namelist()
    information = {name for name in names if ".dist-info/" in name}
    assert len(names) == len(set(names))
    assert set(names) - information == {name for name in repository() if name.startswith("tinygrad_rnn/")}
    assert "tinygrad_rnn/py.typed" in names
    assert any(name.endswith("LICENSE") for name in information)


def test_what_a_wheel_says(built):
    with wheel(built) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        said = archive.read(name).decode()
    fields = said.split("\n\n")[0].split("\n")
    assert {"Name: tinygrad-rnn", f"Version: {tg.__version__}", "License-Expression: MIT"} <= set(fields)
    assert {"Requires-Python: >=3.10", "Classifier: Typing :: Typed"} <= set(fields)
    needed = [field for field in fields if field.startswith("Requires-Dist: ")]
    assert [field for field in needed if ";" not in field] == ["Requires-Dist: numpy>=2.0"]
    extras = {
        field.removeprefix("Provides-Extra: ") for field in fields if field.startswith("Provides-Extra")
    }
    assert extras == {"cuda12", "cuda13", "examples", "dev", "native", "parity", "kernels"}


def test_an_editable_install_is_the_source(built):
    with wheel(built, "editable") as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".pth"))
        assert pathlib.Path(archive.read(name).decode().strip()) == built / "source"


def test_an_sdist_is_the_repository(built):
    """Whatever is new at the top has to be named in pyproject.toml, or its tests cannot run there."""
    (path,) = (built / "sdist").glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = {member.name.partition("/")[2]: member for member in archive if member.isfile()}
    assert set(members) - {"PKG-INFO"} == repository()
    assert members[".ci/run"].mode & 0o100  # it can be run


# ---------------------------------------------------------------- with nothing but NumPy

ONLY_NUMPY = """
import sys
allowed = {*sys.stdlib_module_names, "numpy", "tinygrad_rnn"}
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nothing())
"""
EVERYTHING = """
import importlib, pkgutil, tinygrad_rnn
print(tinygrad_rnn.__file__)
for module in pkgutil.walk_packages(tinygrad_rnn.__path__, "tinygrad_rnn.", onerror=lambda name: None):
    try: importlib.import_module(module.name)
    except Exception as error: print(f"{module.name}: {type(error).__name__}: {error}")
"""
USES = """
import tinygrad_rnn as tg
from tinygrad_rnn import io, nn, optim, testing, viz
def says(call):
    try: print("fine", call())
    except Exception as error: print(f"{type(error).__name__}: {error}")
for name in sorted(set(dir(tg)) - {"testing"}): getattr(tg, name)
says(lambda: tg.use("cupy"))
says(lambda: tg.cuda.is_available())
says(lambda: viz.curves("x.png", {}))
says(lambda: viz.word_scores("x.png", [], title=""))
says(lambda: testing.gradcheck(lambda x: (x * x).sum(), tg.ones(2, dtype="float64")))
net, batches = nn.Linear(1, 1), [tg.ones(1, 1)]
sgd = optim.SGD(net.parameters(), lr=0.1)
says(lambda: len(tg.fit(net, lambda m, x: m(x).sum(), batches, sgd, epochs=1)))
"""


def alone(program, folder, **environment):
    """The lines that a program prints where Python finds nothing else; it runs in `folder`."""
    command = [sys.executable, "-c", ONLY_NUMPY + program]
    env = {**os.environ, **environment}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=env, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_an_installed_wheel_imports_in_full(built, tmp_path):
    """Every module, with NumPy alone; what cannot be imported says in one sentence what it needs."""
    with wheel(built) as archive:
        archive.extractall(tmp_path)
    where, *failures = alone(EVERYTHING, tmp_path, PYTHONPATH=str(tmp_path))
    assert where.startswith(str(tmp_path))
    assert failures == ["tinygrad_rnn.backend.cupy_: ModuleNotFoundError: No module named 'cupy'"]


def test_what_is_not_installed_is_named(tmp_path):
    said = alone(USES, tmp_path, PYTHONPATH=str(ROOT))
    assert said[0].startswith(
        "RuntimeError: the cupy backend needs CuPy, which is not installed: pip install"
    )
    assert said[1] == "fine False"
    assert said[2] == said[3] == "ImportError: plots need matplotlib: pip install matplotlib"
    assert said[4].startswith("fine ")
    assert said[5].startswith("epoch 1/1: loss ")
    assert said[6:] == ["fine 1"]


# ---------------------------------------------------------------- promises


def test_nothing_is_said_to_be_published():
    """The package is on no index: every command installs it, or its extras, from its folder."""
    promise = re.compile(r"pip install [^\n`]*tinygrad.rnn")
    for name in repository():
        if name.endswith((".py", ".md", ".toml")) and name != "tests/test_packaging.py":
            found = promise.search((ROOT / name).read_text(encoding="utf-8"))
            assert not found, f"{name}: {found.group()}"


def test_every_extra_that_is_named_is_there():
    project = (ROOT / "pyproject.toml").read_text()
    extras = set(
        re.findall(r"^(\w+) = \[", project.partition("optional-dependencies]")[2].partition("\n[")[0], re.M)
    )
    for name in repository():
        if name.endswith((".py", ".md")) or name == ".ci/run":
            for found in re.findall(r"'\.\[([\w,]+)\]'", (ROOT / name).read_text(encoding="utf-8")):
                assert set(found.split(",")) <= extras, f"{name}: {found}"
