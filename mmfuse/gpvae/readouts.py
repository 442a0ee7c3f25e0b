"""Readouts: what a series' values are given the latents, and how likely those that are seen."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmfuse.gpvae.series import Series, perceptron
from mmfuse.spec import ModalitySpec


class Readout(nn.Module, ABC):
    """From the latents of one modality, over time, to its values.

    Args:
        spec: of the series.
    """

    @abstractmethod
    def inputs(self, x: Tensor) -> Tensor:
        """What the encoder reads in the place of the raw series."""

    @abstractmethod
    def forward(self, mean: Tensor, variance: Tensor) -> Tensor:
        """The expected values, given each latent's mean and variance.

        Shape:
            mean, variance (B, T, L) -> (B, T, N)
        """

    @abstractmethod
    def log_likelihood(self, x: Tensor, mean: Tensor, variance: Tensor, drawn: Tensor) -> Tensor:
        """E[log p(x | z)], a row, in closed form or estimated by one draw.

        Shape:
            x (B, T, N), mean, variance, drawn (B, T, L) -> (B,)
        """


class GaussianReadout(Readout):
    """Measured values: a perceptron of the latents, and noise with a variance a channel.

    The values are standardised by the training rows' statistics, and so is the density; the
    expectation is estimated by the draw. Expected values are those at the latents' mean.

    Args:
        latents: L.
        hidden: widths of hidden layers; none makes it a linear map.
        spec: of the series, with means and deviations of its channels if it has any.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, latents: int, hidden: Sequence[int], spec: ModalitySpec) -> None:
        super().__init__()
        width = spec.width
        self.decoder = perceptron([latents, *hidden, width])
        # Its logarithm, so that no step can make it negative.
        self.log_variance = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.tensor(spec.mean or (0.0,) * width))
        self.register_buffer("std", torch.tensor(spec.std or (1.0,) * width))

    def inputs(self, x: Tensor) -> Tensor:
        """Standardised values."""
        return (x - self.mean) / self.std

    def forward(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Values in the units of the data."""
        found: Tensor = self.decoder(mean) * self.std + self.mean
        return found

    def log_likelihood(self, x: Tensor, mean: Tensor, variance: Tensor, drawn: Tensor) -> Tensor:
        """Of standardised values, by the draw."""
        squared = (self.inputs(x) - self.decoder(drawn)).square()
        log = self.log_variance
        terms = squared * torch.exp(-log) + log + math.log(2 * math.pi)
        return -0.5 * terms.sum(dim=(1, 2))


class PoissonReadout(Readout):
    """Counts, whose log rates are linear in the latents.

    With z ~ N(mu, v) the expectation is closed, v being a variance::

        E[log p(y | z)] = y (W mu + b) - exp( W mu + b + (W * W) v / 2 ) - log y!

    The encoder reads log(1 + y). b starts at the logarithm of each channel's mean.

    Args:
        latents: L.
        spec: of the series, with means of its channels if it has any.
    """

    def __init__(self, latents: int, spec: ModalitySpec) -> None:
        super().__init__()
        self.log_rates = nn.Linear(latents, spec.width)
        rates = torch.tensor(spec.mean or (1.0,) * spec.width)
        with torch.no_grad():
            self.log_rates.bias.copy_(rates.clamp(min=1e-3).log())

    def inputs(self, x: Tensor) -> Tensor:
        """The logarithm of one more."""
        return torch.log1p(x)

    def forward(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Expected counts."""
        return self._log_expected(mean, variance).exp()

    def log_likelihood(self, x: Tensor, mean: Tensor, variance: Tensor, drawn: Tensor) -> Tensor:
        """In closed form; the draw is not looked at."""
        expected = self._log_expected(mean, variance).exp()
        terms = x * self.log_rates(mean) - expected - torch.lgamma(x + 1)
        return terms.sum(dim=(1, 2))

    def _log_expected(self, mean: Tensor, variance: Tensor) -> Tensor:
        weight: Tensor = self.log_rates.weight
        found: Tensor = self.log_rates(mean) + 0.5 * (variance @ weight.square().T)
        return found


def readout(series: Series, latents: int, spec: ModalitySpec) -> Readout:
    """The readout that a series asks for."""
    if series.likelihood == "poisson":
        return PoissonReadout(latents, spec)
    return GaussianReadout(latents, series.decoder, spec)
