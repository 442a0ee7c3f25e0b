"""Every block of docs/extending.md runs, as the package that the page describes."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import mmfuse
import mmfuse.testing.encoder as of_encoders
import mmfuse.testing.fusion as of_fusions
import mmfuse.testing.objective as of_objectives
from mmfuse.cli import main
from mmfuse.encoder import Encoder
from mmfuse.fusion import Fusion
from mmfuse.objectives import Objective
from mmfuse.registry import GROUPS, entries, known, resolve

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n# (\S+)[^\n]*\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
KIT = {
    "fusion": (of_fusions.is_a_fusion, *of_fusions.FUSION_CHECKS),
    "encoder": (of_encoders.kinds_are_declared, *of_encoders.ENCODER_CHECKS),
    "objective": (of_objectives.some_model_fits, *of_objectives.OBJECTIVE_CHECKS),
}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The page's blocks as files, the package importable and its entry points installed."""
    folder = tmp_path_factory.mktemp("extending")
    for _, name, text in BLOCKS:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    (folder / "my_package" / "__init__.py").touch()
    points = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["entry-points"]
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    lines = [
        line
        for group, named in points.items()
        for line in (f"[{group}]", *(f"{k} = {v}" for k, v in named.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    # Its modules stay imported: its classes stay known, and whoever meets them imports them.


def test_the_page_has_a_class_of_each_kind_a_test_and_a_configuration():
    assert [name for _, name, _ in BLOCKS] == [
        *(f"my_package/{kind}.py" for kind in KIT),
        *("tests/test_my_package.py", "config.yaml", "pyproject.toml"),
    ]
    assert PAGE.count("```python") == 4


def test_the_fusion_on_the_page_stays_short():
    (fusion,) = (text for _, name, text in BLOCKS if name == "my_package/fusion.py")
    assert len(fusion.splitlines()) <= 42


@pytest.mark.parametrize("kind", KIT)
def test_what_the_page_defines_keeps_its_promises(package, kind):
    spec = importlib.util.spec_from_file_location("page", package / "tests/test_my_package.py")
    checks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checks)
    getattr(checks, f"test_my_{kind}_keeps_its_promises")()


def test_the_pages_configuration_trains_and_its_checkpoint_loads(package, monkeypatch, capsys):
    config = yaml.safe_load((package / "config.yaml").read_text())
    config["trainer"] = {"max_epochs": 1, "default_root_dir": "runs", "enable_progress_bar": False}
    (package / "quick.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.chdir(package)
    assert main(["fit", "--config", "quick.yaml"]) == 0
    model = mmfuse.load("runs/version_0/checkpoints/best.ckpt")
    assert type(model.fusion).__name__ == "ProductOfExpertsFusion"
    assert type(model.encoders["mean"]).__name__ == "PeriodicEncoder"
    assert (model.fusion.out_dim, model.dims["mean"]) == (32, 16)


@pytest.mark.parametrize(
    ("base", "name"),
    [
        (Fusion, "ProductOfExpertsFusion"),
        (Encoder, "PeriodicEncoder"),
        (Objective, "AgreementLoss"),
    ],
)
def test_the_entry_points_on_the_page_make_the_short_names_known(package, base, name):
    assert resolve(base, name).__module__.startswith("my_package.")
    assert {entry.name for entry in entries(base)} == set(known(base))


def test_the_entry_point_groups_on_the_page_are_those_that_are_read(package):
    points = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]
    assert set(points) <= set(GROUPS)


def test_the_page_lists_every_promise_and_whom_it_binds():
    lines = re.findall(r"^\| (.*) \(`(\w+)`\) \|(.*)\|$", PAGE, re.MULTILINE)
    found = {
        (name, text, kind)
        for text, name, marks in lines
        for kind, mark in zip(KIT, marks.split("|"), strict=True)
        if mark.strip()
    }
    assert found == {
        (c.__name__, c.__doc__.split("\n")[0].replace("``", "`"), kind)
        for kind, checks in KIT.items()
        for c in checks
    }
