"""PictureEncoder: what pretrained encoders of pictures share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.image import as_picture
from mmfuse_encoders.pretrained import PretrainedEncoder

# Resizing the short side of a thinner picture could fill the memory with its long side.
THINNEST = 100


class PictureEncoder(PretrainedEncoder):
    """Base of encoders of raw pictures around a pretrained backbone.

    A subclass sets ``_transform``, the backbone's own preprocessing of one picture, and
    ``_settings``, the same in plain data.

    Raises:
        ConfigError: the modality is an array, whose preprocessing nobody knows.
        DataError: from ``preprocess``, a row that is no picture, or one over 100 times as
            long as it is wide.
    """

    kinds = frozenset({"image"})

    _transform: Callable[[Image.Image], Tensor]
    _settings: Mapping[str, Any]

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        out_dim: int | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        if self.spec.shape:
            raise ConfigError(
                f"{type(self).__name__} takes raw pictures, which it preprocesses as its backbone "
                f"was trained; the modality holds arrays of shape {self.spec.shape}. Give the "
                "picture files, or use ImageCNNEncoder."
            )

    def preprocess(self, raw: Any) -> Tensor:
        """Resizes, crops and normalises each picture as the backbone was trained."""
        return torch.stack([self._transform(_of_some_width(as_picture(p))) for p in raw])

    def preprocessing(self) -> dict[str, Any]:
        """The backbone's own settings."""
        return dict(self._settings)


def _of_some_width(picture: Image.Image) -> Image.Image:
    if max(picture.size) > THINNEST * min(picture.size):
        raise DataError(
            f"A picture of {picture.size[0]} x {picture.size[1]} pixels is over {THINNEST} times "
            "as long as it is wide. Cut it, or mark the row absent."
        )
    return picture


def places(found: Tensor) -> Tensor:
    """A map (B, C, H, W) as its places (B, H * W, C), row by row."""
    return found.flatten(2).transpose(1, 2)


def as_tokens(values: Tensor) -> Tokens:
    """Tokens (B, T, C) that are all real."""
    return Tokens(values, values.new_ones(values.shape[:2], dtype=torch.bool))


def chosen(layers: Sequence[int], count: int, name: str) -> list[int]:
    """Positions from 0 of the layers that a person chose; -1 is the last.

    Raises:
        ConfigError: there is no such layer.
    """
    if wrong := [i for i in layers if not -count <= i < count]:
        raise ConfigError(
            f"{name}: layers {list(layers)}, of which it has not {wrong}; it has {count}. Choose "
            f"from 0 to {count - 1}, or from -{count} to -1."
        )
    return [i % count for i in layers]


def inner_blocks(stages: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
    """The blocks of a network's stages: of nested containers what is inside."""
    found: list[nn.Module] = []
    for stage in stages if isinstance(stages, Sequence) else stages.children():
        blocks = getattr(stage, "blocks", stage)
        is_container = isinstance(blocks, nn.Sequential | nn.ModuleList)
        found += list(blocks.children()) if is_container else [stage]
    return found
