"""FourierBasis: series over time as a few Fourier coefficients, in which a GP prior is diagonal."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError

#: The prior variance of the highest frequency that is kept, against that of the lowest.
_CUT = 1e-8


class FourierBasis(nn.Module):
    """The real Fourier basis of a circle a little longer than the series.

    On a circle of T' steps a stationary kernel is diagonal in this basis, so that a Gaussian
    process costs one number a coefficient and no inverse. The circle is longer than the series,
    so that its two ends need not meet. Frequencies at which the shortest length scale leaves
    less than 1e-8 of the variance are cut off::

        w <= T' / (pi l_min) sqrt( log(1e8) / 2 )
        k(w) = sqrt(2 pi) l exp( -(2 pi w / T')^2 l^2 / 2 ) + jitter

    for the kernel exp(-(t - t')^2 / 2 l^2), whose variance is 1.

    Args:
        steps: T, length of the series.
        shortest: l_min, the shortest length scale in steps.
        padding: T' is (1 + padding) T, rounded up.

    Shape:
        coefficients (..., F) -> (..., T)

    Raises:
        ConfigError: fewer than 2 steps, a length scale that is not above 0, or a padding below 0.

    Reference: Gondur et al., "Multi-modal Gaussian Process Variational Autoencoders for Neural and
        Behavioral Data", ICLR 2024, arXiv:2310.03111.
    """

    rows: Tensor
    frequencies: Tensor

    def __init__(self, steps: int, shortest: float, padding: float = 0.2) -> None:
        super().__init__()
        if steps < 2 or not 0 < shortest < math.inf or not 0 <= padding < math.inf:
            raise ConfigError(
                f"FourierBasis: {steps} steps, a shortest length scale of {shortest} and a padding "
                f"of {padding}; expected 2 steps up, a length above 0, a padding of 0 up."
            )
        self.steps, self.shortest = steps, shortest
        # Not 1 + padding: 60 * 1.2 is more than 72 in floating point.
        self.circle = steps + math.ceil(round(steps * padding, 9))
        highest = math.floor(self.circle / (math.pi * shortest) * math.sqrt(-0.5 * math.log(_CUT)))
        # Beyond these sines repeat cosines.
        highest = min(highest, (self.circle - 1) // 2)
        self.register_buffer(
            "frequencies",
            torch.cat([torch.arange(highest + 1), torch.arange(1, highest + 1)]).float(),
            persistent=False,
        )
        whole = _basis(highest, self.circle)
        self.register_buffer("rows", whole[:, :steps].float(), persistent=False)

    @property
    def count(self) -> int:
        """F, the number of coefficients."""
        return len(self.frequencies)

    def on_circle(self) -> Tensor:
        """The basis over the whole circle, ``(F, T')`` float64, whose rows are orthonormal."""
        return _basis(self.count // 2, self.circle)

    def variances(self, length: Tensor, jitter: float) -> Tensor:
        """The prior variance k(w) of each coefficient.

        Args:
            length: l, in steps.
            jitter: variance of white noise that is added.

        Shape:
            length (L,) -> (L, F)
        """
        angle = 2 * math.pi / self.circle * self.frequencies
        scaled = angle * length.unsqueeze(-1)
        level = math.sqrt(2 * math.pi) * length.unsqueeze(-1)
        return level * torch.exp(-0.5 * scaled.square()) + jitter

    def forward(self, coefficients: Tensor) -> Tensor:
        """The series that coefficients make."""
        return coefficients @ self.rows

    def regression(self, length: float, noise: float = 0.1) -> Tensor:
        """The map from values at all steps to the coefficients that a GP infers from them.

        ::

            K B (B^T K B + noise I)^-1

        Args:
            length: length scale of the process, in steps.
            noise: variance of what is seen about it.

        Shape:
            -> (T, F)
        """
        rows = self.rows.double()
        prior = self.variances(torch.tensor([length], dtype=torch.double), 0.0)[0].double()
        seen = (rows.T * prior) @ rows + noise * torch.eye(self.steps, dtype=torch.double)
        return torch.linalg.solve(seen, rows.T * prior).float()

    def spread(self, variances: Tensor) -> Tensor:
        """The variance at each step, of coefficients with these variances."""
        return variances @ self.rows.square()


def _basis(highest: int, circle: int) -> Tensor:
    time = torch.arange(circle, dtype=torch.float64) * (2 * math.pi / circle)
    waves = torch.arange(highest + 1, dtype=torch.float64).unsqueeze(1) * time
    cosines, sines = waves.cos(), waves[1:].sin()
    cosines[0] /= math.sqrt(2)
    return torch.cat([cosines, sines]) / math.sqrt(circle / 2)
