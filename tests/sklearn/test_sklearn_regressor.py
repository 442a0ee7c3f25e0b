"""FusionRegressor: values in their own units, one or several a row."""

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score

from mmfuse.errors import DataError
from mmfuse.sklearn import FusionRegressor, MultimodalArrays


@pytest.fixture
def values():
    draw = np.random.default_rng(0)
    X = {"a": draw.normal(size=(200, 3)), "b": draw.normal(size=(200, 2))}
    return X, 5000 + 300 * (X["a"][:, 0] - X["b"][:, 1])


@pytest.fixture
def model(quick):
    return FusionRegressor(**quick | {"max_epochs": 25})


def test_values_far_from_zero_are_found_in_their_own_units(model, values):
    X, y = values
    assert cross_val_score(model, MultimodalArrays(X), y, cv=2).min() > 0.8


def test_scale_and_shift_of_the_target_do_not_matter(model, values):
    X, y = values
    near = model.fit(X, (y - 5000) / 300).predict(X)
    np.testing.assert_allclose(model.fit(X, y).predict(X), near * 300 + 5000, rtol=1e-4)


@pytest.mark.parametrize("columns", [1, 2])
def test_several_values_a_row_keep_their_shape(model, values, columns):
    X, y = values
    several = np.stack([y, -y / 1000], axis=1)[:, :columns]
    model.fit(X, several)
    assert model.predict(X).shape == several.shape
    assert model.score(X, several) > 0.8
    assert model.robustness(X, several, bootstrap=0, importance=False).meta["rows"] == 200


def test_a_target_without_spread_or_with_a_gap_is_refused(model, values):
    X, y = values
    with pytest.raises(DataError, match="one value only"):
        model.fit(X, np.ones(200))
    y[3] = np.nan
    with pytest.raises(DataError, match="row 3"):
        model.fit(X, y)
