"""Tensor fusion: every product of features across modalities, at full cost."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion
from mmfuse.tokens import Tokens


class TensorFusion(Fusion):
    """Outer product of all modalities, each with a constant 1 in front, then a linear map.

    ::

        Z      = [1 ; h_1] (x) ... (x) [1 ; h_M],   h_m = W_m x_m + b_m
        vector = W vec(Z) + b

    The ones keep the products of fewer modalities among the entries. An absent modality has
    ``h_m = 0``, which leaves exactly the tensor of the others. Cost: ``prod_m (width + 1)``
    values a row and ``out_dim`` times as many weights, so it suits few modalities;
    ``LowRankTensorFusion`` grows linearly in M.

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        width: width of each ``h_m``; None takes ``x_m`` as it is.
        limit: the most values a row that the tensor may have.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: the tensor would be larger than ``limit``.

    Reference:
        Zadeh et al., "Tensor Fusion Network for Multimodal Sentiment Analysis", EMNLP 2017,
        arXiv:1707.07250, section 4.2.

    Departs from the paper: one linear map of each modality in place of its sub-network, which
    is the encoder here, and one linear map after the tensor in place of three layers.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        width: int | None = 16,
        limit: int = 2**17,
    ) -> None:
        super().__init__(dims, out_dim)
        if width is not None and width < 1:
            raise ConfigError(f"width is {width}; expected 1 or more, or None.")
        widths = {m: width or d for m, d in dims.items()}
        size = prod(w + 1 for w in widths.values())
        if size > limit:
            raise ConfigError(
                f"TensorFusion of {widths} makes {size:,} values a row, over the limit of "
                f"{limit:,}. Use a smaller width, or LowRankTensorFusion."
            )
        self.project = nn.ModuleDict(
            {m: nn.Linear(d, width) if width else nn.Identity() for m, d in dims.items()}
        )
        self.mix = nn.Linear(size, out_dim)

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Multiplies out, the first modality on the slowest axis."""
        product: Tensor | None = None
        for i, (m, t) in enumerate(tokens.items()):
            vector = self.project[m](t.pooled()).masked_fill(~present[:, i, None], 0)
            factor = F.pad(vector, (1, 0), value=1.0)
            if product is None:
                product = factor
            else:
                product = (product.unsqueeze(2) * factor.unsqueeze(1)).flatten(1)
        return Fused(self.mix(product))
