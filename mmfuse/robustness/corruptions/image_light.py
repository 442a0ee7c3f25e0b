"""Image corruptions of light, storage and view, such as contrast, JPEG and an angle."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmfuse.robustness.corruptions.images import ImageCorruption


class Brightness(ImageCorruption):
    """Everything lighter.

    Args:
        levels: what is added for the severities 1 to 5, black to white being 1.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.

    Departs from the authors' code: all channels rise alike, not the value of hue, saturation and
    value, so that images of any number of channels have it.
    """

    defaults = (0.1, 0.2, 0.3, 0.4, 0.5)
    unit = "what is added, black to white being 1"

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Adds to every value."""
        return x + level


class Contrast(ImageCorruption):
    """Everything nearer to the image's mean colour, as in fog.

    Args:
        levels: the contrast that is left for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.
    """

    defaults = (0.4, 0.3, 0.2, 0.1, 0.05)
    unit = "contrast that is left"

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Shrinks what differs from the mean."""
        mean = x.mean(dim=(1, 2), keepdim=True)
        return mean + level * (x - mean)


class JPEG(ImageCorruption):
    """Compression that loses detail; images without three channels one channel at a time.

    Args:
        levels: the quality for the severities 1 to 5, from 1 to 100.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.
    """

    defaults = (25, 18, 15, 10, 7)
    unit = "quality, 1 to 100"
    limits = (1, 100)

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Compresses and reads again."""
        from torchvision.transforms.v2.functional import jpeg  # takes a second

        stored = (x.clamp(0, 1) * 255).round().byte()
        parts = [stored] if len(stored) == 3 else list(stored.split(1))
        return torch.cat([jpeg(p.contiguous(), round(level)) for p in parts]).float() / 255


class Pixelate(ImageCorruption):
    """Squares of one colour, as of a small picture scaled up.

    Args:
        levels: the share of height and width that is left for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: Hendrycks and Dietterich, ICLR 2019, arXiv:1903.12261.
    """

    defaults = (0.6, 0.5, 0.4, 0.3, 0.25)
    unit = "share of height and width that is left"

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Means of areas, scaled up without smoothing."""
        height, width = x.shape[1:]
        small = max(round(level * height), 1), max(round(level * width), 1)
        few = F.interpolate(x[None], small, mode="area")
        return F.interpolate(few, (height, width), mode="nearest-exact")[0]


class Rotation(ImageCorruption):
    """Turned to the left or the right about the middle, corners filled with the border's mean.

    Args:
        levels: degrees for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.
    """

    defaults = (5, 10, 15, 22, 30)
    unit = "degrees to either side"
    limits = (0, 180)

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Turns by bilinear interpolation."""
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2.functional import rotate

        angle = level if draw.random() < 0.5 else -level
        edges = [x[:, 0], x[:, -1], x[:, :, 0], x[:, :, -1]]
        border = torch.cat(edges, dim=1).mean(dim=1)
        # What is turned is the difference from the border, as a fill leaves a seam of its own.
        turned = rotate(x - border[:, None, None], angle, InterpolationMode.BILINEAR)
        return torch.as_tensor(turned) + border[:, None, None]


class Occlusion(ImageCorruption):
    """A grey rectangle somewhere, of the image's own shape.

    Args:
        levels: the share of the area that it covers for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.

    Reference: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
        Cutout", 2017, arXiv:1708.04552, where it trains.
    """

    defaults = (0.03, 0.08, 0.15, 0.25, 0.4)
    unit = "share of the area"

    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """Covers the rectangle."""
        tall, wide = (max(round(level**0.5 * side), 1) for side in x.shape[1:])
        down, right = draw.random(2)
        top = int(down * (x.shape[1] - tall + 1))
        left = int(right * (x.shape[2] - wide + 1))
        found = x.clone()
        found[:, top : top + tall, left : left + wide] = 0.5
        return found
