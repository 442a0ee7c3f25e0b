import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from mmfuse import TargetSpec
from mmfuse.baselines import BASELINES, LINEAR, fit_baseline

THREE = TargetSpec("multiclass", ("x", "y", "z"))
NAN = float("nan")


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(60, 4))


def test_the_linear_model_is_scikit_learns(x):
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)
    expected = LogisticRegression(max_iter=5000).fit(x, y).predict_proba(x)
    np.testing.assert_allclose(fit_baseline(LINEAR, THREE, x, y)(x), expected)
    value = x @ [1.0, 2.0, 3.0, 4.0]
    found = fit_baseline(LINEAR, TargetSpec("regression"), x, value)(x)
    np.testing.assert_allclose(found[:, 0], Ridge().fit(x, value).predict(x))


@pytest.mark.parametrize("variant", BASELINES)
def test_a_class_that_training_lacks_keeps_its_column(x, variant):
    y = np.where(x[:, 0] > 0, 2, 0)
    found = fit_baseline(variant, THREE, x, y)(x)
    assert found.shape == (60, 3)
    assert (found[:, 1] == 0).all()
    assert (found.argmax(axis=1) == y).mean() > 0.9
    np.testing.assert_allclose(found.sum(axis=1), 1)


@pytest.mark.parametrize("variant", BASELINES)
def test_a_single_class_in_training_is_all_that_is_predicted(x, variant):
    found = fit_baseline(variant, TargetSpec("binary", ("no", "yes")), x, np.ones(60, int))(x)
    assert found.tolist() == [[0.0, 1.0]] * 60


@pytest.mark.parametrize("variant", BASELINES)
def test_each_of_several_labels_learns_from_the_rows_where_it_is_known(x, variant):
    y = np.stack([x[:, 0] > 0, np.zeros(60), x[:, 1] > 0], axis=1).astype(float)
    y[:20, 2] = NAN
    spec = TargetSpec("multilabel", ("p", "q", "r"))
    found = fit_baseline(variant, spec, x, y)(x)
    alone = fit_baseline(variant, TargetSpec("multilabel", ("r",)), x[20:], y[20:, 2:])(x)
    np.testing.assert_allclose(found[:, 2:], alone)
    assert (found[:, 1] == 0).all()
    assert ((found[:, 0] > 0.5) == y[:, 0]).mean() > 0.9


@pytest.mark.parametrize("variant", BASELINES)
def test_each_of_several_values_learns_from_the_rows_where_it_is_known(x, variant):
    y = np.stack([x[:, 0], x[:, 1]], axis=1)
    y[:20, 1] = NAN
    found = fit_baseline(variant, TargetSpec("regression", width=2), x, y)(x)
    alone = fit_baseline(variant, TargetSpec("regression"), x[20:], y[20:, 1])(x)
    np.testing.assert_allclose(found[:, 1:], alone)


@pytest.mark.parametrize("variant", BASELINES)
def test_the_same_seed_fits_the_same_model(x, variant):
    y = (x[:, 0] > 0).astype(int)
    spec = TargetSpec("binary", ("no", "yes"))
    first, second = (fit_baseline(variant, spec, x, y, seed=3)(x) for _ in range(2))
    assert (first == second).all()
