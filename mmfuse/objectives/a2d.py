"""A2D: a head for each modality, which agree on the true class and disagree on all others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.disagreement import (
    Distance,
    check_distance,
    disagreement,
    unimodal_logits,
)
from mmfuse.objectives.pairwise import chosen_class_target, labels_of
from mmfuse.objectives.supervised import UnimodalLoss
from mmfuse.objectives.target_loss import weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class A2D(UnimodalLoss):
    """Agree to disagree: unimodal heads learn the class, and differ in what else they consider.

    It is ``UnimodalLoss`` and one loss more, ``a2d``. From the scores s_m of each modality's
    head the true class y is left out; over the labelled rows with two modalities or more, and
    over the pairs (m, n) of modalities that a row has::

        L = -ratio mean_rows mean_pairs d(softmax(s_m without y), softmax(s_n without y))

    so that rows of unknown classes make the modalities contradict each other. **The heads alone
    may be what helps**: compare with ``UnimodalLoss`` in its place, which is ``ratio=0``.

    Args:
        weight: factor in the sum of objectives, of the heads' losses too.
        schedule: how the factor moves over training.
        hidden: width of the heads' hidden layer; 0 makes them linear maps.
        ratio: factor of the disagreement against the sum of the heads' losses.
        distance: d, as in ``mmfuse.objectives.disagreement.distance``.
        target: the target of classes; None where there is one only. The heads learn all.

    Raises:
        ConfigError: an unknown distance, a ratio below zero or without bound; at ``build``: one
            modality alone, no target of classes or several and none named, or fewer than three
            classes, as two leave one when the true one is left out.

    Reference: Dong et al., "MultiOOD: Scaling out-of-distribution detection for multiple
        modalities", NeurIPS 2024, arXiv:2405.17419.

    Departs from the authors' code: any number of modalities, absent ones left out; losses are
    summed, where theirs are divided by one more than there are modalities (M), so that their
    ratio r is r (M + 1) here; roots of probabilities are exact, not of values cut off at 1e-6;
    ``l1`` and ``l2`` are norms, not means over classes; ``wasserstein`` is one, where theirs is
    the distance to the nearest row of the other modality in the batch.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        hidden: int = 0,
        ratio: float = 1.0,
        distance: Distance = "hellinger",
        target: str | None = None,
    ) -> None:
        super().__init__(weight, schedule, hidden)
        check_distance(type(self).__name__, distance)
        require_ratios(type(self).__name__, ratio=ratio)
        self.ratio, self.distance, self.target = ratio, distance, target

    def build(self, model: FusionModel) -> None:
        """Makes the heads, and checks that there is something to disagree on."""
        name = type(self).__name__
        self._target = chosen_class_target(name, self.target, model)
        classes = model.spec.targets[self._target].out_dim
        if classes < 3 or len(model.modalities) < 2:
            raise ConfigError(
                f"{name} needs three classes and two modalities or more; target "
                f"{self._target!r} has {max(classes, 2)}, the model reads "
                f"{list(model.modalities)}. Take UnimodalLoss."
            )
        super().build(model)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a modality as ``UnimodalLoss``, and ``a2d``."""
        losses = super().forward(model, batch, tokens, output)
        said, present = unimodal_logits(self, self._target, model, batch, tokens)
        labels = labels_of(batch, model, self._target)
        apart, has_pair = disagreement(without(said, labels.clamp(min=0)), present, self.distance)
        counted = (has_pair & (labels >= 0)).to(apart.dtype)
        return losses | {"a2d": -self.ratio * weighted_mean(apart, counted)}


def without(logits: Tensor, label: Tensor) -> Tensor:
    """The scores of all classes but each row's own.

    Shape:
        logits (B, M, K), label (B,) from 0 to K - 1 -> (B, M, K - 1)
    """
    count = logits.shape[-1] - 1
    others = torch.arange(count, device=logits.device)
    others = others + (others >= label.unsqueeze(1))
    return logits.gather(2, others.unsqueeze(1).expand(-1, logits.shape[1], -1))


def require_ratios(who: str, **ratios: float) -> None:
    """Checks factors of losses.

    Raises:
        ConfigError: one below zero or without bound.
    """
    if wrong := {n: r for n, r in ratios.items() if not 0 <= r < float("inf")}:
        raise ConfigError(f"{who}: {wrong}; expected finite numbers of 0 or more.")
