"""CRMT's step 1: in every modality the label's score is to stand above all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.supervised import targets_of
from mmfuse.objectives.target_loss import weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output

#: What the authors add inside the logarithm: below it a margin is large enough.
ENOUGH = 1e-5


class CRMTMargin(Objective):
    """Unimodal margins for robustness (CRMT, step 1).

    With s^(m) the scores that modality m gives alone, over the modalities a row has::

        L = mean_rows log( 1e-5 + sum_{m present} sum_{k != y} exp(s_k^(m) - s_y^(m)) )

    Add it to ``SupervisedLoss`` with a late fusion. With ``CRMTFusion`` the radius within which no
    attack succeeds grows with these margins. Note that it also makes cross-entropy so small that
    attacks which climb its gradient stall: judge such a model by attacks on the margin alone.
    As it trains each modality by itself, compare it with ``UnimodalLoss`` too. Scores of single
    modalities have no bias and all rows count alike: where one class has most rows it may end up
    naming that class alone (see experiments/absence).

    Args:
        weight: factor in the sum of objectives; the authors' rho.
        schedule: how the factor moves over training.

    Raises:
        ConfigError: at ``build``, a fusion without votes, or no target whose classes exclude each
            other.

    Reference: Yang, Wei et al., "Quantifying and Enhancing Multi-modal Robustness with Modality
        Preference", ICLR 2024, arXiv:2402.06244.

    Departs from the authors' code: the differences are added in the logarithm's domain, so that
    large scores do not overflow; absent modalities add nothing.
    """

    def __init__(self, weight: float = 2.0, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def build(self, model: FusionModel) -> None:
        """Checks that each modality has scores of its own."""
        require_votes(model, type(self).__name__)
        self._targets = class_targets(model, type(self).__name__)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a target with classes, each divided by their number."""
        votes, weights = output.fused.votes, output.fused.weights
        assert votes is not None
        assert weights is not None
        targets, losses = targets_of(batch, model), {}
        for name in self._targets:
            scores = model.spec.targets[name].class_scores(model.heads[name](votes))
            losses[name] = margin_loss(scores, targets[name], weights > 0) / len(self._targets)
        return losses


def margin_loss(scores: Tensor, label: Tensor, present: Tensor) -> Tensor:
    """Mean of ``margin_terms`` over the rows that have a label and a modality.

    Shape:
        scores (B, M, K), label (B,), present (B, M) -> ()
    """
    counted = (label >= 0) & present.any(dim=1)
    terms = margin_terms(scores, label.clamp(min=0), present)
    return weighted_mean(terms, counted.to(terms.dtype))


def margin_terms(scores: Tensor, label: Tensor, present: Tensor) -> Tensor:
    """Of each row the logarithm of 1e-5 and all differences' exponentials, ``(B,)``.

    Shape:
        scores (B, M, K), label (B,) class numbers, present (B, M) -> (B,)

    Example:
        >>> scores = torch.tensor([[[2.0, 0.0]]])
        >>> margin_terms(scores, torch.tensor([0]), torch.tensor([[True]])).exp()
        tensor([0.1353])
    """
    place = label.view(-1, 1, 1).expand(-1, scores.shape[1], 1)
    gap = scores - scores.gather(2, place)
    is_own = torch.zeros_like(gap, dtype=torch.bool).scatter(2, place, True)
    gap = gap.masked_fill(is_own | ~present.unsqueeze(-1), -torch.inf).flatten(1)
    enough = gap.new_full((len(gap), 1), math.log(ENOUGH))
    return torch.cat([gap, enough], dim=1).logsumexp(dim=1)


def require_votes(model: FusionModel, objective: str) -> None:
    """Checks that a model's heads read each modality alone.

    Raises:
        ConfigError: they do not.
    """
    if not model.fusion.is_late:
        raise ConfigError(
            f"{objective} compares what each modality says alone; {type(model.fusion).__name__} "
            "joins them before any head. Use a late fusion, such as CRMTFusion."
        )


def class_targets(model: FusionModel, objective: str) -> list[str]:
    """The targets that choose one of several classes.

    Raises:
        ConfigError: there is none.
    """
    found = [t for t, s in model.spec.targets.items() if s.kind in ("binary", "multiclass")]
    if not found:
        kinds = sorted({s.kind for s in model.spec.targets.values()}) or "none"
        raise ConfigError(
            f"{objective} needs a target whose classes exclude each other; the model's targets "
            f"are {kinds}. Leave the objective out."
        )
    return found
