"""The page on recommendation: its code runs as printed, and what it names is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import yaml
from torch import nn

import mmfuse.recommend.objectives
import mmfuse.recommend.propagation
from mmfuse import recommend

PAGE = (Path(__file__).parents[2] / "docs" / "recommendation.md").read_text()
PRESETS = Path(__file__).parents[2] / "experiments/recommend/presets"


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names after the page's Python was run to its end."""
    names = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for code in re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
            exec(compile(code, "recommendation.md", "exec"), names)
        names["folder"] = Path.cwd() / "runs"
    return names


def test_tastes_are_found(names):
    by_chance = 20 / 120
    assert names["scores"]["test/recall_at_20"] > 2 * by_chance


def test_the_run_keeps_each_user_s_metrics(names):
    assert list(names["folder"].glob("version_*/per_user.parquet"))


def test_the_next_item_is_found(names):
    assert names["next_ones"]["test/recall_at_1"] > 0.4
    assert names["walks"].interactions.time is not None


def test_new_items_can_be_recommended(names):
    assert len(names["more"].items) == 122
    assert (names["more"].recommend(k=122)["item"] >= 1000).any()


def test_the_printed_model_is_the_preset():
    printed = yaml.safe_load(re.search(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1])
    kept = yaml.safe_load((PRESETS / "freedom.yaml").read_text())
    printed["model"]["init_args"].setdefault("user", {"class_path": "UserVectors"})
    assert printed == {"model": kept["model"]}


def test_every_part_that_is_named_exists():
    table = PAGE.partition("## The parts")[2].partition("\n- ")[0]
    places = (recommend, mmfuse.recommend.propagation, mmfuse.recommend.objectives)
    objectives = mmfuse.objectives
    for name in re.findall(r"`([A-Z]\w+)`", table):
        found = [getattr(p, name) for p in (*places, objectives) if hasattr(p, name)]
        assert found, name
        assert inspect.isclass(found[0])
        assert issubclass(found[0], nn.Module)
