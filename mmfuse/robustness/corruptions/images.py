"""The base of image corruptions: pictures, frames of videos and arrays, all seen as 0 to 1."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.media import Video
from mmfuse.robustness.corruptions.base import Corruption
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.measured import Measured


class ImageCorruption(Corruption):
    """Base of image corruptions: a subclass writes ``pixels``.

    A picture becomes numbers from 0 (black) to 1 (white) and back, rounded to 8 bits. Arrays are
    scaled so that ``Measured.valid`` becomes 0 and 1. What comes out below black or above white
    is cut off, but never a value that the row itself had. A video's frames are corrupted when they
    are decoded, all with the same numbers unless the corruption ``flickers``.

    Args:
        levels: what the severities 1 to 5 mean; None for the class's defaults.

    Raises:
        ConfigError: levels that do not fit; arrays whose range of values is not known.
    """

    kinds = frozenset({"image", "video"})
    #: Whether each frame of a video draws anew, as noise does; a lens and an angle stay.
    flickers: ClassVar[bool] = False

    @abstractmethod
    def pixels(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        """One image, ``(channels, height, width)`` from 0 to 1; never written to."""

    def corrupt(self, raw: Any, level: float, draws: Draws, measured: Measured | None) -> Any:
        """Each row by itself."""
        if isinstance(raw, Tensor):
            return self._arrays(raw, level, draws, self.known(measured))
        return [self._media(value, level, draws, i) for i, value in enumerate(raw)]

    def _media(self, value: Any, level: float, draws: Draws, place: int) -> Any:
        if isinstance(value, Video):
            return _CorruptedVideo(value, self, level, draws, place)
        return self.picture(value, level, draws.generator(place))

    def picture(self, value: Image.Image, level: float, draw: np.random.Generator) -> Image.Image:
        """One picture."""
        shown = torch.from_numpy(np.array(value.convert("RGB"))).permute(2, 0, 1)
        found = self.pixels(shown.float() / 255, level, draw).clamp(0, 1)
        return Image.fromarray((found * 255).round().byte().permute(1, 2, 0).numpy())

    def _arrays(self, raw: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        if measured.valid is None:
            raise ConfigError(
                f"{self.name}: the images are arrays whose values of black and white are not "
                "known. Give valid={modality: (black, white)}, such as (0, 255)."
            )
        black, white = measured.valid
        scaled = ((raw.double() - black) / (white - black)).cpu()
        rows = [
            self._array(x, level, draws.generator(i)) for i, x in enumerate(scaled.float().unbind())
        ]
        found = torch.stack(rows).to(raw.device) if rows else scaled.to(raw.device)
        found = found * (white - black) + black
        return (found if raw.is_floating_point() else found.round()).to(raw.dtype)

    def _array(self, x: Tensor, level: float, draw: np.random.Generator) -> Tensor:
        gaps = x.isnan()
        if gaps.all():
            return x
        whole = torch.where(gaps, x[~gaps].mean(), x)
        low, high = min(0.0, float(whole.min())), max(1.0, float(whole.max()))
        return torch.where(gaps, x, self.pixels(whole, level, draw).clamp(low, high))


class _CorruptedVideo(Video):
    """A video whose frames are corrupted once they are decoded."""

    def __init__(
        self, video: Video, corruption: ImageCorruption, level: float, draws: Draws, place: int
    ) -> None:
        super().__init__(video.source)
        self._video, self._corruption, self._level = video, corruption, level
        self._draws, self._place = draws, place

    def frames(self, count: int) -> np.ndarray:
        found = []
        for i, frame in enumerate(self._video.frames(count)):
            use = i if self._corruption.flickers else ""
            draw = self._draws.generator(self._place, use)
            picture = self._corruption.picture(Image.fromarray(frame), self._level, draw)
            found.append(np.asarray(picture))
        return np.stack(found)
