"""Studies of odd data: what each suite makes of other targets, few rows, and what no row has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from suite_models import QUIET

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.data import Survival
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.robustness.findings import Findings
from mmfuse.robustness.report.sections.untested import untested
from mmfuse.suites import OOD, Attacks, Corruptions, Interactions, LeakCheck, Suite, Worst

ROWS, TEST = 160, slice(120, None)
SPLIT = np.array(["train"] * 90 + ["val"] * 30 + ["test"] * 40)


def views(**absent: slice) -> dict[str, np.ndarray]:
    """Two views of noise, absent in the rows that are named."""
    draw = np.random.default_rng(0)
    found = {m: draw.normal(size=(ROWS, 2)) for m in ("left", "right")}
    for m, rows in absent.items():
        found[m][rows] = np.nan
    return found


def classes(count: int = 2) -> list[str | None]:
    return [f"c{k}" for k in np.arange(ROWS) % count]


def of_kind(kind: str) -> ArrayData:
    draw = np.random.default_rng(0)
    target: Any = {
        "regression": draw.normal(size=ROWS),
        "multilabel": (draw.random((ROWS, 3)) < 0.5).astype(int),
        "survival": Survival(draw.exponential(5, ROWS), draw.random(ROWS) < 0.6),
    }[kind]
    return ArrayData(views(), target, split=SPLIT, seed=0)


def suites(*left_out: type[Suite]) -> list[Suite]:
    """Every suite, as quick as it goes."""
    far = ArrayData({"left": np.random.default_rng(1).normal(5, 1, (30, 2))}, seed=0)
    every: list[Suite] = [
        Attacks(budgets=[0.1], norms=["l2"], rows=5, steps=1),
        Corruptions({"left": ["CellNoise"]}),  # type: ignore[list-item]
        LeakCheck(folds=2),
        Interactions(clusters=2),
        Worst(2),
        OOD({"far": far}),
    ]
    return [s for s in every if not isinstance(s, left_out)]


class Run:
    """A model trained for an epoch."""

    def __init__(self, data: ArrayData, folder: Path) -> None:
        self.task, self.folder = SupervisedTask(fusion="ConcatFusion"), folder
        self.trainer = Trainer(max_epochs=1, default_root_dir=folder, **QUIET)
        self.trainer.fit(self.task, datamodule=data)

    def study(self, data: ArrayData, chosen: list[Suite], **options: Any) -> Findings:
        options = {"bootstrap": 0, "mcar_rates": [0.5], "out": self.folder / "out"} | options
        return self.trainer.robustness(self.task, data, "best", suites=chosen, **options)


@pytest.mark.parametrize(
    ("kind", "refused"),
    [
        ("regression", (Attacks, OOD)),
        pytest.param("multilabel", (Attacks, OOD), marks=pytest.mark.slow),
        pytest.param("survival", (Attacks, OOD, Interactions, Worst), marks=pytest.mark.slow),
    ],
)
def test_a_target_is_studied_by_the_suites_that_can_and_refused_by_the_others(
    tmp_path, kind, refused
):
    run = Run(of_kind(kind), tmp_path)
    for suite in suites():
        if isinstance(suite, refused):
            with pytest.raises(ConfigError, match=kind if suite.name != "ood" else "none"):
                run.study(of_kind(kind), [suite])
            assert not (tmp_path / "out" / "report.html").exists()
    found = run.study(of_kind(kind), suites(*refused))
    assert found.corruptions is not None
    assert found.leak is not None
    assert (tmp_path / "out" / "report.html").is_file()


def test_one_modality_is_studied_by_every_suite(tmp_path):
    data = ArrayData({"left": views()["left"]}, classes(), split=SPLIT, seed=0)
    found = Run(data, tmp_path).study(data, suites(), absence="complete")
    assert found.attacks.worst("left")["rows"].eq(5).all()
    assert not len(found.interactions.pairs)
    assert not len(found.leak.table)  # every row has the same modalities


def test_what_no_row_has_is_not_called_worthless_but_unseen(tmp_path):
    label = classes(3)
    label[TEST] = ["c0", "c1"] * 20
    data = ArrayData(views(left=TEST), label, split=SPLIT, seed=0)
    found = Run(data, tmp_path).study(data, suites(), bootstrap=5)
    said = untested(found)
    assert "left: no row has it, so that nothing is known of its worth." in said
    assert "y: no row is labelled c2 (1 of 3 classes)." in said
    assert found.attacks.sentences[0].startswith("No row that was attacked has left")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "; right alone to" in page
    assert "; left alone to" not in page


def test_one_row_has_no_ranking_and_the_page_says_why(tmp_path):
    split = np.where(np.arange(ROWS) == ROWS - 1, "test", "train")
    split[:20] = "val"
    data = ArrayData(views(), classes(), split=split, seed=0)
    Run(data, tmp_path).study(data, suites(), bootstrap=5)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "AUROC is undefined on 1 row; it needs rows whose labels differ." in page


def test_rows_without_a_label_are_refused_before_any_suite(tmp_path):
    label = classes()
    label[TEST] = [None] * 40
    data = ArrayData(views(), label, split=SPLIT, seed=0)
    with pytest.raises(DataError, match=r"None of the 40 rows has a label of \['y'\]"):
        Run(data, tmp_path).study(data, suites())


def test_data_that_do_not_fit_the_checkpoint_are_refused(tmp_path):
    data = ArrayData(views(), classes(), split=SPLIT, seed=0)
    run = Run(data, tmp_path)
    wide = {m: np.concatenate([x, x], axis=1) for m, x in views().items()}
    for inputs, label, split, error, told in (
        ({"left": views()["left"]}, classes(), SPLIT, UnknownModalityError, "right"),
        (wide, classes(), SPLIT, DataError, r"expects vector rows of shape \(2,\)"),
        (views(), classes(3), SPLIT, DataError, "c2"),
        (views(), None, SPLIT, DataError, "targets"),
        (views(), classes(), np.full(ROWS, "train"), DataError, "test split is empty"),
    ):
        with pytest.raises(error, match=told):
            run.study(ArrayData(inputs, label, split=split, seed=0), suites())
    with pytest.raises(ConfigError, match="bootstrap is -1"):
        run.study(data, [], bootstrap=-1)
    with pytest.raises(ConfigError, match=r"1\.5"):
        run.study(data, [], mcar_rates=[1.5])
