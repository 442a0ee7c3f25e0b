"""Encoders of pictures and of texts that share a space whose meaning anyone can see: colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmfuse import Encoder, ModalitySpec

COLOURS = {
    "yellow": (255, 220, 0),
    "red": (230, 0, 20),
    "green": (0, 190, 40),
    "blue": (10, 40, 240),
    "purple": (150, 0, 200),
    "white": (250, 250, 250),
}


class Colour(Encoder):
    """A vector of three for each colour, by weights that can be others."""

    def __init__(self, spec: ModalitySpec, brightness: float = 1.0) -> None:
        super().__init__(spec, out_dim=3, frozen=True)
        self.scale = nn.Parameter(torch.full((3,), brightness))

    def forward(self, x: Tensor) -> Tensor:
        """Scales the colours."""
        return x * self.scale


class ColourOfPicture(Colour):
    """The mean colour."""

    kinds = frozenset({"image"})

    def preprocess(self, raw: Any) -> Tensor:
        """Pictures -> (B, 3)."""
        return torch.tensor(np.stack([np.asarray(p).mean((0, 1)) for p in raw])).float() / 255


class ColourOfText(Colour):
    """The colour that is named."""

    kinds = frozenset({"text"})

    def preprocess(self, raw: Any) -> Tensor:
        """Texts -> (B, 3)."""
        named = [next((c for c in COLOURS if c in text), "white") for text in raw]
        return torch.tensor([COLOURS[c] for c in named]) / 255


def picture(colour: str, seed: int = 0) -> Image.Image:
    """Noise around a colour."""
    noise = np.random.default_rng(seed).normal(0, 15, size=(4, 4, 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255)
    return Image.fromarray(pixels.astype(np.uint8))
