"""The optimizers of tasks that name none."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def adamw(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer when none is named: AdamW, learning rate 1e-3, weight decay 1e-2.

    Fused: one kernel for all parameters, where torch's default on a CPU loops over them. It
    does not go with gradient clipping under ``precision="16-mixed"``; name another there.
    """
    return torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-2, fused=True)


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """A recommender's when none is named: Adam, learning rate 1e-3, no weight decay, fused."""
    return torch.optim.Adam(parameters, lr=1e-3, fused=True)
