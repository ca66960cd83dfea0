"""How the package's modules depend on each other: one way, without circles, through public names."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import tinygrad_rnn

ROOT = Path(tinygrad_rnn.__file__).parent
# Each may import those before it and its own; the names are folders or files of the package.
LAYERS = [
    {"version", "deprecation", "states"},
    {"backend"},
    {"engine"},
    {"ops"},
    {"fuse"},
    {"printing", "differentiation"},
    {
        "dialect.arithmetic",
        "dialect.casts",
        "dialect.methods",
        "dialect.in_place",
        "dialect.names",
        "dialect.absent",
    },  # what tensor.py inherits
    {"tensor"},
    {"creation"},
    {"nn"},
    {"optim"},
    {"data", "io", "cuda", "testing"},
    {"dialect"},
    {
        "autograd",
        "backends",
        "accelerator",
        "amp",
        "jit",
        "onnx",
        "linalg",
        "distributions",
        "multiprocessing",
        "random",
    },
    {"training", "viz", "utils", "native"},
    {""},  # the package itself
]
UPWARDS = {
    # it stands in nn, as users of PyTorch expect, and scales what optimisers do; nn imports it when asked for
    ("nn.amp", "optim"),
    # names of PyTorch's that are imported when they are asked for
    ("cuda", "dialect"),
    ("cuda.amp", "dialect"),
    ("nn", "dialect"),
}
# core.py is autograd on one screen: values and nodes stand beside `apply` and `backward`, which call the
# modules whose signatures name them. Within the engine imports for types alone, which are none at run time,
# do not count.
ENGINE = "engine."
PRIVATE = {  # module: the names of others that it reaches for
    "tests.dialect.test_optim": {"optim.lr_scheduler._LRScheduler"},  # a name of PyTorch's
    "tests.fuse.test_c": {"fuse.stretch._plans"},
    "tests.fuse.test_held": {"fuse.stretch._plans", "fuse.stretch._parts", "fuse.validity._known"},
}


@cache
def modules() -> dict[str, Path]:
    """The package's modules by name, "" the package itself."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def of_the_tests() -> dict[str, Path]:
    """The tests' modules by name."""
    top = Path(__file__).parents[1]
    found = {}
    for path in sorted((top / "tests").rglob("*.py")):
        parts = path.relative_to(top).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def path_of(name: str) -> Path:
    return modules()[name] if name in modules() else of_the_tests()[name]


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(path_of(name).read_text(encoding="utf-8"))


def imported(name: str) -> list[tuple[str, str | None, str, ast.ImportFrom]]:
    """What a module imports from the package and the tests: (module, name in it or None for a module, name
    here, where). Modules of the package are called as in `modules`."""
    package = name.split(".") if name else []
    package = package if path_of(name).name == "__init__.py" else package[:-1]
    found = []
    for node in ast.walk(tree_of(name)):
        if not isinstance(node, ast.ImportFrom):
            continue
        inner = node.module.split(".") if node.module else []
        if node.level:
            inner = [*package[: len(package) - node.level + 1], *inner]
        elif inner[0] == "tinygrad_rnn":
            inner = inner[1:]
        elif inner[0] != "tests":
            continue
        source = ".".join(inner)
        for alias in node.names:
            inside = f"{source}.{alias.name}" if source else alias.name
            here = alias.asname or alias.name
            if inside in modules() or inside in of_the_tests():
                found.append((inside, None, here, node))
            else:
                found.append((source, alias.name, here, node))
    return found


def guarded(name: str) -> set[ast.AST]:
    """Imports of a module under `if TYPE_CHECKING`."""
    return {
        inside
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inside in ast.walk(node)
    }


def height(name: str) -> int:
    """The layer that names the module, or its folder."""
    top = name.split(".")[0]
    named = [i for i, layer in enumerate(LAYERS) if name in layer]
    return named[-1] if named else next(i for i, layer in enumerate(LAYERS) if top in layer)


def test_every_module_has_its_place():
    for name in modules():
        assert height(name) >= 0


def upward(name: str) -> list[str]:
    return [
        source
        for source, _, _, _ in imported(name)
        if height(source) > height(name)
        or (height(source) == height(name) and source.split(".")[0] != name.split(".")[0])
    ]


@pytest.mark.parametrize("name", modules())
def test_imports_run_one_way(name):
    if not name:
        return  # the package itself brings everything together
    for source in upward(name):
        assert (name, source.split(".")[0]) in UPWARDS, f"{name} imports {source}, which is above it"


def test_there_are_no_circles():
    """Not even those of imports inside functions or for types alone. What names the package's own
    `__init__` offers lazily for type checkers does not count: it imports nothing at run time.
    """
    needs = {
        name: {
            source
            for source, _, _, node in imported(name)
            if node not in guarded(name) or (name and not name.startswith(ENGINE))
        }
        for name in modules()
    }
    for name in needs:  # a package is imported before its modules; that is not a circle if it imports them
        needs[name].discard(name)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for source in sorted(needs[name]):
                visit(source, (*path, name))
            done.add(name)

    for name in needs:
        visit(name, ())


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def reached_for(name: str) -> set[str]:
    """Underscore names of other modules: imported, or asked of a module, or set in one."""
    found: set[str] = set()
    here: dict[str, str] = {}  # the modules, by the names that they have here
    for source, inside, alias, _ in imported(name):
        if inside is None:
            here[alias] = source
        if private(inside or source.rpartition(".")[2]):
            found.add(f"{source}.{inside}" if inside else source)
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            here.update((a.asname or a.name, "") for a in node.names if a.name == "tinygrad_rnn")

    def module_of(expression: ast.expr) -> str | None:
        if isinstance(expression, ast.Name):
            return here.get(expression.id)
        if isinstance(expression, ast.Attribute):
            above = module_of(expression.value)
            inside = expression.attr if above == "" else f"{above}.{expression.attr}"
            return inside if above is not None and inside in modules() else None
        return None

    for node in ast.walk(tree_of(name)):
        asked = []
        if isinstance(node, ast.Attribute):
            asked = [(node.value, node.attr)]
        elif isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
            asked = [(node.args[0], str(node.args[1].value))]  # setattr, getattr, monkeypatch.setattr
        for expression, attribute in asked:
            source = module_of(expression)
            if source is not None and source != name and private(attribute):
                found.add(f"{source}.{attribute}")
    return found


@pytest.mark.parametrize("name", [*modules(), *of_the_tests()])
def test_nobody_reaches_for_anothers_underscore_names(name):
    assert reached_for(name) == PRIVATE.get(name, set())


def test_these_checks_can_fail(tmp_path, monkeypatch):
    """On a package made for it: an import upwards, a circle for types alone, private names."""
    files = {
        "backend/__init__.py": "from ..engine import graph\n",
        "engine/__init__.py": "from .graph import apply\n",
        "engine/graph.py": "",
        "nn/__init__.py": "from .graph import apply\n",
        "nn/graph.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import node\n",
        "nn/node.py": "from . import graph\nfrom .graph import _hidden\nx = graph._secret\n",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    modules.cache_clear()
    tree_of.cache_clear()
    try:
        assert upward("backend") == ["engine.graph"]
        assert upward("nn.graph") == []
        with pytest.raises(AssertionError, match=r"nn.graph -> nn.node -> nn.graph"):
            test_there_are_no_circles()
        assert reached_for("nn.node") == {"nn.graph._hidden", "nn.graph._secret"}
    finally:
        modules.cache_clear()
        tree_of.cache_clear()
