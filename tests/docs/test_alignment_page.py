"""The page on alignment: its code and commands run as printed, and what it says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mmfuse.cli import main

pytestmark = pytest.mark.slow  # it runs whole commands
PAGE = (Path(__file__).parents[2] / "docs" / "alignment.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The folder after the page was followed to its end."""
    folder = tmp_path_factory.mktemp("page")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in BLOCKS:
            follow(language, code)
    return folder


def follow(language: str, code: str) -> None:
    if language == "python":
        exec(compile(code, "alignment.md", "exec"), {})
    elif language == "yaml":
        name = re.match(r"# (\S+)\n", code)
        assert name
        Path(name[1]).write_text(code)
    else:
        for line in code.splitlines():
            words = shlex.split(line)
            quiet = ["--trainer.enable_progress_bar=false"] if words[1] == "fit" else []
            assert main([*words[1:], *quiet]) == 0, line


def test_the_scores_of_the_table_are_logged(walked):
    metrics = pd.read_csv(walked / "runs" / "version_0" / "metrics.csv")
    named = re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^\| (.*?) \|", PAGE, re.MULTILINE)))
    direction = "val/picture_to_text/"
    for name in named:
        column = name.removeprefix(".../")
        columns = {column, f"{direction}{column}", f"val/{column}"}
        assert columns & set(metrics), name


def test_the_aligned_encoders_know_the_colours(walked):
    table = pd.read_csv(walked / "measured" / "retrieval.csv").set_index("direction")
    assert table.loc["picture_to_text", "map"] > 0.7  # chance is 1 in 4
    assert table.loc["zero_shot/picture", "zero_shot"] > 0.7
    columns = pd.read_csv(walked / "features-retrieval" / "retrieval.csv")["direction"]
    assert "picture_to_fused" in set(columns)


def test_heads_train_on_cached_features(walked):
    kept = yaml.safe_load((walked / "heads" / "version_0" / "config.yaml").read_text())
    assert kept["data"]["init_args"]["cached"] == {"picture": "frozen"}
