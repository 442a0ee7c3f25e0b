"""The contract of an out-of-distribution score: fitted on training rows, higher is further out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.model import FusionModel, Output
from mmfuse.tokens import Tokens


class OODScore(ABC):
    """Base of all scores. **A higher score means more out of distribution**, for every one.

    ``fit`` takes training rows, and training rows alone: statistics of validation or test rows
    would let a score know the rows that it is measured on. A score that has nothing to learn
    takes ``fit`` all the same. Everything is computed in float64.

    A subclass writes ``score``, and ``learn`` where there is something to fit.

    Shape:
        features (n, D), the fused vectors; logits (n, K) with K of 2 or more; labels (n,) long,
        -1 where unknown -> (n,) float64
    """

    _width: int | None = None

    @property
    def learns(self) -> bool:
        """Whether there is something to fit, without which the score cannot be had."""
        return type(self).learn is not OODScore.learn

    def fit(self, features: Tensor, logits: Tensor, labels: Tensor) -> Self:
        """Learns from training rows what the score needs; never give validation or test rows.

        Raises:
            DataError: no rows, shapes that do not fit, NaN or infinity, or too little to learn.
        """
        features, logits = self._checked(features, logits)
        if not len(features):
            raise DataError(f"{type(self).__name__}: there are no training rows to fit.")
        if labels.shape != (len(features),):
            raise DataError(
                f"{type(self).__name__}: labels have shape {tuple(labels.shape)} for "
                f"{len(features)} rows; expected one class number a row, -1 where unknown."
            )
        self.learn(features, logits, labels.long())
        self._width = features.shape[1]
        return self

    def __call__(self, features: Tensor, logits: Tensor) -> Tensor:
        """One number a row; higher is more out of distribution.

        Raises:
            ConfigError: the score has not been fitted and needs to be.
            DataError: shapes that do not fit, or other than the fitted width; NaN or infinity.
        """
        features, logits = self._checked(features, logits)
        if self.learns and self._width is None:
            raise ConfigError(
                f"{type(self).__name__} has not been fitted. Call fit with the training rows."
            )
        if self._width not in (None, features.shape[1]):
            raise DataError(
                f"{type(self).__name__} was fitted on features of width {self._width}; these have "
                f"{features.shape[1]}."
            )
        return self.score(features, logits)

    def learn(self, features: Tensor, logits: Tensor, labels: Tensor) -> None:  # noqa: B027
        """What ``fit`` does, on checked values in float64; nothing by default."""

    @abstractmethod
    def score(self, features: Tensor, logits: Tensor) -> Tensor:
        """The mathematics, on checked values in float64."""

    def _checked(self, features: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        if features.dim() != 2 or logits.dim() != 2 or logits.shape[1] < 2:
            raise DataError(
                f"{type(self).__name__}: features have shape {tuple(features.shape)}, logits "
                f"{tuple(logits.shape)}; expected (n, D), and (n, K) with two classes or more."
            )
        self._require_rows(features, logits)
        if not (features.isfinite().all() and logits.isfinite().all()):
            raise DataError(f"{type(self).__name__}: features or logits hold NaN or infinity.")
        return features.detach().double(), logits.detach().double()

    def _require_rows(self, features: Tensor, logits: Tensor) -> None:
        if len(features) != len(logits):
            raise DataError(
                f"{type(self).__name__}: {len(features)} rows of features, {len(logits)} of "
                "logits; expected as many of both."
            )


@dataclass(frozen=True)
class Reading:
    """What a model made of one batch, for scores that look at more than vector and logits.

    Args:
        model: in eval mode.
        target: the target of classes that is read.
        batch: the rows.
        tokens: what the encoders gave.
        present: ``(B, M)`` bool in the model's order.
        output: what fusion and heads made of the tokens.
    """

    model: FusionModel
    target: str
    batch: Batch
    tokens: Mapping[str, Tokens]
    present: Tensor
    output: Output


class ReadingScore(OODScore):
    """Base of scores that are given other features or logits than the fused head's.

    ``evaluate_ood`` asks ``inputs`` for them, batch by batch, with tokens that are encoded
    already.
    """

    @abstractmethod
    def inputs(self, reading: Reading) -> tuple[Tensor, Tensor]:
        """The features and logits of a batch that ``fit`` and the call take."""


def class_logits(logits: Tensor) -> Tensor:
    """Scores of two classes or more: the one score of a binary target gets a zero beside it.

    Shape:
        logits (..., 1) -> (..., 2); other widths stay

    Example:
        >>> class_logits(torch.tensor([[3.0]]))
        tensor([[0., 3.]])
    """
    if logits.shape[-1] > 1:
        return logits
    return torch.cat([torch.zeros_like(logits), logits], dim=-1)
