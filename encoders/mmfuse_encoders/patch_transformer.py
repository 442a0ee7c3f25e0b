"""Encoder for series: a transformer over patches of neighbouring steps (PatchTST)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.attention import check_heads, closed, sinusoids, transformer
from mmfuse_encoders.tokens import sequence


class PatchTransformerEncoder(Encoder):
    """Transformer over patches of a series (PatchTST).

    Patch n holds the steps from ``n * stride`` up to ``n * stride + patch``; it is real if
    one of them is, and its unreal steps are zero::

        h_n = W patch_n + b + position_n       then pre-norm attention among real patches

    Mixed channels make one token a patch. Independent channels are series of their own that
    share all weights and meet in the readout alone, as in the paper; that costs as many times
    more as there are channels.

    Args:
        spec: a series modality, its number of steps fixed or None.
        out_dim: width of the result.
        hidden: width of the tokens inside.
        layers: transformer layers.
        heads: attention heads; they divide ``hidden``.
        patch: steps in a patch.
        stride: steps from one patch's start to the next one's, at most ``patch``.
        channels: how the channels of a patch are read.
        dropout: rate inside the layers.
        tokens: give every patch as a token, not the mean over the real ones.
        frozen: no learning.

    Shape:
        (B, T, C) or Tokens -> (B, out_dim), or Tokens (B, ceil(T / stride), out_dim)

    Raises:
        ConfigError: ``heads`` does not divide ``hidden``, or ``stride`` leaves steps out.

    Reference: Nie et al., "A Time Series is Worth 64 Words: Long-term Forecasting with
        Transformers", ICLR 2023, arXiv:2211.14730.

    Departs from the paper: mixed channels by default; sinusoidal positions, as a series may
    be longer than any in training; LayerNorm before attention for BatchNorm after it; a short
    last patch ends in zeros, not in repetitions of the last step; a mean over patches in
    place of their concatenation, which needs a fixed length; a series keeps its own level and
    scale, which forecasts take out and put back but classes may depend on.
    """

    kinds = frozenset({"series"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int = 64,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 4,
        patch: int = 16,
        stride: int = 8,
        channels: Literal["mixed", "independent"] = "mixed",
        dropout: float = 0.1,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, frozen)
        check_heads("PatchTransformerEncoder", hidden, heads)
        if not 1 <= stride <= patch:
            raise ConfigError(
                f"PatchTransformerEncoder: stride {stride} with patches of {patch} steps; "
                "expected 1 up to the patch, so that every step is in one."
            )
        self.patch, self.stride, self.channels, self.tokens = patch, stride, channels, tokens
        width = self.spec.width
        together, alone = (width, 1) if channels == "mixed" else (1, width)
        self.embed = nn.Linear(patch * together, hidden)
        self.layers = transformer(hidden, heads, layers, dropout)
        self.readout = nn.Linear(hidden * alone, out_dim)

    def forward(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """Encodes the rows."""
        patches = self._patches(sequence(x))
        mask = patches.mask
        if self.channels == "mixed":
            states = self._attend(patches.values.flatten(2), mask)
        else:
            values = patches.values.permute(0, 3, 1, 2)  # (B, C, N, patch)
            rows, channels = values.shape[:2]
            each = self._attend(values.flatten(0, 1), mask.repeat_interleave(channels, dim=0))
            states = each.unflatten(0, (rows, channels)).transpose(1, 2).flatten(2)
        if not self.tokens:
            return self.readout(Tokens(states, mask).pooled())
        return Tokens(self.readout(states), mask)

    def _patches(self, steps: Tokens) -> Tokens:
        """Steps (B, T, C) -> patches (B, N, patch, C), real where a step is."""
        count = -(-steps.mask.shape[1] // self.stride)
        short = (count - 1) * self.stride + self.patch - steps.mask.shape[1]
        values, mask = F.pad(steps.values, (0, 0, 0, short)), F.pad(steps.mask, (0, short))
        return Tokens(
            values.unfold(1, self.patch, self.stride).transpose(2, 3),
            mask.unfold(1, self.patch, self.stride).any(dim=2),
        )

    def _attend(self, patches: Tensor, mask: Tensor) -> Tensor:
        # In float32 at least: in bfloat16 the positions from 256 up are no longer whole numbers.
        precise = torch.promote_types(patches.dtype, torch.float32)
        where = torch.arange(patches.shape[1], device=patches.device, dtype=precise)
        place = sinusoids(where, self.embed.out_features).to(patches.dtype)
        return self.layers(self.embed(patches) + place, src_key_padding_mask=closed(mask))
