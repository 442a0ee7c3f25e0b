"""TargetSpec: what a target is, how many scores a head gives it, and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfuse.errors import ConfigError, DataError

TargetKind = Literal["binary", "multiclass", "multilabel", "regression", "survival"]


@dataclass(frozen=True)
class TargetSpec:
    """What one target looks like.

    Args:
        kind: ``binary`` (labels 0 and 1), ``multiclass`` (0..K-1), ``multilabel`` (several
            0/1 labels a row), ``regression``, or ``survival`` (a time and whether the event
            came then; otherwise the row was last seen at that time, without it).
        classes: class names, in label order; for multilabel the labels' names.
        weights: one weight a class for the loss, empty for none; for multilabel the weight
            of each label's positives.
        width: number of values a row, for regression.
        mean: training mean for regression targets, which are standardised inside the loss.
        std: training standard deviation for regression.
        shares: of each class among the labelled training rows, empty where nobody counted. They
            say what rows there were, not what the target is: specs that differ in them are equal.
        cuts: for survival where each time bin ends, ascending; the model is one of discrete
            hazards, a logit a bin. Empty is Cox's model, whose one score is the log hazard
            ratio.

    Raises:
        DataError: cuts that do not ascend from above zero, or of another kind than survival.

    Example:
        >>> TargetSpec("survival", cuts=(12.0, 24.5)).outputs
        ('risk', 'survival_12', 'survival_24.5')
    """

    kind: TargetKind
    classes: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    width: int = 1
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    cuts: tuple[float, ...] = ()
    shares: tuple[float, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        ends = (0.0, *self.cuts)
        if any(not a < b < inf for a, b in pairwise(ends)) or (
            self.cuts and self.kind != "survival"
        ):
            raise DataError(
                f"A {self.kind} target has the cuts {self.cuts}. Time bins end at ascending times "
                "above zero, and only a survival target has them."
            )

    @property
    def out_dim(self) -> int:
        """How many scores a head gives: 1 for binary, K, the labels, the values or the bins."""
        if self.kind == "binary":
            return 1
        if self.kind == "survival":
            return max(len(self.cuts), 1)
        return self.width if self.kind == "regression" else len(self.classes)

    @property
    def is_classification(self) -> bool:
        """Whether the target is made of classes."""
        return self.kind in ("binary", "multiclass", "multilabel")

    @property
    def is_cox(self) -> bool:
        """Whether it is a survival target under Cox's model, which has no curve of its own."""
        return self.kind == "survival" and not self.cuts

    @property
    def outputs(self) -> tuple[str, ...]:
        """What each column of ``predict`` is called: a class, a value, the risk or a survival."""
        if self.kind == "survival":
            # The shortest decimals that tell a float32 from its neighbours.
            ends = (np.format_float_positional(np.float32(c), trim="-") for c in self.cuts)
            return ("risk", *(f"survival_{end}" for end in ends))
        if self.kind == "regression":
            return tuple(map(str, range(self.width)))
        return self.classes or (("0", "1") if self.kind == "binary" else ())

    def class_scores(self, logits: Tensor) -> Tensor:
        """One score a class, the highest of which is the prediction.

        The one logit s of a binary target stands for the scores 0 and s.

        Shape:
            logits (..., out_dim) -> (..., K), K = 2 for binary

        Raises:
            ConfigError: a target that does not choose one of several classes.
        """
        if self.kind == "multiclass":
            return logits
        if self.kind == "binary":
            return torch.cat([torch.zeros_like(logits), logits], dim=-1)
        raise ConfigError(
            f"A {self.kind} target has no scores of classes that exclude each other. Choose a "
            "binary or multiclass target."
        )

    def predict(self, logits: Tensor) -> Tensor:
        """Turns scores into what a person reads: probabilities, or values in target units.

        For survival the risk and then the probability to be without the event at each cut::

            S_k = prod_{u <= k} (1 - h_u),  h = sigmoid(logits),  risk = mean_k (1 - S_k)

        so that the risk lies between 0 and 1 and ranks as minus the sum of the S_k does.
        Cox's risk is the log hazard ratio itself, and it has no curve: its baseline hazard is
        no part of the model.

        In float32 at least, as a year or a price rounded to bfloat16 would be another one.

        Shape:
            logits (..., out_dim) -> probabilities (..., K) with two columns for binary,
            (..., L) for multilabel, values (..., width) for regression, risk and survival
            (..., 1 + cuts) for survival.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.kind == "binary":
            positive = logits.sigmoid()
            return torch.cat([1 - positive, positive], dim=-1)
        if self.kind == "multiclass":
            return logits.softmax(dim=-1)
        if self.kind == "multilabel":
            return logits.sigmoid()
        if self.kind == "survival":
            if self.is_cox:
                return logits
            survival = F.logsigmoid(-logits).cumsum(dim=-1).exp()
            return torch.cat([1 - survival.mean(dim=-1, keepdim=True), survival], dim=-1)
        return logits * logits.new_tensor(self.std or 1.0) + logits.new_tensor(self.mean or 0.0)
