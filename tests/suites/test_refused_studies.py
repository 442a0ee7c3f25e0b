"""What a study refuses before anything is computed, naming what was found and what to do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from suite_models import QUIET, Trained, planted, study

from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.robustness.corruptions import KeyboardTypos
from mmfuse.suites import OOD, Attacks, Corruptions, Interactions, LeakCheck, Worst


def test_a_corruption_of_another_kind_is_refused_at_once(trained: Trained, tmp_path: Path):
    with pytest.raises(ConfigError, match="left"):
        study(trained, tmp_path, [Corruptions({"left": [KeyboardTypos()]})])
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Attacks(rows=0),
        lambda: Attacks(norms=[]),
        lambda: Attacks(budgets=[-1.0]),
        lambda: Attacks(norms=["l1"]),
        lambda: Attacks(on="pixels"),
        lambda: Interactions(pairs=0),
        lambda: Interactions(estimators=["knife"]),
        lambda: Interactions(estimators=[]),
        lambda: Worst(rows=0),
        lambda: LeakCheck(folds=1),
        lambda: LeakCheck(permutations=20),
        lambda: LeakCheck(split="tst"),
        lambda: OOD({}),
        lambda: OOD({"other": planted()}, split="tst"),
        lambda: OOD({"other": planted()}, {"others": "near"}),
        lambda: OOD({"other": planted()}, {"other": "nearby"}),  # type: ignore[dict-item]
        lambda: OOD({"train": planted()}),
    ],
)
def test_options_without_meaning_are_refused(make):
    with pytest.raises(ConfigError):
        make()


def test_two_suites_of_a_kind_are_refused(trained: Trained, tmp_path: Path):
    with pytest.raises(ConfigError, match="twice"):
        study(trained, tmp_path, [Worst(1), Worst(2)])


def test_a_model_of_values_cannot_be_attacked_and_nothing_is_computed(tmp_path: Path):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(200, 3))
    data = ArrayData({"a": x, "b": x[:, :2]}, x[:, 0], seed=0)
    task = SupervisedTask()
    trainer = Trainer(max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(task, datamodule=data)
    with pytest.raises(ConfigError, match="multiclass"):
        trainer.robustness(task, data, "best", out=tmp_path / "r", suites=[Attacks()])
    assert not (tmp_path / "r" / "report.html").exists()
    suites = [Interactions(clusters=3), Worst(2)]
    found = trainer.robustness(task, data, "best", out=tmp_path / "r", suites=suites, bootstrap=0)
    error = found.absence.predictions
    error = error[error["condition"] == "complete"]
    worst = (error["prediction"] - error["label"]).abs().to_numpy().argsort()[::-1]
    assert found.worst.rows["row"].tolist() == error["row"].to_numpy()[worst[:2]].tolist()
    assert len(found.interactions.pid) == 4


def test_data_without_a_modality_of_the_model_are_no_ood_set(trained: Trained, tmp_path: Path):
    other = ArrayData({"else": np.zeros((9, 2)) + np.arange(9)[:, None]}, seed=0)
    with pytest.raises(UnknownModalityError, match="'else'"):
        study(trained, tmp_path, [OOD({"other": other})])


def test_ood_sets_that_do_not_fit_are_named_before_anything_is_computed(
    trained: Trained, tmp_path: Path
):
    draw = np.random.default_rng(0)
    wide = ArrayData({"left": draw.normal(size=(30, 7))}, seed=0)
    no_test = ArrayData({"left": draw.normal(size=(30, 3))}, split=["train"] * 30)
    own = planted()
    for other, error, told in (
        (wide, DataError, r"'far off': Modality 'left': the model expects .* \(3,\)"),
        (no_test, DataError, "'far off': The test split is empty"),
        (own, ConfigError, "very object that is studied"),
    ):
        with pytest.raises(error, match=told):
            study(trained, tmp_path, [OOD({"far off": other})], data=own)
    assert not (tmp_path / "conditions.parquet").exists()
