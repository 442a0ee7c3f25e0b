"""Group normalisation of padded sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_group_norm(norm: nn.GroupNorm, x: Tensor, mask: Tensor) -> Tensor:
    """What ``norm`` gives for each row without its padding.

    Mean and variance are taken over the real steps alone. Padding holds the bias afterwards,
    whatever it held before.

    Args:
        norm: the layer, whose groups, weights and epsilon count.
        x: steps on the last axis.
        mask: which of them are real, at least one a row.

    Shape:
        x (B, C, ..., T), mask (B, T) -> like x
    """
    grouped = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(1, (norm.num_groups, -1))
    padding = ~mask.view(len(mask), *[1] * (grouped.dim() - 2), -1)
    over = list(range(2, grouped.dim()))
    count = mask.sum(dim=1).view(-1, *[1] * (grouped.dim() - 1)) * grouped[0, 0, ..., 0].numel()
    mean = grouped.masked_fill(padding, 0).sum(over, keepdim=True) / count
    centred = (grouped - mean).masked_fill(padding, 0)
    variance = centred.square().sum(over, keepdim=True) / count
    normed = (centred * (variance + norm.eps).rsqrt()).flatten(1, 2).to(x.dtype)
    if norm.weight is None:
        return normed
    each = [-1, *[1] * (x.dim() - 2)]
    return normed * norm.weight.view(each) + norm.bias.view(each)
