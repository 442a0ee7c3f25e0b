"""Who may import whom: values at the bottom, the command on top, no way back."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path

import pytest

PACKAGES = {name: Path(str(files(name))) for name in ("mmfuse", "mmfuse_encoders")}

#: What anyone may stand on.
FOUNDATIONS = {
    "batch",
    "errors",
    "files",
    "lazy",
    "media",
    "orthonormal",
    "picked",
    "recorded",
    "registry",
    "spec",
    "standardise",
    "store",
    "target_spec",
    "tokens",
    "unit",
}
#: For each part of mmfuse what it may import besides itself. Parts not named are free, but for
#: what ``test_nothing_reaches_up`` says.
MAY_IMPORT = {
    "errors": set(),
    "lazy": set(),
    "orthonormal": set(),
    "tokens": {"errors"},
    "picked": {"tokens"},
    "batch": {"errors", "picked", "tokens"},
    "unit": set(),
    "files": {"errors"},
    "media": {"errors"},
    "store": {"errors", "files"},
    "registry": {"errors"},
    "recorded": {"errors", "registry"},
    "target_spec": {"errors"},
    "spec": {"batch", "errors", "target_spec", "tokens"},
    "standardise": {"batch", "errors", "picked", "spec", "tokens"},
    "encoder": FOUNDATIONS,
    "fusion": FOUNDATIONS,
    "objectives": FOUNDATIONS,
    "missing": FOUNDATIONS,
    "model": FOUNDATIONS | {"encoder", "fusion.base"},
    "data": FOUNDATIONS | {"missing"},
    # Not tasks: the task of recommendation stands on it.
    "recommend": FOUNDATIONS
    | {
        "checkpoint",
        "data",
        "encoder",
        "features",
        "fusion",
        "missing",
        "model",
        "objectives",
        "parser",
        "robustness",
    },
}
#: What a package of encoders needs to know of mmfuse.
FOR_ENCODERS = {
    "mmfuse.batch.RawInput",
    *(
        f"mmfuse.{part}"
        for part in (
            "encoder",
            "errors",
            "media",
            "orthonormal",
            "picked",
            "recorded",
            "spec",
            "tokens",
        )
    ),
}
#: What stands on top, and who alone may import it.
TOP = {
    "cli": set(),
    "configured": {"cli"},
    "lightning_cli": {"configured", "stages"},
    "stages": {"configured"},
    "trainer": {"configured", "lightning_cli"},
    "run_trainer": {"stages", "trainer"},
    "sklearn": set(),
    "testing": set(),
}


@dataclass(frozen=True)
class Import:
    """One name that a module imports when it runs."""

    module: str
    name: str
    inside_function: bool

    @property
    def source(self) -> str:
        """The module that the name is, or the one that holds it."""
        return self.name if self.name in MODULES else self.name.rpartition(".")[0]


def _modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            assert name.startswith(package)
            found[name] = path
    return found


def _imports(module: str, path: Path) -> Iterator[Import]:
    """Every import of ours, those for type checkers alone left out."""

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively; write the whole name"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = []
        for name in names:
            if name.split(".")[0] in PACKAGES:
                yield Import(module, name, inside)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(path.read_text()), inside=False)


MODULES = _modules()
IMPORTS = [found for module, path in MODULES.items() for found in _imports(module, path)]


def part(name: str) -> str:
    """The part of mmfuse that a module belongs to: the first name below the package."""
    return name.split(".")[1] if "." in name else ""


def below(part_name: str) -> list[Import]:
    """The imports of one part of mmfuse."""
    assert any(part(m) == part_name for m in MODULES), f"no part is called {part_name}"
    return [
        found
        for found in IMPORTS
        if found.module.startswith("mmfuse.") and part(found.module) == part_name
    ]


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_each_part_imports_only_what_it_may(name):
    allowed = {name, *MAY_IMPORT[name]}
    wrong = [
        f"{found.module} imports {found.name}"
        for found in below(name)
        if not {part(found.source), found.source.removeprefix("mmfuse.")} & allowed
    ]
    assert not wrong


def test_the_encoders_import_only_the_contract():
    wrong = [
        f"{found.module} imports {found.name}"
        for found in IMPORTS
        if found.module.startswith("mmfuse_encoders")
        and not found.name.startswith("mmfuse_encoders")
        and not {found.name, found.source, ".".join(found.source.split(".")[:2])} & FOR_ENCODERS
    ]
    assert not wrong


def test_mmfuse_knows_encoders_by_entry_point_alone():
    wrong = [
        f"{found.module} imports {found.name}"
        for found in IMPORTS
        if found.module.startswith("mmfuse.") and found.name.startswith("mmfuse_encoders")
    ]
    assert not wrong


@pytest.mark.parametrize("name", TOP)
def test_nothing_reaches_up(name):
    wrong = [
        f"{found.module} imports {found.name}"
        for found in IMPORTS
        if part(found.source) == name and part(found.module) not in {name, *TOP[name]}
    ]
    assert not wrong


@pytest.mark.parametrize("level", ["modules", "parts"])
def test_no_import_runs_in_a_circle(level):
    # Importing a module runs its package's __init__ too, so that parts must not circle either.
    graph = defaultdict(set)
    for found in IMPORTS:
        if found.inside_function or part(found.source) == "":
            continue
        pair = (found.module, found.source)
        before, after = pair if level == "modules" else map(_with_package, pair)
        if level == "modules" or before != after:
            graph[before].add(after)
    list(TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def _with_package(name: str) -> str:
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_are_typed(package):
    assert (PACKAGES[package] / "py.typed").is_file()


def test_every_folder_of_modules_is_a_package():
    folders = {path.parent for path in MODULES.values()}
    assert not [str(f) for f in folders if not (f / "__init__.py").is_file()]


@pytest.mark.parametrize("statement", ["import mmfuse", "import mmfuse.cli"])
def test_the_first_import_is_light(statement):
    heavy = {"torch", "lightning", "pandas"}
    code = f"import sys; {statement}; print(*{heavy}.intersection(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
