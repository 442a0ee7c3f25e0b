"""Every example of docs/data.md runs, and its YAML reads what its Python wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
import yaml
from jsonargparse import ArgumentParser

from mmfuse.data import FusionDataModule
from mmfuse.registry import import_all

PAGE = Path(__file__).parents[2] / "docs" / "data.md"
BLOCKS = re.findall(r"^```(python|yaml)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    datasets.disable_progress_bars()
    monkeypatch.chdir(tmp_path)
    yield
    datasets.enable_progress_bars()


def parse(block: str) -> FusionDataModule:
    """The data that a ``data:`` section names, as the command line would make it."""
    import_all()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(FusionDataModule, "data")
    made = parser.instantiate(parser.parse_object(yaml.safe_load(block))).data
    assert isinstance(made, FusionDataModule)
    return made


def run(block: str) -> FusionDataModule:
    """What an example calls ``data``, set up."""
    names: dict[str, object] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    made = names["data"]
    assert isinstance(made, FusionDataModule)
    made.setup()
    return made


def test_every_example_runs_and_the_yaml_under_it_gives_the_same_data() -> None:
    compared = []
    example: FusionDataModule | None = None
    for language, block in BLOCKS:
        if language == "python":
            example = run(block)
            continue
        data = parse(block)
        data.setup()
        if type(data) is type(example):
            assert data.spec == example.spec
            assert data.rows("train").equal(example.rows("train"))
            compared.append(type(data).__name__)
        example = None
    assert compared == [
        "NpzData",
        "NpyData",
        "TableData",
        "HFData",
        "TableData",
        "CatalogueData",
        "TableData",
    ]


def test_the_page_simulates_absence_apart_for_test_rows() -> None:
    run(next(block for _, block in BLOCKS if "patients.npz" in block))
    data = parse(next(block for _, block in BLOCKS if "test_missing" in block))
    assert (data.missing.rate, data.missing.seed) == (0.3, 1)
    assert data.test_missing.rate == {"gait": 0.5}


def test_every_source_shows_how_absence_is_written() -> None:
    sources = [run(block) for language, block in BLOCKS if language == "python"][:5]
    absent = {type(d).__name__: int((~d.dataset("train").present).sum()) for d in sources}
    assert absent == {"ArrayData": 2, "NpzData": 1, "NpyData": 1, "TableData": 3, "HFData": 3}
    assert all(len(d.dataset("train")) == 5 for d in sources)
