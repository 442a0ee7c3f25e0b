"""The classical models: logistic or ridge regression, and histogram gradient boosting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from mmfuse.spec import TargetSpec

LINEAR = "linear model (scikit-learn)"
BOOSTING = "gradient boosting (scikit-learn)"
BASELINES = (LINEAR, BOOSTING)

Predict = Callable[[Any], np.ndarray]


def fit_baseline(variant: str, spec: TargetSpec, x: Any, y: np.ndarray, seed: int = 0) -> Predict:
    """Fits one classical model, with scikit-learn's defaults.

    Args:
        variant: ``LINEAR`` is logistic regression, or ridge regression for numbers;
            ``BOOSTING`` is histogram gradient boosting.
        spec: the target; several labels or values are a model each, of the rows where
            that one is known.
        x: features of the labelled training rows.
        y: their labels or values, as in ``Batch``.
        seed: of the model.

    Returns:
        a function from features to probabilities ``(N, K)`` or values, as
        ``TargetSpec.predict`` gives them
    """
    if spec.kind in ("binary", "multiclass"):
        model = _classifier(variant, seed).fit(x, y)
        return lambda rows: model.predict_proba(rows)
    known = [(one, np.isfinite(one)) for one in y.reshape(len(y), -1).T]
    if spec.kind == "multilabel":
        predictors = [_label(variant, x[rows], one[rows], seed) for one, rows in known]
    else:
        predictors = [
            _regressor(variant, seed).fit(x[rows], one[rows]).predict for one, rows in known
        ]
    return lambda rows: np.stack([predict(rows) for predict in predictors], axis=1)


def _classifier(variant: str, seed: int) -> Any:
    if variant == LINEAR:
        return LogisticRegression(max_iter=5000)
    return HistGradientBoostingClassifier(random_state=seed)


def _regressor(variant: str, seed: int) -> Any:
    return Ridge() if variant == LINEAR else HistGradientBoostingRegressor(random_state=seed)


def _label(variant: str, x: Any, y: np.ndarray, seed: int) -> Predict:
    if len(np.unique(y)) == 1:
        return lambda rows: np.full(rows.shape[0], y[0])
    model = _classifier(variant, seed).fit(x, y)
    return lambda rows: model.predict_proba(rows)[:, 1]
