"""The page on survival: its code and its commands run as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from mmfuse.cli import main

PAGE = (Path(__file__).parents[2] / "docs" / "survival.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated")


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The folder and the names that are there after the page was followed to its end."""
    folder = tmp_path_factory.mktemp("page")
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in BLOCKS:
            if language == "python":
                exec(compile(code, "survival.md", "exec"), names)
            elif language == "yaml":
                Path(code.split("\n", 1)[0].removeprefix("# ")).write_text(code)
            else:
                for line in code.splitlines():
                    assert main(shlex.split(line)[1:]) == 0
    return folder, names


def test_the_page_leaves_what_it_says(walked):
    folder, names = walked
    assert (folder / "survival.png").stat().st_size > 10_000
    assert {"test/c_index", "test/ibs"} <= set(names["scores"])
    (report,) = folder.rglob("report.html")
    assert (report.parent / "survival.png").is_file()
    (predictions,) = folder.glob("runs/*/predictions.parquet")
    assert list(pd.read_parquet(predictions))[:2] == ["row", "os_risk"]


def test_the_model_ranks_the_patients_of_the_page(walked):
    _, names = walked
    assert names["scores"]["test/c_index"] > 0.6
