"""FusionClassifier: labels, absent rows, model selection and what it leaves behind."""

import functools
import pickle
import random
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split

import mmfuse
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.fusion import ConcatFusion
from mmfuse.missing import MCAR
from mmfuse.sklearn import FusionClassifier, MultimodalArrays
from mmfuse.sklearn.training import draw_split


@pytest.fixture
def model(quick):
    return FusionClassifier(**quick)


# What it learns.


def test_digits_from_quadrants_are_read_about_as_well_as_by_logistic_regression(digits):
    X, y = digits
    train, test = train_test_split(np.arange(len(y)), random_state=0, stratify=y)
    X = MultimodalArrays(X)
    model = FusionClassifier("ConcatFusion", max_epochs=15, learning_rate=3e-3, random_state=0)
    found = model.fit(X[train], y[train]).score(X[test], y[test])
    joined = np.concatenate(list(X.arrays.values()), axis=1) / 16
    linear = LogisticRegression(max_iter=500).fit(joined[train], y[train])
    assert found > linear.score(joined[test], y[test]) - 0.05


@pytest.mark.parametrize(
    "labels",
    [
        ["no", "yes"],
        [False, True],
        [-1, 1],
        [2, 10],
        [0.0, 2.0],
        np.array(["b", "a"], dtype=object),
        ["u", "longer"],
        ["low", "middle", "high"],
    ],
    ids=str,
)
def test_labels_of_any_kind_come_back_as_they_were(model, two_modalities, labels):
    X, y = two_modalities
    y = np.asarray(labels)[np.arange(len(y)) % len(labels)]
    model.fit(X, y)
    assert model.classes_.tolist() == sorted(set(labels))
    found = model.predict(X)
    assert found.dtype == y.dtype
    assert set(found) <= set(y)
    assert model.model_.spec.targets["y"].classes == tuple(map(str, model.classes_))


def test_probabilities_follow_the_classes(model, two_modalities):
    X, y = two_modalities
    found = model.set_params(max_epochs=15).fit(X, np.array(["u", "v"])[y]).predict_proba(X)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
    assert ((found[:, 1] > 0.5) == (y == 1)).mean() > 0.8


def test_several_labels_at_once_are_zeros_and_ones(model, two_modalities):
    X, y = two_modalities
    several = np.stack([y, 1 - y, X["a"][:, 1] > 0], axis=1).astype(int)
    model.set_params(max_epochs=15).fit(X, several)
    assert set(np.unique(model.predict(X))) <= {0, 1}
    assert model.predict_proba(X).shape == several.shape
    assert (model.predict(X) == several).mean() > 0.8


def test_a_class_with_one_row_is_still_learned_from(model, two_modalities):
    X, y = two_modalities
    y = y.copy()
    y[7] = 2
    for seed in range(5):
        assert model.set_params(random_state=seed).fit(X, y).classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.9])
def test_one_row_of_every_class_always_trains(fraction):
    strata = np.array([0] * 40 + [1] * 3 + [2])
    split = draw_split(strata, fraction, seed=1)
    assert set(strata[split == "train"]) == {0, 1, 2}
    assert (split == "val").sum() == round(fraction * 44)


def test_the_best_epoch_on_validation_rows_is_kept(two_modalities, quick):
    X, y = two_modalities
    noise = np.random.default_rng(0).permutation(y)
    model = FusionClassifier(**quick | {"max_epochs": 60, "learning_rate": 5e-3})
    model.set_params(validation_fraction=0.3, n_iter_no_change=4).fit(X, noise)
    assert model.n_iter_ < 60
    # Overfitting to noise makes it sure of itself; the best epoch is not.
    assert model.predict_proba(X).max(axis=1).mean() < 0.8
    model.set_params(validation_fraction=0).fit(X, noise)
    assert model.n_iter_ == 60
    assert model.predict_proba(X).max(axis=1).mean() > 0.8


# What X may be.


def test_a_frame_in_groups_is_the_same_as_a_mapping_of_arrays(model, two_modalities):
    X, y = two_modalities
    frame = pd.DataFrame(np.concatenate([X["b"], X["a"]], axis=1), columns=["b1", "b2", *"xyz"])
    grouped = clone(model).set_params(columns={"a": ["x", "y", "z"], "b": ["b*"]})
    of_frame = grouped.fit(frame, y).predict_proba(frame.iloc[:, ::-1])
    np.testing.assert_array_equal(of_frame, model.fit(X, y).predict_proba(X))
    assert grouped.feature_names_in_.tolist() == ["x", "y", "z", "b1", "b2"]


