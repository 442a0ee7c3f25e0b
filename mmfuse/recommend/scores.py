"""Scores: how well an item suits a user, by their vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from mmfuse.recorded import Recorded

#: Items of a user up to which they are multiplied one by one.
_FEW = 8


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
        return dots(users, items)

    def matrix(self, users: Tensor, items: Tensor) -> Tensor:
        """Scores of every user and item.

        Shape:
            users (B, D), items (I, D) -> (B, I)
        """
        return users @ items.T


def dots(users: Tensor, items: Tensor) -> Tensor:
    """The dot products of each user with its own items.

    Shape:
        users (B, D), items (B, n, D) -> (B, n)
    """
    if items.shape[1] <= _FEW:
        # A product of matrices for each row costs three times as much when they are this small.
        return (users.unsqueeze(1) * items).sum(dim=2)
    return torch.einsum("bd,bnd->bn", users, items)
