"""Series: how one modality is seen by a GPVAE; its encoder into Fourier coefficients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.gpvae.fourier import FourierBasis

Likelihood = Literal["gaussian", "poisson"]
#: Bounds of the logarithm of a factor's deviation, where exp neither vanishes nor overflows.
_BOUND = 10.0


@dataclass(frozen=True)
class Series:
    """How one modality's series is encoded and what its values are.

    Args:
        likelihood: ``gaussian`` for measured values, ``poisson`` for counts.
        private: latents that this modality has for itself.
        encoder: widths of the encoder's hidden layers.
        decoder: widths of the hidden layers from latents to values; none is a linear map, which
            is all that counts can have, as their expectation then has a closed form.

    Raises:
        ConfigError: an unknown likelihood, a negative number of latents, or hidden layers for
            counts.
    """

    likelihood: Likelihood = "gaussian"
    private: int = 1
    encoder: Sequence[int] = (64, 32)
    decoder: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.likelihood not in ("gaussian", "poisson"):
            raise ConfigError(
                f"Series: likelihood is {self.likelihood!r}; expected gaussian or poisson."
            )
        if self.private < 0:
            raise ConfigError(f"Series: private is {self.private}; expected 0 up.")
        if self.likelihood == "poisson" and self.decoder:
            raise ConfigError(
                f"Series: decoder is {list(self.decoder)} for counts, which have a linear map to "
                "their log rates. Leave it empty."
            )


class SeriesEncoder(nn.Module):
    """Each step by a perceptron, then a linear map along time to Fourier coefficients.

    It gives for each latent and coefficient the mean and the deviation of a Gaussian factor. The
    map of means starts as regression on a Gaussian process, which tells the coefficients from
    noisy steps and from the part of the circle that no step lies on; from other starts, least
    squares among them, little is learned. The logarithm of a deviation is the mean of the steps'
    and a bias for each coefficient.

    Args:
        width: channels N of the series.
        hidden: widths of the perceptron's hidden layers.
        latents: L, how many latents this modality tells of.
        basis: of the series.
        length: length scale of the process at the start, in steps.

    Shape:
        (B, T, N) -> means (B, L, F), deviations (B, L, F)
    """

    def __init__(
        self, width: int, hidden: Sequence[int], latents: int, basis: FourierBasis, length: float
    ) -> None:
        super().__init__()
        self.latents = latents
        self.steps = perceptron([width, *hidden, 2 * latents])
        self.means = nn.Linear(basis.steps, basis.count)
        with torch.no_grad():
            self.means.weight.copy_(basis.regression(length).T)
            self.means.bias.zero_()
        self.bias = nn.Parameter(torch.zeros(latents, basis.count))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Means and deviations of the factors."""
        means, logs = self.steps(x).transpose(1, 2).split(self.latents, dim=1)
        log = logs.mean(dim=2, keepdim=True) + self.bias
        return self.means(means), log.clamp(-_BOUND, _BOUND).exp()


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Linear maps with ELU between them."""
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        layers += [nn.ELU()] * bool(i) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)
