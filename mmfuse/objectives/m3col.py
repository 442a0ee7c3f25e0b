"""M3CoL's two phases: contrast with mixed rows, then with soft targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.contrastive import (
    Pairs,
    SimilarTargets,
    SparseTargets,
    info_nce,
    pairs_of,
    unit,
)
from mmfuse.objectives.mixing import Mix, blend, blended, draw_mix, require_mixable
from mmfuse.objectives.pairwise import Pairwise, require_one_width, sides_of
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class M3CoLoss(Objective):
    """Mixup contrast: a blend of two rows is to find both of its parts in another modality.

    For each ordered pair of modalities (a, b), over the rows that have both, with a random
    permutation pi and shares l_i ~ Beta(alpha, alpha) with probability ``rate``, else 1::

        x~_i = l_i x_i + (1 - l_i) x_pi(i)          blended in a, as inputs or as embeddings
        S = Z~_a Z_b' / temperature                 rows of unit length
        P = l on the diagonal, plus 1 - l at (i, pi(i));  Q = P', its rows divided by their sums
        L_ab = 1/2 mean_i [ -sum_j P_ij log softmax(S)_ij - sum_j Q_ij log softmax(S')_ij ]

    With the second phase, ``MultiSClipLoss``, one head a modality (``UnimodalLoss``) and a
    concatenation it makes M3CoL. In evaluation nothing is mixed.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training; the first third by default.
        pairs: ``ring``, ``all`` (both ways), ``anchor:NAME``, or a list such as
            ``[[image, text]]``, in which the first is mixed.
        mix: ``input`` mixes what the encoder reads and encodes the mixed rows anew;
            ``embedding`` mixes mean tokens, which texts and categories allow too.
        temperature: of the scores.
        alpha: of the Beta distribution.
        rate: how likely a row is to be mixed.
        reference: leave two faults of the authors' code in: where pi(i) = i the share 1 - l_i
            stands in place of l_i, not beside it, and the rows of Q keep their sums.

    Raises:
        ConfigError: an alpha that is not above 0, a rate outside 0 to 1, a temperature that is
            not above 0, an unknown ``mix``; at ``build``: modalities of unequal width, fewer
            than two, or of a kind whose inputs cannot be mixed.
        UnknownModalityError: at ``build``, an unknown name among the pairs.

    Reference: Kumar, Singhal et al., "Harnessing Shared Relations via Multimodal Mixup
        Contrastive Learning for Multimodal Classification", TMLR 2025, arXiv:2409.17777; for the
        loss of one pair Scotti et al., "MindEye", NeurIPS 2023, arXiv:2305.18274.

    Departs from the authors' code: the two faults above; absent rows drop out of a pair; the
    losses of pairs are averaged; no mixing in evaluation.
    """

    def __init__(
        self,
        weight: float = 0.1,
        schedule: Schedule = (0.0, 0.33),
        pairs: Pairs = "ring",
        mix: Literal["input", "embedding"] = "embedding",
        temperature: float = 0.1,
        alpha: float = 0.15,
        rate: float = 0.5,
        reference: bool = False,
    ) -> None:
        super().__init__(weight, schedule)
        if mix not in ("input", "embedding"):
            raise ConfigError(f"mix is {mix!r}; expected 'input' or 'embedding'.")
        if not (temperature > 0 and alpha > 0 and 0 <= rate <= 1):
            raise ConfigError(
                f"M3CoLoss: temperature={temperature}, alpha={alpha}, rate={rate}; expected the "
                "first two above 0 and a rate from 0 to 1."
            )
        self.pairs, self.mix, self.reference = pairs, mix, reference
        self.scale, self.alpha, self.rate = 1 / temperature, alpha, rate

    def build(self, model: FusionModel) -> None:
        """Chooses the pairs; checks widths and that what is to be mixed can be."""
        self._pairs = pairs_of(model.modalities, self.pairs, ordered=True)
        self._modalities = list(dict.fromkeys(m for pair in self._pairs for m in pair))
        require_one_width("M3CoLoss", self._modalities, model)
        if self.mix == "input":
            for a, _ in self._pairs:
                require_mixable(a, model.spec.modalities[a], "M3CoLoss")

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """One loss a pair, each divided by the number of pairs."""
        sides = sides_of(self._modalities, model, batch, tokens)
        losses = {}
        for a, b in self._pairs:
            both = sides[a].present & sides[b].present
            x, targets = sides[a].vectors, None
            if self.training:
                mix = draw_mix(both, self.alpha, self.rate)
                if a in tokens:
                    x = unit(self._mixed(a, model, batch, tokens[a].pooled(), mix))
                targets = self._targets(mix, x.dtype)
            loss = info_nce(x, sides[b].vectors, self.scale, valid=both, targets=targets)
            losses[f"{a}_{b}"] = loss / len(self._pairs)
        return losses

    def _mixed(
        self, modality: str, model: FusionModel, batch: Batch, plain: Tensor, mix: Mix
    ) -> Tensor:
        if self.mix == "embedding":
            return blended(plain, plain[mix.partner], mix.share)
        rows = mix.changed.nonzero().squeeze(1)
        if not len(rows):
            return plain
        inputs = blend(batch.inputs[modality], mix, rows)
        here = torch.ones_like(rows, dtype=torch.bool).unsqueeze(1)
        encoded = model.encode(Batch((modality,), {modality: inputs}, here))[modality].pooled()
        return plain.index_copy(0, rows, encoded)

    def _targets(self, mix: Mix, dtype: torch.dtype) -> SparseTargets:
        own = torch.arange(len(mix.partner), device=mix.partner.device)
        share = mix.share.to(dtype)
        kept = share * (mix.partner != own) if self.reference else share
        columns, weights = torch.stack([own, mix.partner], 1), torch.stack([kept, 1 - share], 1)
        return SparseTargets(columns, weights, normalised=not self.reference)


class MultiSClipLoss(Pairwise):
    """Soft contrast: rows are to find each other as far as the other modality thinks them alike.

    For each ordered pair of modalities (a, b), over the rows that have both, with vectors of
    unit length::

        S = Z_a Z_b' / temperature,   P = softmax(Z_b Z_b' / temperature)
        L_ab = 1/2 mean_i [ -sum_j P_ij log softmax(S)_ij - sum_j P_ij log softmax(S')_ij ]

    Gradients flow through P as well. The second phase of M3CoL, after ``M3CoLoss``.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training; the last two thirds by default.
        pairs: ``ring``, ``all`` (both ways), ``anchor:NAME``, or a list such as
            ``[[image, text]]``; the second modality of a pair says who is alike.
        temperature: of the scores and of the targets.

    Raises:
        ConfigError: a temperature that is not above 0; at ``build``: modalities of unequal width
            or fewer than two.
        UnknownModalityError: at ``build``, an unknown name among the pairs.

    Reference: Kumar, Singhal et al., "Harnessing Shared Relations via Multimodal Mixup
        Contrastive Learning for Multimodal Classification", TMLR 2025, arXiv:2409.17777; for the
        loss of one pair Scotti et al., "MindEye", NeurIPS 2023, arXiv:2305.18274.

    Departs from the authors' code: absent rows drop out of a pair; the losses of pairs are
    averaged.
    """

    is_ordered = True

    def __init__(
        self,
        weight: float = 0.1,
        schedule: Schedule = (0.33, 1.0),
        pairs: Pairs = "ring",
        temperature: float = 0.125,
    ) -> None:
        super().__init__(weight, schedule, pairs)
        if not temperature > 0:
            raise ConfigError(f"temperature is {temperature}; expected a number above 0.")
        self.scale = 1 / temperature

    def compare(self, x: Tensor, y: Tensor, valid: Tensor, group: Tensor | None = None) -> Tensor:
        """InfoNCE with soft targets over the rows that have both."""
        targets = SimilarTargets(y, scale=self.scale)
        return info_nce(x, y, self.scale, valid=valid, group=group, targets=targets)
