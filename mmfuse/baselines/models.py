"""The classical models: a linear one (logistic, ridge or Cox), and gradient boosting."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from mmfuse.baselines.survival import boosted_hazards, fit_cox
from mmfuse.spec import TargetSpec

LINEAR = "linear model"
BOOSTING = "gradient boosting"
BASELINES = (LINEAR, BOOSTING)

Predict = Callable[[Any], np.ndarray]


def fit_baseline(variant: str, spec: TargetSpec, x: Any, y: np.ndarray, seed: int = 0) -> Predict:
    """Fits one classical model, with scikit-learn's defaults.

    Args:
        variant: ``LINEAR`` is logistic regression, or ridge regression for numbers, or
            Cox's with a ridge for survival; ``BOOSTING`` is histogram gradient boosting,
            for survival of the hazard in each time bin.
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
        count = 2 if spec.kind == "binary" else len(spec.classes)
        return _probabilities(variant, x, y, count, seed)
    if spec.kind == "survival":
        if variant == LINEAR:
            return fit_cox(spec, x, y)
        return boosted_hazards(spec, x, y, functools.partial(_probabilities, variant, seed=seed))
    known = [(one, np.isfinite(one)) for one in y.reshape(len(y), -1).T]
    if spec.kind == "multilabel":
        labels = [_probabilities(variant, x[rows], one[rows], 2, seed) for one, rows in known]
        predictors = [functools.partial(_positive, label) for label in labels]
    else:
        predictors = [
            _fit(_regressor(variant, seed), x[rows], one[rows]).predict for one, rows in known
        ]
    return lambda rows: np.stack([predict(rows) for predict in predictors], axis=1)


def _classifier(variant: str, seed: int) -> Any:
    if variant == LINEAR:
        return LogisticRegression(max_iter=5000)
    return HistGradientBoostingClassifier(random_state=seed)


def _regressor(variant: str, seed: int) -> Any:
    return Ridge() if variant == LINEAR else HistGradientBoostingRegressor(random_state=seed)


def _fit(model: Any, x: Any, y: np.ndarray) -> Any:
    if isinstance(x, np.ndarray) and (empty := np.isnan(x).all(axis=0)).any():
        # Trees refuse a column in which no training row has a value; a constant they never split.
        x = np.where(empty, 0.0, x)
    return model.fit(x, y)


def _probabilities(variant: str, x: Any, y: np.ndarray, count: int, seed: int) -> Predict:
    """A column for each of ``count`` classes, zero for those that ``y`` lacks."""
    found = np.unique(y).astype(int)
    model = _fit(_classifier(variant, seed), x, y) if len(found) > 1 else None

    def predict(rows: Any) -> np.ndarray:
        shares = np.zeros((rows.shape[0], count))
        shares[:, found] = 1.0 if model is None else model.predict_proba(rows)
        return shares

    return predict


def _positive(predict: Predict, rows: Any) -> np.ndarray:
    return predict(rows)[:, 1]
