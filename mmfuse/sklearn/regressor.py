"""FusionRegressor: a multimodal regressor with scikit-learn's methods."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from mmfuse.data.split import strata_of
from mmfuse.data.targets import RawTarget
from mmfuse.sklearn.estimator import FusionEstimator
from mmfuse.sklearn.targets import check_target


class FusionRegressor(RegressorMixin, FusionEstimator):
    """A multimodal regressor with scikit-learn's methods; rows may lack modalities.

    ``X``, the arguments and the attributes are those of ``FusionClassifier``, without
    ``classes_``. ``y`` has one value a row ``(N,)``, or several ``(N, K)``; each is standardised
    for training by its mean and deviation over the training rows, and predictions are in the
    units of ``y``.

    Raises:
        ConfigError, DataError, UnknownModalityError: as ``FusionClassifier``; also for a
            value that is the same in every training row.

    Example:
        >>> from sklearn.datasets import load_diabetes
        >>> patients, progression = load_diabetes(return_X_y=True, as_frame=True)
        >>> columns = {"person": ["age", "sex", "bmi", "bp"], "serum": ["s[1-6]"]}
        >>> model = FusionRegressor(columns=columns, max_epochs=5, random_state=0)
        >>> model.fit(patients, progression).predict(patients[:3]).shape
        (3,)
    """

    def predict(self, X: Any) -> np.ndarray:
        """The values, in the shape that ``y`` had in training."""
        found = self._predict(X).astype(np.float64)
        return found[:, 0] if self._is_flat else found

    def _learn_target(self, y: Any) -> tuple[RawTarget, np.ndarray, tuple[str, ...]]:
        target = self._known_target(y)
        self._is_flat = target.values.ndim == 1
        if not self._is_flat:
            return target, np.zeros(len(target.values), int), ()
        return target, strata_of(target.values), ()

    def _known_target(self, y: Any) -> RawTarget:
        values = check_target(self, y, is_column_flat=False)
        return RawTarget(values.astype(np.float64), "regression")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
