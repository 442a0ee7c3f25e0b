"""CRMT's step 1: in every modality the label's score is to stand above all others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.row_weights import RowWeights
from mmfuse.objectives.supervised import targets_of
from mmfuse.objectives.target_loss import weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output

#: What the authors add inside the logarithm: below it a margin is large enough.
ENOUGH = 1e-5


class CRMTMargin(Objective):
    """Unimodal margins for robustness (CRMT, step 1).

    With s^(m) the scores that modality m gives alone, over the modalities a row has, and w_y one
    over the share of class y among the training rows::

        l = log( 1e-5 + sum_{m present} sum_{k != y} exp(s_k^(m) - s_y^(m)) )
        L = sum_rows w_y l / sum_rows w_y

    Add it to ``SupervisedLoss`` with a late fusion. With ``CRMTFusion`` the radius within which no
    attack succeeds grows with these margins. Note that it also makes cross-entropy so small that
    attacks which climb its gradient stall: judge such a model by attacks on the margin alone.
    As it trains each modality by itself, compare it with ``UnimodalLoss`` too.

    **Why classes count alike.** l falls in proportion to the margin until that is beyond
    -log 1e-5 = 11.5. Like any hinge it asks which class is likelier, not by how much: a modality
    that tells little would name the class with most rows, at full margin, in every row, and
    nothing would be left of what it does tell. With w_y it learns what it adds to the classes'
    shares, and those are for the head's bias, which holds when modalities are absent.

    Args:
        weight: factor in the sum of objectives; the authors' rho.
        schedule: how the factor moves over training.
        balanced: False counts rows as ``SupervisedLoss`` does, by the target's class weights if it
            has any; without them that is the published form. Where classes have equal shares, or
            a target does not know its shares, both are the same.

    Raises:
        ConfigError: at ``build``, a fusion without votes, or no target whose classes exclude each
            other.

    Reference: Yang, Wei et al., "Quantifying and Enhancing Multi-modal Robustness with Modality
        Preference", ICLR 2024, arXiv:2402.06244.

    Departs from the authors' code: classes count alike; the differences are added in the
    logarithm's domain, so that large scores do not overflow; absent modalities add nothing.
    """

    def __init__(
        self, weight: float = 2.0, schedule: Schedule = "constant", balanced: bool = True
    ) -> None:
        super().__init__(weight, schedule)
        self.balanced = balanced

    def build(self, model: FusionModel) -> None:
        """Checks that each modality has scores of its own."""
        require_votes(model, type(self).__name__)
        self._targets = class_targets(model, type(self).__name__)
        self.rows = row_weights(model, self._targets, self.balanced)

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
            label = targets[name]
            loss = margin_loss(scores, label, weights > 0, self.rows[name](label))
            losses[name] = loss / len(self._targets)
        return losses


def margin_loss(scores: Tensor, label: Tensor, present: Tensor, weight: Tensor) -> Tensor:
    """Mean of ``margin_terms`` under ``weight`` over the rows that have a modality.

    Shape:
        scores (B, M, K), label (B,), present (B, M), weight (B,), zero without a label -> ()
    """
    terms = margin_terms(scores, label.clamp(min=0), present)
    return weighted_mean(terms, weight.to(terms.dtype) * present.any(dim=1))


def row_weights(model: FusionModel, targets: list[str], balanced: bool) -> nn.ModuleDict:
    """For each of some targets how much a row counts."""
    return nn.ModuleDict({t: RowWeights(model.spec.targets[t], balanced) for t in targets})


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