def test_columns_of_strings_are_categories_and_new_levels_are_unknown(model):
    frame = pd.DataFrame({"n": np.linspace(-1, 1, 60), "c": ["u", "v", "w"] * 20})
    y = np.arange(60) % 3
    model.set_params(max_epochs=20).fit(frame, y)
    assert model.score(frame, y) > 0.9
    assert model.predict(pd.DataFrame({"n": [0.0], "c": ["never seen"]})).shape == (1,)


def test_a_plain_array_is_one_modality(model, two_modalities):
    X, y = two_modalities
    model.fit(X["a"], y)
    assert model.modalities_ == ("table",)
    assert model.n_features_in_ == 3


def test_texts_and_series_of_unequal_length_are_modalities(model):
    X = {
        "text": ["good film", "bad film", None, "bad"] * 10,
        "series": [np.ones((2 + i % 3, 2)) for i in range(40)],
    }
    y = [1, 0, 1, 0] * 10
    model.fit(X, y)
    # Rows that happen to be equally long, or all absent, are still what they were.
    some = {"text": ["good", None], "series": [np.ones((4, 2)), np.ones((4, 2))]}
    assert model.predict_proba(some).shape == (2, 2)
    absent = {"text": [None, None], "series": [None, None]}
    assert np.isfinite(model.predict_proba(absent)).all()


def test_nan_rows_none_and_modalities_left_out_are_the_same_absence(model, two_modalities):
    X, y = two_modalities
    gaps = X | {"b": X["b"].copy()}
    gaps["b"][::3] = np.nan
    model.fit(gaps, y)
    as_none = [None if np.isnan(row).all() else row for row in gaps["b"]]
    np.testing.assert_array_equal(
        model.predict_proba(gaps), model.predict_proba(gaps | {"b": as_none})
    )
    without = model.predict_proba({"a": X["a"]})
    nothing = model.predict_proba(X | {"b": np.full((120, 2), np.nan)})
    np.testing.assert_array_equal(without, nothing)
    np.testing.assert_allclose(without[::3], model.predict_proba(gaps)[::3], atol=1e-6)


def test_a_frame_may_stand_for_the_array_that_a_model_was_trained_on(model, two_modalities):
    X, y = two_modalities
    model.fit(pd.DataFrame(X["b"], columns=["u", "v"]), y)
    again = model.fit(X["a"], y)
    with pytest.warns(UserWarning, match="feature names"):
        found = again.predict(pd.DataFrame(X["a"], columns=[*"xyz"]))
    np.testing.assert_array_equal(found, again.predict(X["a"]))


def test_a_gap_in_a_present_row_is_refused_or_takes_the_mean(model, two_modalities):
    X, y = two_modalities
    X["a"][5, 1] = np.nan
    with pytest.raises(DataError, match="row 5"):
        model.fit(X, y)
    with pytest.raises(DataError, match="the first 5"):
        model.fit(X["a"], y)
    model.set_params(missing_cells="mean").fit(X, y)
    assert np.isfinite(model.predict_proba(X)).all()


# Model selection.


def test_cross_validation_takes_modalities(model, digits):
    X, y = digits
    model.set_params(max_epochs=6)
    scores = cross_val_score(model, MultimodalArrays(X), y, cv=2, error_score="raise")
    assert scores.min() > 0.6


def test_grid_search_runs_over_fusions(model, two_modalities):
    X, y = two_modalities
    grid = {"fusion": ["ConcatFusion", "GatedFusion"], "modality_dropout": [0.0, 0.5]}
    search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(MultimodalArrays(X), y)
    assert type(search.best_estimator_.model_.fusion).__name__ == search.best_params_["fusion"]
    assert search.predict(MultimodalArrays(X)).shape == y.shape


def test_a_clone_is_untrained_and_trains_to_the_same(model, two_modalities):
    X, y = two_modalities
    model.set_params(fusion=functools.partial(ConcatFusion, out_dim=8), missing=MCAR(0.2))
    again = clone(model.fit(X, y))
    with pytest.raises(NotFittedError):
        again.predict(X)
    np.testing.assert_array_equal(again.fit(X, y).predict_proba(X), model.predict_proba(X))


def test_a_trained_model_pickles_and_saves(model, two_modalities, tmp_path):
    X, y = two_modalities
    model.fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    loaded = mmfuse.load(mmfuse.save(model.model_, tmp_path / "model.ckpt"))
    assert loaded.spec == model.model_.spec


def test_objectives_are_not_changed_by_training(model, two_modalities):
    X, y = two_modalities
    given = [mmfuse.objectives.SupervisedLoss(weight=0.5)]
    model.set_params(objectives=given).fit(X, y)
    first = model.predict_proba(X)
    np.testing.assert_array_equal(model.fit(X, y).predict_proba(X), first)
    assert model.get_params()["objectives"] is given


