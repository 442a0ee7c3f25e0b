"""FusionSurvival: risks and curves behind scikit-learn's methods."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score

from mmfuse.data import Survival
from mmfuse.errors import ConfigError, DataError
from mmfuse.sklearn import FusionSurvival, MultimodalArrays

ROWS = 200


@pytest.fixture
def cohort():
    draw = np.random.default_rng(0)
    X = {"a": draw.normal(size=(ROWS, 3)), "b": draw.normal(size=(ROWS, 2))}
    time = draw.exponential(5 * np.exp(-X["a"][:, 0] - X["b"][:, 0]))
    seen = draw.exponential(15, ROWS)
    return X, np.stack([np.minimum(time, seen), time <= seen], axis=1)


@pytest.fixture(params=[4, 0], ids=["hazards", "cox"])
def model(request, quick):
    return FusionSurvival(**quick | {"max_epochs": 25}, survival_bins=request.param)


def test_it_ranks_rows_it_has_not_seen(model, cohort):
    X, y = cohort
    assert cross_val_score(model, MultimodalArrays(X), y, cv=2).min() > 0.65


def test_the_curve_falls_and_ranks_as_the_risk_does(cohort, quick):
    X, y = cohort
    model = FusionSurvival(**quick, survival_bins=3).fit(X, y)
    curve = model.predict_survival_function(X)
    assert curve.shape == (ROWS, 3)
    assert len(model.cuts_) == 3
    assert (np.diff(curve, axis=1) <= 0).all()
    assert model.predict(X) == pytest.approx(1 - curve.mean(axis=1), abs=1e-6)


def test_coxs_model_has_no_curve(cohort, quick):
    X, y = cohort
    model = FusionSurvival(**quick, survival_bins=0).fit(X, y)
    assert not len(model.cuts_)
    with pytest.raises(DataError, match="survival_bins above 0"):
        model.predict_survival_function(X)


def test_y_may_be_structured_as_scikit_survivals(cohort, quick):
    X, y = cohort
    structured = np.array(
        [(bool(e), t) for t, e in y], dtype=[("event", bool), ("time", np.float64)]
    )
    scores = [
        FusionSurvival(**quick).fit(X, one).score(X, one)
        for one in (y, structured, Survival(y[:, 0], censored=1 - y[:, 1]))
    ]
    assert scores[0] == scores[1] == scores[2]


def test_bins_are_a_parameter_to_search_over(cohort, quick):
    X, y = cohort
    search = GridSearchCV(FusionSurvival(**quick), {"survival_bins": [0, 2]}, cv=2)
    found = search.fit(MultimodalArrays(X), y)
    assert found.cv_results_["mean_test_score"].shape == (2,)
    assert clone(FusionSurvival(survival_bins=7)).survival_bins == 7


def test_robustness_has_the_index(cohort, quick):
    X, y = cohort
    model = FusionSurvival(**quick).fit(X, y)
    result = model.robustness(X, y, bootstrap=0, importance=False)
    complete = result.main("y").set_index("condition").loc["complete", "value"]
    assert complete == pytest.approx(model.score(X, y), abs=1e-3)


def test_what_cannot_be_learned_is_told(cohort, quick):
    X, y = cohort
    model = FusionSurvival(**quick)
    with pytest.raises(DataError, match="requires y"):
        model.fit(X, None)
    with pytest.raises(DataError, match="none of the"):
        model.fit(X, y * [1, 0])
    with pytest.raises(DataError, match="found shape"):
        model.fit(X, y[:, 0])
    with pytest.raises(DataError, match="1 rows without an outcome"):
        model.fit(X, np.where(np.arange(ROWS)[:, None] == 3, np.nan, y))
    with pytest.raises(DataError, match=r"X has 200 rows, y has 199"):
        model.fit(X, y[:-1])
    with pytest.raises(ConfigError, match="survival_bins is -1"):
        FusionSurvival(**quick, survival_bins=-1).fit(X, y)
    two = np.zeros(ROWS, dtype=[("a", bool), ("b", bool), ("time", float)])
    with pytest.raises(DataError, match="one of booleans"):
        model.fit(X, two)
