"""ProgressiveWeightFusion: a weighted sum whose weights follow the learned ones slowly."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion, pooled
from mmfuse.tokens import Tokens


class ProgressiveWeightFusion(Fusion):
    """Sum of the modalities, and of what they are jointly, under progressively copied weights.

    ::

        z_m     = W_m2 LeakyReLU(W_m1 x_m + b_m1) + b_m2
        z_joint = the same of T [x_1 ; ... ; x_M],   T the discrete cosine transform of type II
        u      <- decay u + (1 - decay) softmax(a)               (a step of training)
        vector  = sum_{k present} u_k z_k / sum_{k present} u_k

    The weights ``a`` that are learned early, while the projections are still poor, enter the
    sum little by little; what is used in evaluation is the last ``u``. An absent modality is
    zero in the joint input and has no weight; the joint part is there when any modality is.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        hidden: width of the hidden layers.
        decay: how much of its weights a step of training keeps, from 0, which uses the learned
            ones at once, up to but not including 1.
        joint: add the joint part.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D), weights (B, M)

    Raises:
        ConfigError: ``decay`` outside its range, or ``hidden`` below 1.

    Reference: "Learning Item Representations Directly from Multimodal Features for Effective
        Recommendation" (LIRDRec), 2025, arXiv:2505.04960.

    Departs from the paper, whose code is public as a configuration only: the transform runs over
    the features of each row, not over the rows too, as an item's vector would then depend on all
    others and on their order; weights are one number a modality, on a softmax; absence.
    ``weights`` leaves the joint part's share out.
    """

    used: Tensor
    transform: Tensor

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 64,
        hidden: int = 64,
        decay: float = 0.9,
        joint: bool = True,
    ) -> None:
        super().__init__(dims, out_dim)
        if not 0 <= decay < 1 or hidden < 1:
            raise ConfigError(
                f"ProgressiveWeightFusion: decay {decay}, hidden {hidden}; expected a decay from "
                "0 up to, but not, 1, and a width of 1 or more."
            )
        self.decay, self.joint = decay, joint
        self.project = nn.ModuleDict({m: _Perceptron(d, hidden, out_dim) for m, d in dims.items()})
        width, parts = sum(dims.values()), len(dims) + joint
        if joint:
            self.project_joint = _Perceptron(width, hidden, out_dim)
            matrix = torch.from_numpy(dct(torch.eye(width).numpy(), type=2, norm="ortho", axis=0))
            self.register_buffer("transform", matrix, persistent=False)
        self.learned = nn.Parameter(torch.zeros(parts))
        self.register_buffer("used", torch.full((parts,), 1 / parts))

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Projects each part, then sums under this step's weights."""
        vectors = pooled(tokens)
        parts = [self.project[m](x) for m, x in vectors.items()]
        if self.joint:
            everything = torch.cat(list(vectors.values()), dim=1)
            parts.append(self.project_joint(everything, self.transform))
            present = torch.cat([present, present.any(dim=1, keepdim=True)], dim=1)
        shares = self._weights().masked_fill(~present, 0)
        shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
        weighted = [z * u for z, u in zip(parts, shares.split(1, dim=1), strict=True)]
        vector = sum(weighted[1:], weighted[0])
        return Fused(vector, weights=shares[:, : len(self.dims)])

    def _weights(self) -> Tensor:
        """``u`` of this step; the gradient reaches ``a`` through the share that is new."""
        if not self.training:
            return self.used
        mixed = self.decay * self.used + (1 - self.decay) * self.learned.softmax(dim=0)
        self.used = mixed.detach()
        return mixed


class _Perceptron(nn.Module):
    """Two linear maps, LeakyReLU between them."""

    def __init__(self, width: int, hidden: int, out_dim: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(width, hidden), nn.Linear(hidden, out_dim)

    def forward(self, x: Tensor, transform: Tensor | None = None) -> Tensor:
        """Maps the rows, or what a transform makes of them."""
        weight = self.first.weight
        if transform is not None:
            weight = weight @ transform  # its rows are fewer than those of x
        return self.last(F.leaky_relu(F.linear(x, weight, self.first.bias)))
