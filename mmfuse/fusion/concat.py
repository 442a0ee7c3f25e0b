"""Concatenation, the parallel baseline, with the usual ways to fill an absent slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import Fused, Fusion, perceptron
from mmfuse.tokens import Tokens

Fill = Literal["zero", "mean", "learned"]


class ConcatFusion(Fusion):
    """All modalities side by side, then a perceptron; an absent slot is filled.

    ::

        vector = MLP([z_1 ; ... ; z_M (; present)])

    Args:
        dims: width of each modality's tokens, in fusion order.
        out_dim: width D of the fused vector.
        hidden: width of the perceptron's hidden layer; 0 makes it one linear map.
        dropout: rate after the hidden layer.
        fill: what stands in for an absent modality: ``zero``; ``mean``, the running mean of
            the modality's encodings over the present training rows; ``learned``, a vector
            trained with the rest.
        flag: append one 0/1 input a modality that says whether it is present. The model can
            then learn the absence pattern itself, which is an advantage when the pattern
            stays and a liability when it changes.
        momentum: how fast the running mean of ``fill="mean"`` follows, between 0 and 1.

    Shape:
        tokens[m].values (B, T_m, dims[m]), present (B, M) -> vector (B, D)

    Raises:
        ConfigError: an unknown ``fill``.

    Reference:
        Ngiam et al., "Multimodal Deep Learning", ICML 2011, for concatenation with zeros in
        place of an absent modality.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        out_dim: int = 128,
        hidden: int = 128,
        dropout: float = 0.0,
        fill: Fill = "zero",
        flag: bool = False,
        momentum: float = 0.1,
    ) -> None:
        super().__init__(dims, out_dim)
        if fill not in ("zero", "mean", "learned"):
            raise ConfigError(f"fill is {fill!r}; expected 'zero', 'mean' or 'learned'.")
        self.fill, self.flag = fill, flag
        self.momentum: float | None = momentum
        width = sum(dims.values()) + flag * len(dims)
        self.mix = perceptron(width, hidden, out_dim, dropout)
        for m, d in dims.items():
            if fill == "learned":
                self.register_parameter(f"absent_{m}", nn.Parameter(torch.randn(d) * 0.02))
            elif fill == "mean":
                self.register_buffer(f"absent_{m}", torch.zeros(d))
                self.register_buffer(f"seen_{m}", torch.zeros(()))

    def fuse(self, tokens: dict[str, Tokens], present: Tensor) -> Fused:
        """Fills, joins and mixes."""
        parts = []
        for i, (m, t) in enumerate(tokens.items()):
            vector, here = t.pooled(), present[:, i, None]
            if self.fill == "mean" and self.training:
                self._follow(m, vector, here)
            if self.fill != "zero":
                vector = torch.where(here, vector, getattr(self, f"absent_{m}"))
            parts.append(vector)
        if self.flag:
            parts.append(present.to(parts[0].dtype))
        return Fused(self.mix(torch.cat(parts, dim=1)))

    @torch.no_grad()
    def _follow(self, modality: str, vector: Tensor, here: Tensor) -> None:
        count = here.sum()
        mean = vector.sum(dim=0) / count.clamp(min=1)
        seen, running = getattr(self, f"seen_{modality}"), getattr(self, f"absent_{modality}")
        # The first batch with the modality sets the mean; later ones move it.
        pace = 1 / (seen + 1) if self.momentum is None else self.momentum
        rate = (count > 0) * (1 - (1 - pace) * (seen > 0))
        running += rate.to(running.dtype) * (mean - running)
        seen += (count > 0).to(seen.dtype)

    # As torch's batch norms have it, so that whoever estimates running statistics anew finds
    # these too. A momentum of None then makes them plain means over the batches.

    @property
    def track_running_stats(self) -> bool:
        """Whether there are running means."""
        return self.fill == "mean"

    def reset_running_stats(self) -> None:
        """Forgets the running means."""
        for m in self.modalities:
            getattr(self, f"absent_{m}").zero_()
            getattr(self, f"seen_{m}").zero_()
