"""ConcordanceIndex and IntegratedBrierScore: survival scores over an epoch, as torchmetrics."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mmfuse.survival import concordance, integrated_brier


class SurvivalMetric(Metric):
    """Keeps every row of the epoch, as a pair of rows may come in two batches.

    Shape:
        update(predictions, target): predictions (B, 1 + cuts), the risk and the survival curve
        as ``TargetSpec.predict`` gives them; target (B, 2), time and event, all known
    """

    is_differentiable = False
    full_state_update = False
    preds: list[Tensor]
    target: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("preds", default=[], dist_reduce_fx="cat")
        self.add_state("target", default=[], dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds rows."""
        self.preds.append(preds)
        self.target.append(target)

    def compute(self) -> Tensor:
        """The score of all rows so far."""
        preds, target = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        outcome = target.double().cpu().numpy()
        found = self._score(preds.float().cpu().numpy()[None], outcome[:, 0], outcome[:, 1] == 1)
        return torch.tensor(float(found[0, 0]), device=preds.device)

    @abstractmethod
    def _score(self, predicted: np.ndarray, time: np.ndarray, event: np.ndarray) -> np.ndarray:
        """The score ``(1, 1)`` of ``predicted`` (1, N, 1 + cuts)."""


class ConcordanceIndex(SurvivalMetric):
    """Harrell's concordance index of the risk; NaN without a comparable pair.

    See ``mmfuse.survival.concordance``.
    """

    higher_is_better = True

    def _score(self, predicted: np.ndarray, time: np.ndarray, event: np.ndarray) -> np.ndarray:
        return concordance(predicted[:, :, 0], time, event, np.ones((len(time), 1)))


class IntegratedBrierScore(SurvivalMetric):
    """Integrated Brier score of the curve under inverse probability of censoring weights.

    See ``mmfuse.survival.integrated_brier``.

    Args:
        at: the times at which the curve is scored, the first of those it is predicted at.
    """

    higher_is_better = False

    def __init__(self, at: Sequence[float]) -> None:
        super().__init__()
        self.at = np.array(at)

    def _score(self, predicted: np.ndarray, time: np.ndarray, event: np.ndarray) -> np.ndarray:
        curve = predicted[:, :, 1 : 1 + len(self.at)]
        return integrated_brier(curve, self.at, time, event, np.ones((len(time), 1)))
