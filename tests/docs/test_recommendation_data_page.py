"""The page on interactions: its code runs as printed, and its YAML says what its Python says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

import mmfuse.recommend
from mmfuse.recommend import InteractionSource, RecommendationData, SplitRule
from mmfuse.recorded import with_defaults

PAGE = (Path(__file__).parents[2] / "docs" / "recommendation_data.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """The names that are there after the page was followed to its end, and the YAML's data."""
    names: dict[str, object] = {}
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(RecommendationData, "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for language, code in BLOCKS:
            if language == "python":
                exec(compile(code, "recommendation_data.md", "exec"), names)
            else:
                made = parser.instantiate(parser.parse_object(yaml.safe_load(code))).data
                made.setup()
                names["from_yaml"] = made
                content = [with_defaults(d.content()) for d in (made, names["data"])]
                assert content[0] == content[1]
    return names


def test_yaml_and_python_are_the_same_data(walked):
    one, other = walked["data"], walked["from_yaml"]
    assert torch.equal(one.interactions.split, other.interactions.split)
    assert one.counts == other.counts
    assert one.counts["below_rating"] > 0
    assert one.counts["items_without_modality"] == 1


def test_rare_items_lose_their_image_as_the_page_says(walked):
    shown, taken_by = walked["shown"], walked["taken_by"]
    assert 2 < (~shown).sum() < len(shown)
    assert taken_by[shown].double().mean() > taken_by[~shown].double().mean()


@pytest.mark.parametrize("base", [SplitRule, InteractionSource])
def test_the_tables_have_every_class(base):
    public = [getattr(mmfuse.recommend, name) for name in mmfuse.recommend.__all__]
    wanted = {c.__name__ for c in public if isinstance(c, type) and issubclass(c, base)}
    told = set(re.findall(r"^\|.*\| `(\w+)` \|$|^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert wanted - {base.__name__} <= {name for row in told for name in row}
