"""class_head: the head that scores read features through, as a copy in float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import LateFusion
from mmfuse.model import FusionModel
from mmfuse.robustness.ood.base import class_logits


class _TwoColumns(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return class_logits(logits)


def class_head(model: FusionModel, target: str) -> nn.Module:
    """A copy of a target's head on the CPU in float64, with two outputs for a binary target.

    A linear head gives an ``nn.Linear``. The copy does not follow later training.

    Raises:
        ConfigError: a late fusion, whose heads read votes and not the fused vector.
    """
    if isinstance(model.fusion, LateFusion):
        raise ConfigError(
            f"The heads of {type(model.fusion).__name__} read each modality's vote, not the fused "
            "vector, which a score that reads features through the head needs. Leave ReAct, ASH "
            "and ViM out."
        )
    head = copy.deepcopy(model.heads[target]).cpu().double().eval().requires_grad_(False)
    if model.spec.targets[target].kind != "binary":
        return head
    if not isinstance(head, nn.Linear):
        return nn.Sequential(head, _TwoColumns())
    wide = nn.Linear(head.in_features, 2, dtype=torch.float64).requires_grad_(False)
    wide.weight.copy_(torch.cat([torch.zeros_like(head.weight), head.weight]))
    bias = head.weight.new_zeros(1) if head.bias is None else head.bias
    wide.bias.copy_(torch.cat([torch.zeros_like(bias), bias]))
    return wide
