"""The page on absence: its code runs as printed, and what it says is so."""

from __future__ import annotations

import re
from pathlib import Path

import lightning as L
import pytest

from mmfuse import missing
from mmfuse.missing import Missingness, ModalityDropout
from mmfuse.robustness import AbsenceMatrix, RobustnessResult

pytestmark = pytest.mark.slow  # it trains several models
PAGE = (Path(__file__).parents[2] / "docs" / "absence.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """The names that are there after the page was followed to its end."""
    found: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("absence")
    L.seed_everything(0, verbose=False)  # the page names no seed
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for code in BLOCKS:
            exec(compile(code, "absence.md", "exec"), found)
        found["folder"] = folder
    return found


def test_the_table_names_every_simulator():
    told = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    kinds = [getattr(missing, name) for name in missing.__all__]
    wanted = {k.__name__ for k in kinds if isinstance(k, type) and issubclass(k, Missingness)}
    assert told == wanted - {Missingness.__name__, ModalityDropout.__name__}


def test_every_family_is_told_with_its_realised_rate(names):
    lines = names["lines"]
    wanted = {"one_lost", "imbalanced_mcar", "block", "bursts", "mar", "mnar", "value_mnar"}
    assert wanted <= set(lines["family"])
    assert (lines["realised_rate"] <= lines["rate"].fillna(1) + 0.1).all()
    saved = RobustnessResult.load(names["folder"] / "whole")
    assert (saved.kept("mcar 0.5") == names["kept"]).all()


def test_the_surest_rows_are_seldom_wrong(names):
    for _, lines in names["curve"].groupby("condition"):
        assert lines.loc[lines["coverage"] <= 0.5, "value"].mean() < lines["value"].iloc[-1]


def test_training_with_absence_protects_against_it(names):
    wide = AbsenceMatrix.load(names["folder"] / "matrix").wide("y").set_index("trained_with")
    assert list(wide.index) == ["none", "MCAR(rate=0.33)"]
    assert wide.loc["MCAR(rate=0.33)", "mcar 0.9"] > wide.loc["none", "mcar 0.9"]


def test_absence_by_the_label_leaks_and_by_chance_does_not(names):
    leaks = names["leaks"].set_index("condition")
    assert leaks.loc["mnar 0.8", "leaks"]
    assert abs(leaks.loc["mcar 0.5", "value"] - 0.5) < 0.06


def test_more_modalities_have_a_higher_ceiling(names):
    table = names["ceiling"].query("metric == 'accuracy'").set_index("condition")["value"]
    assert table["only upper_left + lower_right"] > table["only upper_left"]
