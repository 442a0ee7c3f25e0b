"""The page on ranking and serving: its code and commands run as printed, and what it says is so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import torch

from mmfuse.cli import main
from mmfuse.recommend.ranking import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "ranking.md").read_text()
BLOCKS = re.findall(r"^```(python|bash)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The folder and the names after the page was followed to its end."""
    pytest.importorskip("faiss")
    folder, names = tmp_path_factory.mktemp("page"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for language, code in BLOCKS:
            if language == "python":
                exec(compile(code, "ranking.md", "exec"), names)
                continue
            for line in code.splitlines():
                assert main(shlex.split(line)[1:]) == 0, line
    return folder, names


def test_the_table_names_every_metric():
    assert set(re.findall(r"^\| `(\w+)_at_k`", PAGE, re.MULTILINE)) == set(METRICS)


def test_tastes_are_found_and_the_comparison_says_so(walked):
    _, names = walked
    line = names["table"].iloc[0]
    assert line["difference"] > 0.1
    assert 0 < line["low"] < line["high"]
    assert line["p"] < 0.01


def test_everyone_has_a_list_and_nobody_what_was_seen(walked):
    folder, names = walked
    found = pd.read_parquet(folder / "recommended.parquet")
    assert (found.groupby("user").size() == 20).all()
    assert found["user"].nunique() == 300
    users = found["user"].to_numpy() - 1000
    items = found["item"].str[1:].astype(int).to_numpy()

    assert not names["train"].contains(torch.tensor(users), torch.tensor(items)).any()


def test_the_sound_is_not_missed_and_the_image_is(walked):
    folder, names = walked
    lines = names["lines"]
    assert lines.loc["only sound", "drop_low"] > max(0.05, lines.loc["only image", "drop_high"])
    files = {"robustness.csv", "meta.json", "subsets.png", "mcar.png"}
    assert {path.name for path in (folder / "absence").iterdir()} == files
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("| `fill` |")[2], re.MULTILINE))
    assert told == set(pd.read_csv(folder / "absence" / "robustness.csv")["fill"])