# What it leaves behind.


def test_the_same_seed_gives_the_same_model_and_another_seed_another(model, two_modalities):
    X, y = two_modalities
    found = [model.set_params(random_state=s).fit(X, y).predict_proba(X) for s in (1, 1, 2)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize("random_state", [0, None])
def test_the_global_random_states_stay_as_they_were(model, two_modalities, random_state):
    X, y = two_modalities
    model.set_params(random_state=random_state, modality_dropout=0.3)

    def states():
        return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())

    before = states()
    model.fit(X, y).predict(X)
    assert states() == before


def test_it_leaves_no_file_no_word_and_no_filter(
    model, two_modalities, tmp_path, monkeypatch, capfd
):
    X, y = two_modalities
    monkeypatch.chdir(tmp_path)
    filters = list(warnings.filters)
    model.fit(X, y).predict(X)
    model.set_params(validation_fraction=0).fit(X, y)
    assert not list(Path(tmp_path).iterdir())
    assert capfd.readouterr() == ("", "")
    assert list(warnings.filters) == filters


def test_the_mode_of_absence_in_training_changes_the_model(model, two_modalities):
    X, y = two_modalities
    plain = model.fit(X, y).predict_proba(X)
    assert (model.set_params(missing=MCAR(0.5)).fit(X, y).predict_proba(X) != plain).any()


def test_robustness_scores_the_rows_given(model, two_modalities):
    X, y = two_modalities
    labels = np.array(["u", "v"])[y]
    model.set_params(max_epochs=15).fit(X, labels)
    result = model.robustness(X, labels, bootstrap=0)
    complete = result.conditions.query("condition == 'complete' and metric == 'accuracy'")
    assert complete["value"].item() == pytest.approx(model.score(X, labels))
    value = result.conditions.query("family == 'value_mnar'")["realised_rate"]
    assert value.between(0.2, 0.6).all()  # the rows' own quantiles decide
    assert result.meta["targets"]["y"]["classes"] == ["u", "v"]
    assert result.meta["trained_with"] == {"missing": None, "modality_dropout": None}


def test_robustness_knows_many_classes_in_few_rows(model):
    X = {"a": np.eye(60).repeat(2, axis=0)}
    y = np.arange(60).repeat(2)
    result = model.fit(X, y).robustness({"a": X["a"][::2]}, y[::2], bootstrap=0)
    assert result.meta["rows"] == 60


# Mistakes.


def test_rows_that_the_model_does_not_know_are_refused(model, two_modalities):
    X, y = two_modalities
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(NotFittedError):
        model.robustness(X, y)
    model.fit(X, y)
    with pytest.raises(UnknownModalityError, match="'c'"):
        model.predict(X | {"c": X["a"]})
    with pytest.raises(DataError, match=r"\(3,\).*\(2,\)"):
        model.predict(X | {"a": X["b"]})
    with pytest.raises(DataError, match="rows"):
        model.predict(X | {"a": X["a"][:-1]})
    with pytest.raises(DataError, match="'2'"):
        model.robustness(X, y + 1)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1] * 59, "120 rows, y has 118"),
        ([0.0, 1.0] * 59 + [0.0, np.nan], "row 119"),
        (["u", "v"] * 59 + ["u", None], "row 119"),
        ([1] * 120, "one class"),
        (np.tile([[0, 1, 2]], (120, 1)), "label"),
        (None, "y"),
    ],
    ids=["short", "NaN", "None", "one class", "several columns", "none"],
)
def test_labels_that_cannot_be_learned_are_refused(model, two_modalities, y, message):
    with pytest.raises(DataError, match=message):
        model.fit(two_modalities[0], y)


@pytest.mark.parametrize(
    "option",
    [
        {"max_epochs": 0},
        {"batch_size": 0},
        {"validation_fraction": 1},
        {"n_iter_no_change": 0},
        {"fusion": "NoSuchFusion"},
        {"columns": {"a": ["x"]}},
        {"missing_cells": "zero"},
    ],
    ids=str,
)
def test_a_parameter_that_cannot_be_used_is_told_at_fit(model, two_modalities, option):
    model.set_params(**option)
    with pytest.raises(ConfigError):
        model.fit(*two_modalities)


def test_empty_rows_are_refused(model):
    with pytest.raises(DataError, match="rows"):
        model.fit({"a": np.zeros((0, 2))}, [])
    with pytest.raises(DataError, match=r"shape \(0, 1\)"):
        model.fit(pd.DataFrame({"a": []}), [])
    with pytest.raises(ValueError, match="0 sample"):
        model.fit(np.zeros((0, 2)), [])
