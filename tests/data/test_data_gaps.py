"""Missing cells of present rows that reach the encoder (``missing_cells="keep"``)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mmfuse
from mmfuse import ArrayData, DataSpec, FusionModel, Tokens
from mmfuse.baselines import BASELINES, baseline_scores
from mmfuse.checkpoint import require_same_model
from mmfuse.errors import ConfigError, DataError
from mmfuse.missing import ValueMNAR
from mmfuse.robustness import Condition, evaluate
from mmfuse.sklearn import FusionClassifier
from mmfuse.tasks.build import build_model

ROWS = 90
NAN = float("nan")
SPLIT = ["train"] * 60 + ["val"] * 10 + ["test"] * 20
DRAW = np.random.default_rng(0)
LABELS = DRAW.integers(0, 2, ROWS)
GRID = DRAW.normal(size=(ROWS, 3)).astype(np.float32)
GAPPY = GRID.copy()
GAPPY[LABELS == 1, 1] = NAN  # that it is missing tells the class
GAPPY[::7, 0] = NAN
GAPPY[5] = NAN  # absent
FRAME = pd.DataFrame(GAPPY, columns=["age", "weight", "height"])
FRAME["town"] = ["Ulm" if i % 3 else "Bern" for i in range(ROWS)]
SERIES = [GRID[i % 50 : i % 50 + 2 + i % 9].copy() for i in range(ROWS)]
for _i, _row in enumerate(SERIES):
    _row[_i % 2, 1 + _i % 2] = NAN


def data_of(modalities: dict[str, Any] | None = None, **options: Any) -> ArrayData:
    modalities = modalities or {"blood": GAPPY, "full": GRID, "person": FRAME, "gait": SERIES}
    given = {"split": SPLIT, "missing_cells": "keep", "on_duplicates": "allow", **options}
    return ArrayData(modalities, LABELS, **given)


def model_of(data: ArrayData) -> FusionModel:
    torch.manual_seed(0)
    encoders = {"blood": "MLPEncoder", "full": "LinearEncoder", "person": "FTTransformerEncoder"}
    encoders |= {"gait": "ContinuousTimeEncoder"}
    chosen = {m: e for m, e in encoders.items() if m in data.spec.modalities}
    return build_model(data.spec, chosen, "ConcatFusion")


def test_a_modality_has_gaps_if_a_present_row_lacks_a_cell_and_else_not():
    found = {m: s.has_gaps for m, s in data_of().spec.modalities.items()}
    assert found == {"blood": True, "full": False, "person": True, "gait": True}
    only_absent = np.where(np.arange(ROWS)[:, None] == 5, NAN, GRID)
    assert not data_of({"blood": only_absent}).spec.modalities["blood"].has_gaps
    only_tested = GRID.copy()
    only_tested[-1, 0] = NAN
    assert data_of({"blood": only_tested}).spec.modalities["blood"].has_gaps


@pytest.mark.parametrize("missing_cells", ["error", "mean"])
def test_without_keep_nothing_has_gaps(missing_cells):
    modalities = {"blood": GRID if missing_cells == "error" else GAPPY}
    data = data_of(modalities, missing_cells=missing_cells)
    assert not data.spec.modalities["blood"].has_gaps


def test_gaps_stay_nan_on_their_way_to_the_model_and_absence_stays_absence():
    data = data_of()
    batch = data.dataset("train").__getitems__(range(ROWS))
    assert batch.present[5].tolist() == [False, True, True, True]
    here = batch.present[:, 0]
    np.testing.assert_array_equal(batch.inputs["blood"][here].numpy(), GAPPY[here.numpy()])
    gait = batch.inputs["gait"]
    assert isinstance(gait, Tokens)
    assert gait.values[gait.mask].isnan().sum() == ROWS
    data.spec.check(batch)


def test_statistics_are_those_of_the_known_cells():
    spec = data_of(standardise=True).spec.modalities["blood"]
    np.testing.assert_allclose(spec.mean, np.nanmean(GAPPY[:60], axis=0), rtol=1e-5)
    np.testing.assert_allclose(spec.std, np.nanstd(GAPPY[:60], axis=0), rtol=1e-5)


@pytest.mark.parametrize("name", ["blood", "person", "gait"])
def test_infinity_is_no_gap(name):
    spoilt = GAPPY.copy()
    spoilt[8, 2] = np.inf
    wrong = {"blood": spoilt, "person": pd.DataFrame(spoilt), "gait": [r[None] for r in spoilt]}
    with pytest.raises(DataError, match=r"row 8 counts as present but holds inf"):
        data_of({name: wrong[name]}).setup()
    data = data_of()
    batch = data.dataset("train").__getitems__([1, 2])
    batch.inputs["blood"][0, 0] = np.inf
    with pytest.raises(DataError, match="'blood': a row that counts as present holds infinity"):
        data.spec.check(batch)
    batch.inputs["blood"][0, 0], batch.inputs["full"][0, 0] = 0, NAN
    with pytest.raises(DataError, match="'full': a row that counts as present holds NaN"):
        data.spec.check(batch)


def test_a_model_trained_without_gaps_takes_none_later():
    spec = data_of({"blood": GRID}).spec
    data = data_of({"blood": GAPPY})
    data.adopt(spec)
    with pytest.raises(DataError, match=r"'blood': cells .* trained without any.*\"mean\""):
        data.setup()
    filled = data_of({"blood": GAPPY}, missing_cells="mean")
    filled.adopt(spec)
    assert filled.dataset("train").__getitems__([0]).inputs["blood"].isfinite().all()


def test_a_model_trained_with_gaps_takes_rows_that_have_none_and_rows_that_are_filled():
    spec = data_of({"blood": GAPPY}).spec
    for data in (data_of({"blood": GRID}), data_of({"blood": GAPPY}, missing_cells="mean")):
        data.adopt(spec)
        assert data.spec.modalities["blood"].has_gaps
        assert data.dataset("train").__getitems__([0]).inputs["blood"].isfinite().all()


def test_an_encoder_that_takes_no_gaps_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"SeriesCNNEncoder does not .*ContinuousTimeEncoder"):
        build_model(data_of({"gait": SERIES}).spec, None, "ConcatFusion")


def test_the_default_encoders_of_vectors_and_tables_take_gaps():
    build_model(data_of({"blood": GAPPY, "person": FRAME}).spec, None, "ConcatFusion")


def test_a_training_step_over_gaps_leaves_every_weight_finite():
    data = data_of()
    model = model_of(data)
    batch = data.dataset("train").__getitems__(range(60))
    output = model(batch).logits["y"]
    assert output.isfinite().all()
    output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_saved_model_knows_its_gaps(tmp_path):
    data = data_of()
    model = model_of(data).eval()
    loaded = mmfuse.load(mmfuse.save(model, tmp_path / "model.ckpt"))
    assert loaded.spec == data.spec
    batch = data.dataset("test").__getitems__(range(70, ROWS))
    assert torch.equal(loaded(batch).logits["y"], model(batch).logits["y"])


def test_a_description_from_before_there_were_gaps_still_builds_and_fits():
    model = model_of(data_of({"full": GRID}))
    old = model.describe()
    for modality in old["spec"]["modalities"].values():
        del modality["has_gaps"]
    assert not DataSpec.from_dict(old["spec"]).modalities["full"].has_gaps
    assert FusionModel.rebuild(old).spec == model.spec
    assert require_same_model(model, {"mmfuse": {"model": old}}).spec == model.spec


def test_simulators_know_a_value_of_rows_with_gaps():
    facts = data_of(missing=ValueMNAR(0.3)).facts("train")
    assert facts.value.isfinite().all()
    assert facts.value[:, 0].unique().numel() > 10


@pytest.mark.parametrize("variant", BASELINES)
def test_baselines_learn_from_which_cells_are_missing(variant):
    complete = [Condition("complete", "complete", 0.0, None)]
    scores = baseline_scores(variant, data_of(), complete)
    assert scores.loc[scores["metric"] == "auroc", "value"].item() > 0.95


def test_robustness_is_measured_over_rows_with_gaps():
    data = data_of()
    model = model_of(data).eval()
    found = evaluate(
        model, data.loader("test", missing=None), data.facts("test"), bootstrap=0, importance=False
    )
    auroc = found.conditions.query("metric == 'auroc'")["value"]
    assert len(auroc) > 4
    assert np.isfinite(auroc).all()


def test_a_classifier_in_scikit_learns_manner_learns_from_gaps():
    model = FusionClassifier(
        functools.partial(mmfuse.fusion.ConcatFusion, out_dim=8),
        max_epochs=30,
        missing_cells="keep",
        learning_rate=1e-2,
        accelerator="cpu",
        random_state=0,
    )
    train, test = GAPPY[:70], GAPPY[70:]
    assert model.fit(train, LABELS[:70]).score(test, LABELS[70:]) > 0.9
    assert model.fit(FRAME[:70], LABELS[:70]).score(FRAME[70:], LABELS[70:]) > 0.9
    assert model.__sklearn_tags__().input_tags.allow_nan
    model.fit(GRID, LABELS)
    with pytest.raises(DataError, match="trained without any"):
        model.predict(test)
