"""Temperature: the scale of the scores, learned or fixed, never beyond its cap."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError


class Temperature(nn.Module):
    """The scale ``s = exp(t) <= cap`` that multiplies cosines; t is learned unless fixed.

    Args:
        temperature: 1 / s at the start.
        learnable: whether t is learned.
        cap: the largest scale. In training t itself is kept below, so that it can fall again at
            once.

    Raises:
        ConfigError: a temperature below 1 / cap or above 1.

    Reference: the cap is that of Radford et al., ICML 2021, arXiv:2103.00020, section 2.5.
    """

    def __init__(
        self, temperature: float = 0.07, learnable: bool = True, cap: float = 100.0
    ) -> None:
        super().__init__()
        if not 1 / cap <= temperature <= 1:
            raise ConfigError(
                f"temperature is {temperature}; expected {1 / cap:g} to 1, for a scale of 1 to "
                f"{cap:g}."
            )
        self._highest = math.log(cap)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)), learnable)

    def forward(self) -> Tensor:
        """The scale, ()."""
        if self.training:
            with torch.no_grad():
                self.log_scale.clamp_(max=self._highest)
        # Its slope stays that of exp at the cap, where clamp's would be zero.
        beyond = (self.log_scale - self._highest).clamp(min=0).detach()
        return (self.log_scale - beyond).exp()
