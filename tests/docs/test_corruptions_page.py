"""The page on corruptions: its code runs as printed, and its tables are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmfuse.robustness.corruptions import CorruptionResult, standard
from mmfuse.robustness.corruptions.measures import MEASURES

DOCS = Path(__file__).parents[2] / "docs"
pytestmark = pytest.mark.slow  # it trains models and spoils what they read
PAGE = (DOCS / "corruptions.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that are there after the page was followed to its end, and the folder."""
    folder = tmp_path_factory.mktemp("corruptions")
    # As in a script or a notebook, whose classes nothing can import.
    found: dict[str, object] = {"__name__": "__main__", "folder": folder}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in BLOCKS:
            exec(compile(code, "corruptions.md", "exec"), found)
    return found


def test_the_table_has_every_corruption_with_its_unit_and_levels():
    lines = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert lines == [
        (c.__name__, c.unit, ", ".join(f"{v:g}" for v in c.defaults)) for c in standard.STANDARD
    ]


def test_the_measures_are_those_of_the_summary(names):
    table = PAGE.partition("| measure |")[2].partition("\n\n")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == MEASURES
    assert set(names["result"].summary["measure"]) == set(MEASURES)


def test_noise_costs_accuracy_and_every_modality_costs_more(names):
    summary = names["result"].main("y").set_index(["modality", "corruption", "measure"])
    value = summary["value"]
    assert value["picture", "GaussianNoise", "clean"] > 0.85
    for modality, corruption in [("picture", "GaussianNoise"), ("ink", "StepNoise"), ("", "mixed")]:
        assert value[modality, corruption, "retained"] < 0.97
    assert value["", "mixed", "area"] < value["picture", "mean", "area"]


def test_what_was_chosen_was_evaluated_and_kept(names):
    kept = CorruptionResult.load(names["folder"] / "corrupted")
    curves = set(zip(kept.scores["modality"], kept.scores["corruption"], strict=True))
    assert curves == {
        ("picture", "GaussianNoise"),
        ("picture", "Occlusion"),
        ("ink", "LostBlock"),
        ("", "mixed"),
    }
    assert set(names["mine"].scores["corruption"]) == {"Negative"}
    assert len(names["against"]) == 12 + 6 + 1


def test_the_picture_is_there_and_small():
    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", PAGE)
    assert shown
    assert all((DOCS / name).stat().st_size < 200_000 for name in shown)
