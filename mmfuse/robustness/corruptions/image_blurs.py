"""Image corruptions that blur: each a kernel whose size is a share of the image's shorter side."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from scipy.signal import fftconvolve
from scipy.special import ndtr
from torch import Tensor

from mmfuse.robustness.corruptions.images import ImageCorruption

Array = np.ndarray


class Blur(ImageCorruption):
    """Base of blurs: a subclass writes ``kernel``. The image goes on at its edges as it ends.

    Sizes are shares of the shorter side, so that a level means the same for a small image and a
    large one; the convolution is by Fourier transform, which large kernels need.
    """

    unit = "share of the shorter side"

    @abstractmethod
    def kernel(self, size: float, draw: np.random.Generator) -> Array:
        """Non-negative weights, odd in height and width; ``size`` in pixels."""

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Convolves each channel."""
        kernel = self.kernel(level * min(x.shape[1:]), draw)
        kernel = (kernel / kernel.sum()).astype(np.float32)
        above, beside = kernel.shape[0] // 2, kernel.shape[1] // 2
        padded = np.pad(x.numpy(), ((0, 0), (above, above), (beside, beside)), mode="edge")
        return torch.from_numpy(fftconvolve(padded, kernel[None], mode="valid", axes=(1, 2)))


class GaussianBlur(Blur):
    """A bell-shaped blur, as of a picture scaled up.

    Args:
        levels: the bell's deviation for the severities 1 to 5, as a share of the shorter side.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261, whose deviations are 1 to 6
        of 224 pixels.
    """

    defaults = (0.008, 0.012, 0.016, 0.022, 0.03)

    def kernel(self, size: float, draw: np.random.Generator) -> Array:
        """A bell to three deviations; a pixel weighs what of the bell lies over it."""
        distance, narrow = _around(3 * size), max(size, 1e-6)
        bell = ndtr((distance + 0.5) / narrow) - ndtr((distance - 0.5) / narrow)
        return np.outer(bell, bell)


class DefocusBlur(Blur):
    """A disk, as of a lens out of focus.

    Args:
        levels: the disk's radius for the severities 1 to 5, as a share of the shorter side.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261, whose radii are 3 to 10 of
        224 pixels.
    """

    defaults = (0.014, 0.019, 0.027, 0.036, 0.045)

    def kernel(self, size: float, draw: np.random.Generator) -> Array:
        """A disk whose edge fades over the pixel beyond it, so that a small one blurs too."""
        distance = _around(size + 1)
        radius = np.hypot(distance[:, None], distance[None])
        return np.clip(size + 1 - radius, 0, 1)


class MotionBlur(Blur):
    """A line at any angle, as of a camera that moves.

    Args:
        levels: the line's length for the severities 1 to 5, as a share of the shorter side.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.

    Departs from the authors' code: the line weighs all its points alike, and is not the half of
    a bell; it has any angle, not one within 45 degrees of level.
    """

    defaults = (0.04, 0.06, 0.09, 0.13, 0.18)

    def kernel(self, size: float, draw: np.random.Generator) -> Array:
        """Points along the line, each shared among the four pixels around it."""
        angle = np.pi * draw.random()
        reach = len(_around(size / 2 + 1)) // 2
        along = np.linspace(-size / 2, size / 2, max(9, 4 * reach + 1))
        kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
        y, x = reach + along * np.sin(angle), reach + along * np.cos(angle)
        top, left = np.floor(y).astype(int), np.floor(x).astype(int)
        for down in (0, 1):
            for right in (0, 1):
                weight = (1 - abs(y - top - down)) * (1 - abs(x - left - right))
                np.add.at(kernel, (top + down, left + right), weight)
        return kernel


def _around(reach: float) -> Array:
    """Whole distances from the middle, as far as ``reach``."""
    end = int(np.ceil(reach))
    return np.arange(-end, end + 1)
