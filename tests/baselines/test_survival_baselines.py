"""The classical models of survival: ridge Cox against scikit-survival, and boosted hazards."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from mmfuse import TargetSpec
from mmfuse.baselines.models import BASELINES, BOOSTING, LINEAR, fit_baseline
from mmfuse.survival import concordance

HAZARDS = TargetSpec("survival", cuts=(1.0, 3.0, 6.0, 20.0))
COX = TargetSpec("survival")
ROWS = 120


@pytest.fixture(params=[1, 1000], ids=["many ties", "no ties"])
def cohort(request):
    draw = np.random.default_rng(0)
    x = draw.normal(size=(ROWS, 5))
    time = draw.exponential(4 * np.exp(-x[:, 0] + 0.5 * x[:, 1]))
    seen = draw.exponential(8, ROWS)
    outcome = np.stack([np.minimum(time, seen), time <= seen], axis=1)
    outcome[:, 0] = np.ceil(outcome[:, 0] * request.param) / request.param
    return x, outcome.astype(np.float32)


def index_of(found, y):
    return concordance(found[None, :, 0], y[:, 0], y[:, 1] == 1, np.ones((len(y), 1))).item()


def test_ridge_cox_is_scikit_survivals(cohort):
    linear = pytest.importorskip("sksurv.linear_model")
    from sksurv.util import Surv

    x, y = cohort
    outcome = Surv.from_arrays(y[:, 1] == 1, y[:, 0])
    # It divides the likelihood and the penalty by the number of rows alike.
    expected = linear.CoxPHSurvivalAnalysis(alpha=1.0, ties="efron").fit(x, outcome)
    found = fit_baseline(LINEAR, COX, x, y)(x)
    assert found.shape == (ROWS, 1)
    assert found[:, 0] == pytest.approx(x @ expected.coef_, abs=1e-3)


def test_its_curve_is_breslows(cohort):
    linear = pytest.importorskip("sksurv.linear_model")
    from sksurv.util import Surv

    x, y = cohort
    fitted = linear.CoxPHSurvivalAnalysis(alpha=1.0, ties="efron")
    fitted.fit(x, Surv.from_arrays(y[:, 1] == 1, y[:, 0]))
    cuts = tuple(np.quantile(y[:, 0], [0.3, 0.5, 0.9]).tolist())
    found = fit_baseline(LINEAR, TargetSpec("survival", cuts=cuts), x, y)(x)
    centre = x.mean(axis=0) @ fitted.coef_
    assert found[:, 0] == pytest.approx(x @ fitted.coef_, abs=1e-3)
    expected = np.stack([f(np.array(cuts)) for f in fitted.predict_survival_function(x)])
    assert np.isfinite(centre)
    assert found[:, 1:] == pytest.approx(expected, abs=2e-3)


def test_sparse_features_fit_the_same_model(cohort):
    x, y = cohort
    dense, thin = (fit_baseline(LINEAR, HAZARDS, m, y)(m) for m in (x, sparse.csr_matrix(x)))
    assert thin == pytest.approx(dense, abs=1e-6)


@pytest.mark.parametrize("variant", BASELINES)
@pytest.mark.parametrize("spec", [HAZARDS, COX], ids=["hazards", "cox"])
def test_each_model_ranks_patients_it_has_not_seen(cohort, variant, spec):
    x, y = cohort
    found = fit_baseline(variant, spec, x[:80], y[:80])(x[80:])
    assert found.shape == (40, 1 + len(spec.cuts))
    assert index_of(found, y[80:]) > 0.65
    assert (np.diff(found[:, 1:], axis=1) <= 0).all()
    assert ((found[:, 1:] >= 0) & (found[:, 1:] <= 1)).all()


def test_trees_take_gaps_and_hazards_without_a_bin_that_lacks_events(cohort):
    x, y = cohort
    x = np.where(np.random.default_rng(1).random(x.shape) < 0.2, np.nan, x)
    found = fit_baseline(BOOSTING, HAZARDS, x, y)(x)
    assert np.isfinite(found).all()
    everyone = np.where(np.arange(2), 1.0, 0.5) * np.ones((ROWS, 2))
    assert np.isfinite(fit_baseline(BOOSTING, HAZARDS, x, everyone)(x)).all()
