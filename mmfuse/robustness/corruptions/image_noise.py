"""Image corruptions that add noise to pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmfuse.robustness.corruptions.images import ImageCorruption


class GaussianNoise(ImageCorruption):
    """Normal noise on every value, as of a sensor in poor light.

    Args:
        levels: the noise's deviation for the severities 1 to 5, black to white being 1.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
        Corruptions and Perturbations", ICLR 2019, arXiv:1903.12261.
    """

    defaults = (0.08, 0.12, 0.18, 0.26, 0.38)
    unit = "deviation, black to white being 1"
    flickers = True

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Adds the noise."""
        return x + level * torch.from_numpy(draw.standard_normal(tuple(x.shape), np.float32))


class ShotNoise(ImageCorruption):
    """Poisson noise, as light comes in single photons.

    Args:
        levels: the photons that make white for the severities 1 to 5; fewer are noisier.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.
    """

    defaults = (60, 25, 12, 5, 3)
    unit = "photons that make white"
    limits = (0.1, 1e6)
    flickers = True

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Counts the photons."""
        counted = draw.poisson(x.clamp(min=0).double().numpy() * level)
        # What lies below black has no photons to count.
        return torch.from_numpy(counted / level).float() + x.clamp(max=0)


class ImpulseNoise(ImageCorruption):
    """Salt and pepper: some pixels are black or white in all their channels.

    Args:
        levels: the share of pixels for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.
    """

    defaults = (0.03, 0.06, 0.09, 0.17, 0.27)
    unit = "share of pixels"
    flickers = True

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Replaces the pixels."""
        struck, salt = torch.from_numpy(draw.random((2, *x.shape[1:])))
        return torch.where(struck < level, (salt < 0.5).to(x.dtype), x)
