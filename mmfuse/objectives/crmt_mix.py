"""CRMT with mixed rows: two rows' modalities blended by one share, and the margin between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.crmt import ENOUGH, class_targets, require_votes, row_weights
from mmfuse.objectives.mixing import Mix, blend, draw_mix
from mmfuse.objectives.supervised import targets_of
from mmfuse.objectives.target_loss import weighted_mean
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class CRMTMixMargin(Objective):
    """Cross-entropy and unimodal margins of mixed rows (CRMT's mixup variant).

    The tokens of all modalities of rows i and pi(i) are blended with one share l ~ Beta(alpha,
    alpha). With y and y' their labels and s^(m) the scores of the blend in modality m alone::

        L_ce     = l CE(h, y) + (1 - l) CE(h, y')
        L_margin = log( 1e-5 + sum_{m in both} sum_{k not in {y, y'}} exp(s_k^(m) - t^(m)) )
        t^(m)    = l s_y^(m) + (1 - l) s_y'^(m)

    A row's margin counts l w_y + (1 - l) w_y', w being one over a class's share of the training
    rows, for the reason told in ``CRMTMargin``; class weights of the target count in L_ce. A
    modality takes part where both rows have it. In evaluation nothing is mixed: l = 1.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        margin: how much L_margin counts beside L_ce; the authors' rho.
        alpha: of the Beta distribution.
        balanced: False counts margins by the target's class weights too, or all alike.

    Raises:
        ConfigError: an alpha that is not above 0, or a margin below 0; at ``build``, a fusion
            without votes, or no target whose classes exclude each other.

    Reference: Yang, Wei et al., "Quantifying and Enhancing Multi-modal Robustness with Modality
        Preference", ICLR 2024, arXiv:2402.06244; Zhang et al., "mixup: Beyond Empirical Risk
        Minimization", ICLR 2018, arXiv:1710.09412.

    Departs from the authors' code: margins of all classes count alike; tokens are blended, not
    inputs, which texts and categories allow too; differences of scores stand in the exponents,
    where theirs subtracts plain scores from sums of exponentials and can take the logarithm of a
    negative number.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        margin: float = 2.0,
        alpha: float = 1.0,
        balanced: bool = True,
    ) -> None:
        super().__init__(weight, schedule)
        if not (alpha > 0 and 0 <= margin < math.inf):
            raise ConfigError(
                f"CRMTMixMargin: alpha={alpha}, margin={margin}; expected an alpha above 0 and a "
                "margin of 0 or more."
            )
        self.margin, self.alpha, self.balanced = margin, alpha, balanced

    def build(self, model: FusionModel) -> None:
        """Checks that each modality has scores of its own."""
        require_votes(model, type(self).__name__)
        self._targets = class_targets(model, type(self).__name__)
        self.rows = row_weights(model, self._targets, balanced=False)
        self.margin_rows = row_weights(model, self._targets, self.balanced)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """A cross-entropy and a margin for each target with classes, divided by their number."""
        targets, losses = targets_of(batch, model), {}
        for name in self._targets:
            label = targets[name]
            mix = self._drawn(label >= 0)
            mixed, present = self._mixed(model, batch, tokens, mix)
            fused = model.fuse(mixed, present)
            votes, weights = fused.votes, fused.weights
            assert votes is not None
            assert weights is not None
            spec = model.spec.targets[name]
            alone = spec.class_scores(model.heads[name](votes))
            joint = spec.class_scores(model.read(fused, present).logits[name])
            # A row without a label keeps to itself, and weighs nothing.
            share = mix.share.to(joint.dtype)
            both = torch.stack([label, label[mix.partner]])
            parts = torch.stack([share, 1 - share]) * (weights > 0).any(dim=1)
            known = both.clamp(min=0)
            twice = joint.expand(2, -1, -1).flatten(0, 1)
            ce = F.cross_entropy(twice, known.flatten(), reduction="none").view_as(parts)
            terms = mixed_terms(alone, known[0], known[1], share, weights > 0)
            of_ce, of_margin = (parts * rows[name](both) for rows in (self.rows, self.margin_rows))
            count = len(self._targets)
            losses[f"{name}_ce"] = weighted_mean(ce, of_ce) / count
            margin = weighted_mean(terms, of_margin.sum(dim=0))
            losses[f"{name}_margin"] = self.margin * margin / count
        return losses

    def _drawn(self, valid: Tensor) -> Mix:
        """One share for all rows; rows without a label keep to themselves."""
        if not self.training:
            own = torch.arange(len(valid), device=valid.device)
            return Mix(own, torch.ones(len(valid), device=valid.device))
        partner = draw_mix(valid, self.alpha, rate=1.0).partner
        both = torch.full((2,), self.alpha, device=valid.device)
        share = torch.distributions.Dirichlet(both, validate_args=False).sample()[0]
        return Mix(partner, torch.where(valid, share, 1.0))

    def _mixed(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], mix: Mix
    ) -> tuple[dict[str, Tokens], Tensor]:
        present = model.present(batch)
        both = present & present[mix.partner]
        every = torch.arange(len(batch), device=present.device)
        mixed = {}
        for m, t in tokens.items():
            # Blank first: what stands in absent slots must not meet a partner's numbers.
            kept = t.keep(present[:, model.modalities.index(m)])
            blended = blend(kept, mix, every)
            assert isinstance(blended, Tokens)
            mixed[m] = blended
        return mixed, both


def mixed_terms(
    scores: Tensor, label: Tensor, other: Tensor, share: Tensor, present: Tensor
) -> Tensor:
    """The margin term of mixed rows, ``(B,)``.

    Shape:
        scores (B, M, K), label and other (B,) class numbers, share (B,), present (B, M) -> (B,)
    """
    places = [y.view(-1, 1, 1).expand(-1, scores.shape[1], 1) for y in (label, other)]
    first, second = (scores.gather(2, p) for p in places)
    part = share.view(-1, 1, 1)
    gap = scores - (part * first + (1 - part) * second)
    is_own = torch.zeros_like(gap, dtype=torch.bool)
    for place in places:
        is_own = is_own.scatter(2, place, True)
    gap = gap.masked_fill(is_own | ~present.unsqueeze(-1), -torch.inf).flatten(1)
    enough = gap.new_full((len(gap), 1), math.log(ENOUGH))
    return torch.cat([gap, enough], dim=1).logsumexp(dim=1)
