"""Names that are imported on first use, and commands that tell their options without Lightning."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from mmfuse.lazy import import_names

PACKAGES = ("mmfuse", "mmfuse.features", "mmfuse.recommend", "mmfuse.retrieval")


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("package", PACKAGES)
def test_names_come_from_where_type_checkers_see_them(package):
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text())
    (told,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in told.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(seen) == sorted(module.__all__) == sorted(module._HOMES)
    for name, home in seen.items():
        assert getattr(module, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"'{package}' has no attribute 'Nothing'"):
        importlib.import_module(package).Nothing  # noqa: B018


def test_import_names_defines_the_classes_that_a_configuration_may_name():
    code = (
        "import sys; from mmfuse.lazy import import_names; import_names('mmfuse.recommend');"
        "print('mmfuse.recommend.prototypes' in sys.modules)"
    )
    assert run(code) == ["True"]
    import_names("mmfuse.recommend")  # again does no harm


@pytest.mark.parametrize(
    ("command", "unneeded"),
    [
        ("recommend", {"torch", "pandas", "lightning"}),
        ("retrieve", {"torch", "pandas", "lightning"}),
        ("search", {"lightning", "torchmetrics"}),
        ("bind", {"lightning", "torchmetrics"}),
    ],
)
def test_help_waits_for_nothing_that_it_does_not_need(command, unneeded):
    code = (
        "import contextlib, io, sys; from mmfuse.cli import main\n"
        "told = io.StringIO()\n"
        "with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):\n"
        f"    main(['{command}', '--help'])\n"
        f"assert 'mmfuse {command}' in told.getvalue()\n"
        f"print(*{unneeded}.intersection(sys.modules))"
    )
    assert run(code) == []


def test_serving_needs_no_lightning(tmp_path):
    code = f"""
import sys, torch
from mmfuse.cli import main
from mmfuse.recommend import ItemLists, Recommender
seen = ItemLists.of(torch.tensor([0]), torch.tensor([0]), 2, 3)
Recommender(torch.eye(2), torch.rand(3, 2), seen, [1, 2], [7, 8, 9]).save({str(tmp_path / "r")!r})
assert main(["recommend", {str(tmp_path / "r")!r}, "--user", "1"]) == 0
print("lightning" in sys.modules)
"""
    assert run(code)[-1] == "False"
