"""Pooling: sum, mean or maximum over the modalities that are present."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.fusion.base import Fused, PooledFusion, equal_weights


class SumFusion(PooledFusion):
    """Sum of the present modalities' projections.

    ::

        vector = sum_{m present} W_m z_m + b_m

    The length of the sum grows with the number of modalities present; ``MeanFusion`` keeps
    it steady.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        project: False for z_m itself in place of W_m z_m + b_m, where its width is D.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Reference:
        Feichtenhofer et al., "Convolutional Two-Stream Network Fusion for Video Action
        Recognition", CVPR 2016, arXiv:1604.06573, section 3.1 (sum fusion).
    """

    def reduce(self, stack: Tensor, present: Tensor) -> Fused:
        """Adds up."""
        return Fused(stack.sum(dim=1), weights=present.to(stack.dtype))


class MeanFusion(PooledFusion):
    """Mean of the present modalities' projections.

    ::

        vector = 1/|P| sum_{m in P} W_m z_m + b_m,   P the modalities present

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        project: False for z_m itself in place of W_m z_m + b_m, where its width is D.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Reference:
        Havaei et al., "HeMIS: Hetero-Modal Image Segmentation", MICCAI 2016,
        arXiv:1607.05194.

    Departs from the paper: the mean alone, without the variance beside it, which a row with
    one modality does not have.
    """

    def reduce(self, stack: Tensor, present: Tensor) -> Fused:
        """Averages over the present."""
        weights = equal_weights(present, stack.dtype)
        return Fused(torch.einsum("bmd,bm->bd", stack, weights), weights=weights)


class MaxFusion(PooledFusion):
    """Maximum over the present modalities' projections, coordinate by coordinate.

    ::

        vector_d = max_{m present} (W_m z_m + b_m)_d

    ``weights`` are the shares of the coordinates that each modality won.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        project: False for z_m itself in place of W_m z_m + b_m, where its width is D.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Reference:
        Feichtenhofer et al., "Convolutional Two-Stream Network Fusion for Video Action
        Recognition", CVPR 2016, arXiv:1604.06573, section 3.1 (max fusion).
    """

    def reduce(self, stack: Tensor, present: Tensor) -> Fused:
        """Takes the largest of the present."""
        lowest = torch.finfo(stack.dtype).min
        vector, winner = stack.masked_fill(~present.unsqueeze(-1), lowest).max(dim=1)
        every = torch.arange(present.shape[1], device=winner.device).unsqueeze(-1)
        won = (winner.unsqueeze(1) == every) & present.unsqueeze(-1)
        return Fused(vector, weights=won.to(stack.dtype).mean(dim=-1))
