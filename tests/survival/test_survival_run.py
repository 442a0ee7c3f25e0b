"""A survival target from data to training, predictions, features and a robustness evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import mmfuse
from mmfuse.data import FeatureData, Survival
from mmfuse.robustness import evaluate, standard_conditions
from mmfuse.survival import concordance

ROWS = 240
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.* is deprecated")


def cohort(bins: int) -> mmfuse.ArrayData:
    """The hazard depends on both modalities; a third is censored and some outcomes are unknown."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, ROWS, 2))
    time = draw.exponential(5 * np.exp(-a[:, 0] - b[:, 0]))
    seen = draw.exponential(12, ROWS)
    event = (time <= seen).astype(float)
    time = np.minimum(time, seen)
    time[::17] = event[::17] = np.nan
    inputs = {"a": a, "b": [None if i % 4 == 0 else row for i, row in enumerate(b)]}
    return mmfuse.ArrayData(
        inputs, {"os": Survival(time, event)}, survival_bins=bins, batch_size=128
    )


@pytest.fixture(scope="module", params=[4, 0], ids=["hazards", "cox"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    data = cohort(request.param)
    task = mmfuse.SupervisedTask(fusion="SequentialFusion", optimizer=_adam)
    trainer = mmfuse.Trainer(max_epochs=30, default_root_dir=folder, enable_progress_bar=False)
    trainer.fit(task, datamodule=data)
    return data, task, trainer, folder


def _adam(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2)


def test_it_learns_to_rank(run):
    data, task, trainer, _ = run
    (scores,) = trainer.test(task, datamodule=data, ckpt_path="best", verbose=False)
    assert scores["test/c_index"] > 0.7
    assert ("test/ibs" in scores) == bool(data.spec.targets["os"].cuts)


def test_predictions_are_a_risk_and_a_curve(run):
    data, task, trainer, _ = run
    spec = data.spec.targets["os"]
    frame = mmfuse.to_frame(trainer.predict(task, datamodule=data, ckpt_path="best"), data.spec)
    assert list(frame) == ["row", *(f"os_{output}" for output in spec.outputs)]
    curve = frame[[f"os_{output}" for output in spec.outputs[1:]]].to_numpy()
    assert (np.diff(curve, axis=1) <= 0).all()
    outcome = data.dataset("test").targets["os"][frame["row"].tolist()].double().numpy()
    known = np.isfinite(outcome).all(axis=1)
    risk = frame["os_risk"].to_numpy()[None, known]
    time, event = outcome[known].T
    (scores,) = trainer.test(task, datamodule=data, ckpt_path="best", verbose=False)
    found = concordance(risk, time, event == 1, np.ones((len(time), 1))).item()
    assert found == pytest.approx(scores["test/c_index"], abs=1e-6)


def test_a_checkpoint_keeps_the_cuts(run):
    data, _, trainer, _ = run
    model = mmfuse.load(trainer.checkpoint_callback.best_model_path)
    assert model.spec == data.spec


def test_features_keep_the_outcome(run):
    data, task, trainer, folder = run
    trainer.extract(task, data, ckpt_path="best", out=str(folder / "features"))
    spec = data.spec.targets["os"]
    again = FeatureData(str(folder / "features"), survival_bins=len(spec.cuts))
    assert again.spec.targets["os"].kind == "survival"
    assert again.spec.targets["os"].cuts == pytest.approx(spec.cuts)


def test_every_condition_is_scored_with_an_interval(run):
    data, _, trainer, folder = run
    model = mmfuse.load(trainer.checkpoint_callback.best_model_path)
    conditions = standard_conditions(model.modalities)
    result = evaluate(model, data.loader("test"), data.facts("test"), conditions, bootstrap=200)
    table = result.main("os")
    assert set(table["metric"]) == {"c_index"}
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()
    values = table.set_index("condition")["value"]
    assert values["complete"] > values["nothing"] == 0.5
    assert result.importance["shapley"].sum() == pytest.approx(values["complete"] - 0.5)
    lines = result.predictions
    spec = data.spec.targets["os"]
    outputs = [f"p_{output}" for output in spec.outputs[1:]]
    assert list(lines)[:6] == ["row", "condition", "target", "output", "label", "prediction"]
    assert set(list(lines)[6:]) == {"event", *outputs}
    outcome = data.dataset("test").targets["os"][data.rows("test")].numpy()
    complete = lines[lines["condition"] == "complete"]
    np.testing.assert_array_equal(complete[["label", "event"]].to_numpy(), outcome)
    result.save(folder / "result")
    loaded = type(result).load(folder / "result")
    pd.testing.assert_frame_equal(loaded.conditions, result.conditions)


def test_survival_stands_beside_other_targets(tmp_path):
    data = cohort(4)
    given = data._given
    given["targets"]["ill"] = ["yes", "no"] * (ROWS // 2)
    task = mmfuse.SupervisedTask(fusion="LateProductFusion")
    trainer = mmfuse.Trainer(
        max_epochs=1, default_root_dir=tmp_path, enable_progress_bar=False, logger=False
    )
    trainer.fit(task, datamodule=data)
    assert {"val/os/c_index", "val/ill/auroc"} <= set(trainer.callback_metrics)
