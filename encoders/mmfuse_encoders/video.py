"""FramePoolEncoder: videos through an encoder of pictures, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError
from mmfuse.media import Video
from mmfuse.recorded import describe, factory
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens


def frames_of(value: Any, count: int) -> np.ndarray:
    """Evenly spaced frames of a raw value, ``(count, height, width, 3)`` uint8.

    Raises:
        DataError: it is no video, or cannot be decoded.
    """
    if not isinstance(value, Video):
        raise DataError(
            f"The encoder takes videos (mmfuse.media.Video), found {type(value).__name__}. Declare "
            "another kind, or wrap the file's path in mmfuse.media.Video."
        )
    return value.frames(count)


def require_videos(encoder: Encoder, frames: int) -> None:
    """Refuses a modality of arrays, and a number of frames that is none.

    Raises:
        ConfigError: either.
    """
    if encoder.spec.shape:
        raise ConfigError(
            f"{type(encoder).__name__} takes raw videos, the modality holds arrays of shape "
            f"{encoder.spec.shape}. Give the video files, or declare another kind."
        )
    if frames < 1:
        raise ConfigError(f"{type(encoder).__name__}: frames is {frames}; expected 1 up.")


class FramePoolEncoder(Encoder):
    """Mean over the frames of what an encoder of pictures makes of each.

    With F frames::

        z = 1/F sum_f image(frame_f)

    The frames stand in the middles of equal parts of the video. What of the encoder of
    pictures learns is its own affair: its ``frozen`` and its ``adapter`` hold.

    Args:
        spec: a video modality of raw videos.
        image: the encoder of raw pictures: a class, anything that makes one of a
            ModalitySpec, its name, or in YAML ``class_path`` and ``init_args``.
        options: options of ``image`` where that is a name; a checkpoint keeps them here.
        frames: how many frames F of a video are read.
        tokens: give each frame as a token, in order, not their mean.
        frozen: no learning, in the encoder of pictures either.

    Shape:
        preprocess: B videos -> (B, F, ...), each frame as ``image`` takes it
        forward: (B, F, ...) -> (B, D) or Tokens (B, F, D), with D = ``image.out_dim``

    Raises:
        ConfigError: ``image`` takes no pictures, or ``frames`` is below 1.
        DataError: from ``preprocess``, a row that is no video or cannot be decoded.

    Reference: Luo et al., "CLIP4Clip: An Empirical Study of CLIP for End to End Video Clip
        Retrieval and Captioning", Neurocomputing 2022, arXiv:2104.08860 (mean pooling).

    Departs from the paper: frames are spaced by number, not one a second, and their vectors
    are not normalised before the mean.
    """

    kinds = frozenset({"video"})
    default_for = frozenset({"video"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        image: Callable[[ModalitySpec], Encoder] = "ImageCNNEncoder",  # type: ignore[assignment]
        options: Mapping[str, Any] | None = None,
        frames: int = 8,
        tokens: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(spec, 0, frozen)
        require_videos(self, frames)
        self.frames, self.tokens = frames, tokens
        self.image = _picture_encoder(image, options)
        self.out_dim = self.image.out_dim
        self.frozen = frozen or self.image.frozen
        made = describe(self.image, without=("spec",))
        self._arguments |= {"image": made["class_path"], "options": made["init_args"]}

    def preprocess(self, raw: Any) -> Tensor:
        """The frames of each video, as the encoder of pictures preprocesses them."""
        pictures = [Image.fromarray(f) for video in raw for f in frames_of(video, self.frames)]
        x: Any = self.image.preprocess(pictures)
        return x.unflatten(0, (-1, self.frames))

    def preprocessing(self) -> dict[str, Any]:
        """How many frames are read, and what is done to each."""
        return {"frames": self.frames, **self.image.preprocessing()}

    def forward(self, x: Tensor) -> Tensor | Tokens:
        """Encodes the rows."""
        found = Tokens.of(self.image(x.flatten(0, 1))).pooled().unflatten(0, (-1, self.frames))
        if not self.tokens:
            return found.mean(dim=1)
        return Tokens(found, found.new_ones(found.shape[:2], dtype=torch.bool))


def _picture_encoder(image: Any, options: Mapping[str, Any] | None) -> Encoder:
    if options:
        if not isinstance(image, str):
            raise ConfigError(
                f"FramePoolEncoder: options {sorted(options)} are given for an encoder that is no "
                "name. Give the name, or put the options into `image`."
            )
        image = {"class_path": image, "init_args": options}
    try:
        made = factory(Encoder, image)(ModalitySpec("image"))
    except DataError as error:  # an encoder of arrays asked pictures for their size
        raise ConfigError(f"FramePoolEncoder: {image!r} takes no raw pictures: {error}") from error
    except TypeError as error:
        raise ConfigError(f"FramePoolEncoder: {image!r} cannot be built: {error}.") from error
    if not isinstance(made, Encoder):
        raise ConfigError(
            f"FramePoolEncoder: image made a {type(made).__name__}; expected an Encoder."
        )
    return made
