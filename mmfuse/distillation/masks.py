"""Mask: a small network that damps units of one vector inside a frozen teacher."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.tokens import Tokens

#: The value of every unit's mask before training.
_START = 0.95


class Mask(nn.Module):
    """A mask over the units of a vector, read from the vector itself through a bottleneck.

    ::

        mask(f) = f * sigmoid(W2 relu(W1 f + b1) + b2)

    W2 starts at zero and b2 so that every unit keeps 0.95 of its value: a teacher starts to
    specialise from nearly what it is. It has ``2 * width * bottleneck`` weights and some.

    Args:
        of: which model it sits in, ``teacher`` or ``auxiliary``.
        site: the vector: a modality, whose tokens all get the mask that their mean tells, or
            ``fused``.
        width: units of the vector.
        bottleneck: units in between.

    Shape:
        (B, width) -> (B, width)

    Raises:
        ConfigError: a bottleneck below 1.

    Reference: "MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge
        Distillation", ACM MM 2025, arXiv:2507.07015.

    Departs from the authors' code: a bottleneck stands in the place of attention over d tokens
    of width d / 2, which takes 106 million weights where d is 596; no layer keeps a hook, so
    that a mask never acts beside another.
    """

    def __init__(self, of: str, site: str, width: int, bottleneck: int = 16) -> None:
        super().__init__()
        if bottleneck < 1:
            raise ConfigError(f"Mask: bottleneck is {bottleneck}; expected 1 up.")
        self.of, self.site = of, site
        self.width, self.bottleneck = width, bottleneck
        self.narrow = nn.Linear(width, bottleneck)
        self.widen = nn.Linear(bottleneck, width)
        nn.init.zeros_(self.widen.weight)
        nn.init.constant_(self.widen.bias, math.log(_START / (1 - _START)))

    @property
    def name(self) -> str:
        """What a record calls it."""
        return f"{self.of}_{self.site}"

    def forward(self, vector: Tensor) -> Tensor:
        """The vector, damped."""
        return vector * self._mask(vector)

    def over(self, tokens: Tokens) -> Tokens:
        """Tokens of which each is damped alike; one that is not real stays blank."""
        mask = self._mask(tokens.pooled()).unsqueeze(1)
        return Tokens(tokens.values * mask, tokens.mask)

    def _mask(self, vector: Tensor) -> Tensor:
        return torch.sigmoid(self.widen(torch.relu(self.narrow(vector))))

    def describe(self) -> dict[str, Any]:
        """How to build it again, in plain data."""
        return {
            "of": self.of,
            "site": self.site,
            "width": self.width,
            "bottleneck": self.bottleneck,
        }
