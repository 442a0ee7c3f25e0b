"""FusionSurvival: a multimodal model of times until an event, with scikit-learn's methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmfuse.data.groups import Groups
from mmfuse.data.prepare import MissingCells
from mmfuse.data.survival import Survival, event_strata, outcomes_of
from mmfuse.data.targets import RawTarget
from mmfuse.encoder import Encoder
from mmfuse.errors import DataError
from mmfuse.fusion.base import Fusion
from mmfuse.missing import Missingness
from mmfuse.objectives import Objective
from mmfuse.sklearn.estimator import FusionEstimator
from mmfuse.spec import ModalitySpec
from mmfuse.survival import concordance


class FusionSurvival(FusionEstimator):
    """A multimodal model of times until an event, with scikit-learn's methods.

    ``X``, the arguments and the attributes are those of ``FusionClassifier``, without
    ``classes_``. ``y`` has a time and an event a row: an array ``(N, 2)``, or a structured
    array with one field of booleans (the event) and one of numbers (the time), as
    scikit-survival's ``Surv`` makes them.

    Args:
        survival_bins: time bins whose hazards the model learns; 0 for Cox's model, which
            takes a ``batch_size`` that holds a score of events.

    Attributes:
        cuts_: ``(K,)`` the times at which the survival curve is predicted.

    Raises:
        ConfigError, DataError, UnknownModalityError: as ``FusionClassifier``; also where no
            row has an event.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> X = {"a": draw.normal(size=(200, 2)), "b": draw.normal(size=(200, 3))}
        >>> time = draw.exponential(np.exp(-X["a"][:, 0]))
        >>> y = np.stack([time, draw.random(200) < 0.7], axis=1)
        >>> model = FusionSurvival(max_epochs=20, learning_rate=1e-2, random_state=0).fit(X, y)
        >>> model.predict_survival_function(X).shape, model.score(X, y) > 0.6
        ((200, 4), True)
    """

    cuts_: np.ndarray

    def __init__(
        self,
        fusion: str | Callable[[dict[str, int]], Fusion] | Mapping[str, Any] = "SequentialFusion",
        encoders: Mapping[str, str | Callable[[ModalitySpec], Encoder] | Mapping[str, Any]]
        | None = None,
        columns: Groups | None = None,
        objectives: list[Objective] | None = None,
        max_epochs: int = 50,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-2,
        modality_dropout: float = 0.0,
        missing: Missingness | None = None,
        missing_cells: MissingCells = "error",
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        accelerator: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
        survival_bins: int = 4,
    ) -> None:
        super().__init__(
            fusion,
            encoders,
            columns,
            objectives,
            max_epochs,
            batch_size,
            learning_rate,
            weight_decay,
            modality_dropout,
            missing,
            missing_cells,
            validation_fraction,
            n_iter_no_change,
            accelerator,
            random_state,
            verbose,
        )
        self.survival_bins = survival_bins

    def fit(self, X: Any, y: Any) -> FusionSurvival:
        """Trains a new model; see ``FusionEstimator.fit``."""
        super().fit(X, y)
        self.cuts_ = np.array(self._target_spec.cuts)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Each row's risk ``(N,)``, higher where the event comes earlier."""
        return self._predict(X)[:, 0].astype(np.float64)

    def predict_survival_function(self, X: Any) -> np.ndarray:
        """The chance that the event comes after each of ``cuts_``, ``(N, K)``.

        Raises:
            DataError: the model is Cox's, which has no curve.
        """
        found = self._predict(X)
        if self._target_spec.is_cox:
            raise DataError(
                "Cox's model has no survival curve. Fit with survival_bins above 0, or use predict."
            )
        return found[:, 1:].astype(np.float64)

    def score(self, X: Any, y: Any) -> float:
        """Harrell's concordance index of the risks."""
        outcome = self._outcomes(y).astype(np.float64)
        risk = self.predict(X)
        if len(risk) != len(outcome):
            raise DataError(f"X has {len(risk)} rows, y has {len(outcome)}. Give one y for each.")
        ones = np.ones((len(risk), 1))
        return concordance(risk[None], outcome[:, 0], outcome[:, 1] == 1, ones).item()

    def _learn_target(self, y: Any) -> tuple[RawTarget, np.ndarray, tuple[str, ...]]:
        target = self._known_target(y)
        return target, event_strata(target.values), ()

    def _known_target(self, y: Any) -> RawTarget:
        return RawTarget(self._outcomes(y), "survival")

    def _outcomes(self, y: Any) -> np.ndarray:
        """Times and events of ``y``, all known."""
        if y is None:
            raise DataError(f"{type(self).__name__} requires y to be passed; found None.")
        found = outcomes_of("y", _pairs(y))
        if gaps := int(np.isnan(found).any(axis=1).sum()):
            raise DataError(f"y has {gaps} rows without an outcome. Leave them out.")
        return found


def _pairs(y: Any) -> np.ndarray:
    if isinstance(y, Survival):
        return y.pairs("y")
    values = np.asarray(y)
    if values.dtype.names is None:
        return values.astype(np.float64)
    flags = [n for n in values.dtype.names if values.dtype[n].kind == "b"]
    times = [n for n in values.dtype.names if values.dtype[n].kind in "iuf"]
    if len(flags) != 1 or len(times) != 1:
        raise DataError(
            f"y has the fields {values.dtype}; expected one of booleans (the event) and one of "
            "numbers (the time)."
        )
    return np.stack([values[times[0]], values[flags[0]]], axis=1).astype(np.float64)
