"""The page on rows out of distribution: its code runs as printed, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmfuse.robustness import ood
from mmfuse.robustness.ood.metrics import HIGHER_IS_BETTER

PAGE = (Path(__file__).parents[2] / "docs" / "ood.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that are there after the page was followed to its end."""
    found: dict[str, object] = {"__name__": "__main__"}  # as in a script or a notebook
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ood"))
        for code in BLOCKS:
            exec(compile(code, "ood.md", "exec"), found)
    return found


def test_the_tables_name_every_score_and_metric(names):
    told = re.findall(r"^\| (`[a-z_0-9`, ]+) \| `(\w+)` \|", PAGE, re.MULTILINE)
    scores = {name for cell, _ in told for name in re.findall(r"`(\w+)`", cell)}
    assert scores == set(names["result"].table["score"])
    assert {cls for _, cls in told} <= set(ood.__all__)
    metrics = re.findall(
        r"^\| (`[a-z_0-9`, ]+) \| \D", PAGE.partition("## The scores")[0], re.MULTILINE
    )
    assert {m for cell in metrics for m in re.findall(r"`(\w+)`", cell)} == set(HIGHER_IS_BETTER)


def test_unknown_digits_are_found_by_halves_too(names):
    wide = names["result"].wide().set_index(["set", "score"])
    assert names["result"].accuracy > 0.9
    for score in ("mahalanobis", "disagreement_l1"):
        assert wide.loc[("digits 7 to 9", score), "auroc"] > 0.8
    table = names["result"].table.query("score == 'disagreement_l1'")
    assert (table["out_rows"] == len(names["unknown"])).all()


def test_the_limit_passes_known_rows_and_refuses_many_unknown(names):
    assert names["refused"].mean() > 0.3


def test_the_page_s_own_score_and_objectives_are_measured(names):
    assert names["mine"].wide()["score"].tolist() == ["length"]
    assert "disagreement_l1" in set(names["found"].table["score"])
