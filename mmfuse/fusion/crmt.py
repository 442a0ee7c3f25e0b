"""CRMT's late fusion: orthonormal class rows for each modality, and positive weights to add up."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, LateFusion
from mmfuse.orthonormal import orthonormal
from mmfuse.spec import TargetSpec


class CRMTHead(nn.Module):
    """Scores of each modality alone, and the positive weights with which they add up.

    Args:
        modalities: how many, M.
        width: of a vote, D.
        classes: how many scores, K; at most D.
        start: each weight at the beginning.
        floor: what a weight stays above, at least.

    Shape:
        votes (..., M, D) -> scores (..., M, K)

    Raises:
        ConfigError: more classes than D, or not 0 < floor < start.
    """

    def __init__(
        self, modalities: int, width: int, classes: int, start: float = 0.1, floor: float = 0.01
    ) -> None:
        super().__init__()
        if classes > width:
            raise ConfigError(
                f"CRMTFusion: a target has {classes} classes, and votes of width {width} have no "
                f"more than {width} orthonormal rows. Set out_dim to {classes} or more."
            )
        if not 0 < floor < start:
            raise ConfigError(
                f"CRMTFusion: start is {start} and floor is {floor}; expected 0 < floor < start."
            )
        self.floor = floor
        self.raw_rows = nn.Parameter(torch.randn(modalities, classes, width))
        above = math.log(math.expm1(start - floor))
        self.raw_weights = nn.Parameter(torch.full((modalities, classes), above))
        self.bias = nn.Parameter(torch.zeros(classes))

    @property
    def rows(self) -> Tensor:
        """``(M, K, D)``, each modality's rows orthonormal."""
        return orthonormal(self.raw_rows)

    @property
    def weights(self) -> Tensor:
        """``(M, K)`` of each modality for each class, above ``floor``."""
        return self.floor + F.softplus(self.raw_weights)

    def forward(self, votes: Tensor) -> Tensor:
        """What each modality says alone; an absent one's vote is zero and so are its scores."""
        return torch.einsum("...md,mkd->...mk", votes, self.rows)

    def integrate(self, scores: Tensor, present: Tensor) -> Tensor:
        """``(B, M, K)`` scores of the modalities that are ``present`` (B, M), added up: (B, K)."""
        weighted = (self.weights * scores).masked_fill(~present.unsqueeze(-1), 0)
        return weighted.sum(dim=-2) + self.bias


class CRMTFusion(LateFusion):
    """Late fusion whose margins tell how far an attack must reach (CRMT).

    With v_m a modality's vote, W^(m) its class rows, which are orthonormal, and a^(m) > 0 its
    weights, one for each class::

        s^(m) = W^(m) v_m
        h     = sum_{m present} a^(m) * s^(m) + b

    so that h_y - h_j changes no faster with v_m than ``| a_y^(m) w_y^(m) - a_j^(m) w_j^(m) |``:
    see ``mmfuse.robustness.radii``. Train it with ``CRMTMargin`` (step 1), then its weights alone
    with ``CRMTWeightsTask`` (step 2). A row with nothing present gets b.

    A vote is the mean token itself where its width is ``out_dim``, else a linear map of it. As
    published, s^(m) has no bias of its own: with that map's, W^(m) reaches any. What is constant
    in s^(m) counts in the margins and in no gradient, so that radii hold with it.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of a vote; at least the number of a target's scores.
        start: each weight a at the beginning.
        floor: what weights stay above, at least.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), votes (B, M, D)

    Raises:
        ConfigError: not 0 < floor < start; from the model, a target with more scores than D.

    Reference: Yang, Wei et al., "Quantifying and Enhancing Multi-modal Robustness with Modality
        Preference", ICLR 2024, arXiv:2402.06244.

    Departs from the authors' code: rows really are orthonormal, theirs are centred and of length
    1 only; weights cannot become negative, without which there is no radius; absent modalities
    add nothing.
    """

    head_class = CRMTHead

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        start: float = 0.1,
        floor: float = 0.01,
    ) -> None:
        super().__init__(dims, out_dim, hidden=0)
        if not 0 < floor < start:
            raise ConfigError(
                f"CRMTFusion: start is {start} and floor is {floor}; expected 0 < floor < start."
            )
        self.start, self.floor = start, floor
        for m, d in dims.items():
            if d == out_dim:
                self.vote[m] = nn.Identity()

    def head(self, target: TargetSpec) -> nn.Module:
        """Orthonormal class rows for each modality, weights and one bias."""
        return CRMTHead(len(self.dims), self.out_dim, target.out_dim, self.start, self.floor)

    def read(self, head: nn.Module, fused: Fused, present: Tensor, target: TargetSpec) -> Tensor:
        """The weighted sum of what the present modalities say, ``(B, K)``."""
        assert isinstance(head, CRMTHead)
        assert fused.votes is not None
        assert fused.weights is not None
        return head.integrate(head(fused.votes), present & (fused.weights > 0))

    def combine(self, logits: Tensor, present: Tensor, target: TargetSpec) -> Tensor:
        """The plain sum; weights and bias are the head's, see ``read``."""
        return logits.masked_fill(~present.unsqueeze(-1), 0).sum(dim=1)
