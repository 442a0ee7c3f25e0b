"""Group normalisation of padded sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_group_norm(norm: nn.GroupNorm, x: Tensor, mask: Tensor) -> Tensor:
    """What ``norm`` gives for each row without its padding.

    Mean and variance are taken over the real steps alone. Padding must be finite, and what the
    result holds there means nothing.

    Args:
        norm: the layer, whose groups, weights and epsilon count.
        x: steps on the last axis.
        mask: which of them are real, at least one a row.

    Shape:
        x (B, C, ..., T), mask (B, T) -> like x
    """
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    grouped = wide.unflatten(1, (norm.num_groups, -1)).flatten(2, -2)
    count = mask.sum(dim=1, keepdim=True) * grouped.shape[2]

    def mean(values: Tensor) -> Tensor:  # (B, G, N, T) -> (B, G); one step's sum is masked, not all
        return values.sum(dim=2).masked_fill(~mask.unsqueeze(1), 0).sum(dim=2) / count

    middle = mean(grouped)
    variance = mean((grouped - middle[..., None, None]).square())
    # Scale and shift of each channel, so that the whole is passed over once.
    channels = x.shape[1] // norm.num_groups
    scale = (variance + norm.eps).rsqrt().repeat_interleave(channels, dim=1)
    shift = -middle.repeat_interleave(channels, dim=1) * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
    each = (..., *[None] * (x.dim() - 2))
    return (wide * scale[each] + shift[each]).to(x.dtype)
