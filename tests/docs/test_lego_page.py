"""The page on blocks: its code runs as printed, and what it says of the results is so."""

import re
from pathlib import Path

import pytest

from mmfuse import load
from mmfuse.fusion import LegoMergeFusion, LegoStackFusion
from mmfuse.fusion.lego.spectrum import RULES
from mmfuse.merging.sphere import MEANS

PAGE = (Path(__file__).parents[2] / "docs" / "lego.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What is defined after the page was followed to its end."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        for code in BLOCKS:
            exec(compile(code, "lego.md", "exec"), found)
        found["saved"] = load("merged.ckpt")
    return found


@pytest.mark.slow
def test_the_merged_model_has_all_modalities(names):
    assert list(names["saved"].modalities) == names["quadrants"]
    assert isinstance(names["saved"].fusion, LegoMergeFusion)
    assert names["other"].fusion.rule == "mean"


@pytest.mark.slow
def test_blocks_know_more_together_than_the_best_of_them(names):
    assert names["merged"]["test/accuracy"] > 0.8
    assert names["fused"]["test/accuracy"] > 0.85
    assert isinstance(names["task"].model.fusion, LegoStackFusion)


def test_the_rules_and_means_are_those_of_the_page():
    (told,) = re.findall(r"by a `rule` \(([^)]*)\)", PAGE)
    assert set(re.findall(r"`(\w+)`", told)) == set(RULES)
    paragraph = PAGE.partition("Heads (and the norm")[2].partition("\n\n")[0]
    assert set(MEANS) <= set(re.findall(r"`(\w+)`", paragraph))
