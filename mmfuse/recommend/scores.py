"""Scores: how well an item suits a user, by their vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mmfuse.recorded import Recorded


class Score(nn.Module, Recorded, ABC):
    """Base of all scores; the higher, the better."""

    @abstractmethod
    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of each user's own items.

        Shape:
            users (B, D), items (B, n, D) -> (B, n)
        """

    @abstractmethod
    def matrix(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of every user and item.

        Shape:
            users (B, D), items (I, D) -> (B, I)
        """


class DotScore(Score):
    """The dot product."""

    def pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of each user's own items.

        Shape:
            users (B, D), items (B, n, D) -> (B, n)
        """
        return torch.einsum("bd,bnd->bn", users, items)

    def matrix(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of every user and item.

        Shape:
            users (B, D), items (I, D) -> (B, I)
        """
        return users @ items.T
