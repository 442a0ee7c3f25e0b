"""Spaces that are rotations of shared latent meanings, with noise, and pools of items in them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.binding import Pool

MEANING = 8


class Planted:
    """Spaces over one meaning: what an item means is a vector, and each space turns it.

    Args:
        spaces: for each space its width and the noise of each modality.
        gap: how far a space's modalities lie apart.
    """

    def __init__(self, spaces, gap=0.3, seed=0):
        self.spaces = spaces
        self.generator = torch.Generator().manual_seed(seed)
        self.turn = {
            s: self._normal(MEANING, width) / width**0.5 for s, (width, _) in spaces.items()
        }
        self.offset = {
            (s, m): gap * F.normalize(self._normal(width), dim=0)
            for s, (width, noise) in spaces.items()
            for m in noise
        }

    def _normal(self, *shape) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def meanings(self, count: int) -> Tensor:
        """What so many new items mean."""
        return F.normalize(self._normal(count, MEANING), dim=1)

    def embed(self, meaning: Tensor, modality: str) -> dict[str, Tensor]:
        """What every space that has the modality says of items."""
        found = {}
        for s, (width, noise) in self.spaces.items():
            if modality in noise:
                clean = F.normalize(meaning @ self.turn[s], dim=1)
                blur = self._normal(len(meaning), width) * noise[modality] / width**0.5
                found[s] = F.normalize(clean + blur + self.offset[s, modality], dim=1)
        return found

    def pool(self, modality: str, count: int, **options) -> Pool:
        """Items that no other pool has."""
        return Pool(modality, self.embed(self.meanings(count), modality), **options)


def two_spaces(seed=0) -> Planted:
    """One space of images and text, one of sounds and text."""
    spaces = {
        "see": (16, {"image": 0.3, "text": 0.3}),
        "hear": (12, {"audio": 0.3, "text": 0.3}),
    }
    return Planted(spaces, seed=seed)


def recall(a: Tensor, b: Tensor) -> float:
    """How often the partner is the nearest, in both directions."""
    near = a @ b.T
    partner = torch.arange(len(a))
    return float(
        ((near.argmax(dim=1) == partner).float() + (near.argmax(dim=0) == partner).float()).mean()
        / 2
    )
