"""The attack contract: a surface, labels and a ball -> the most wrong moves that were met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.losses import (
    Loss,
    check_loss,
    climbed,
    margin,
    strongest_others,
)
from mmfuse.robustness.attacks.surface import Moves, Surface


class Best:
    """The moves of the largest margin so far, row by row, whatever loss an attack climbs.

    Args:
        ball: what the moves lie in; it starts with nothing added.
    """

    def __init__(self, ball: Ball) -> None:
        self.moves: Moves = ball.zero()
        self.margin = torch.full_like(ball.eps, -torch.inf)
        self.fooled = torch.zeros_like(ball.eps, dtype=torch.bool)

    def look(self, moves: Mapping[str, Tensor], scores: Tensor, label: Tensor) -> None:
        """Keeps the rows in which these moves do better."""
        found = margin(scores, label)
        # Of scores that tie the first one is the prediction, as argmax has it.
        fooled = scores.argmax(dim=1) != label
        better = (found > self.margin) | (fooled & ~self.fooled)
        self.moves = chosen(better, moves, self.moves)
        self.margin = torch.where(better, found, self.margin)
        self.fooled = self.fooled | fooled


@dataclass(frozen=True)
class Look:
    """What the model says at some moves.

    Args:
        scores: ``(B, K)`` of the classes.
        loss: ``(B,)`` what the attack climbs.
        gradient: of the loss, like the moves.
    """

    scores: Tensor
    loss: Tensor
    gradient: Moves


@dataclass(frozen=True)
class Attack(ABC):
    """Base of all attacks: a subclass says how to search a ball for a mistake.

    Args:
        loss: ``margin`` or ``ce``; what the attack climbs.
        seed: of what it draws.

    Raises:
        ConfigError: an unknown loss.
    """

    loss: Loss = "margin"
    seed: int = 0

    def __post_init__(self) -> None:
        check_loss(self.loss)

    @property
    def name(self) -> str:
        """What tables call it."""
        return type(self).__name__

    def climbing(self, loss: Loss) -> Self:
        """The same attack on another loss."""
        return replace(self, loss=loss)

    @abstractmethod
    def search(self, surface: Surface, label: Tensor, ball: Ball) -> Best:
        """The most wrong moves that it meets; ``label`` (B,)."""

    def look(
        self,
        surface: Surface,
        moves: Mapping[str, Tensor],
        label: Tensor,
        aim: Tensor | None = None,
    ) -> Look:
        """Scores, loss and gradient at ``moves``; no parameter's gradient is computed.

        ``aim`` (B,) is the class that the model is to name; None is any but the label.
        """
        with torch.enable_grad():
            leaves = {m: v.detach().requires_grad_() for m, v in moves.items()}
            scores = surface.scores(leaves)
            loss = climbed(self.loss, scores, label, aim)
            # Rows do not know of each other, so that the sum's gradient is each row's own.
            found = _gradient(loss.sum(), list(leaves.values()))
        gradient = {
            m: torch.zeros_like(v) if g is None else g
            for (m, v), g in zip(leaves.items(), found, strict=True)
        }
        return Look(scores.detach(), loss.detach(), gradient)


@dataclass(frozen=True)
class Climb(Attack):
    """Base of the attacks of many steps: starts and aims are tried one after the other.

    Args:
        loss: ``margin`` or ``ce``; what the attack climbs.
        seed: of the random starts.
        steps: how many from each start.
        restarts: how often it starts anew for each aim.
        targets: aim at each of the ``targets`` strongest other classes in turn, besides at
            whichever is the strongest on the way. The nearest mistake need not be the strongest.
    """

    steps: int = 40
    restarts: int = 1
    targets: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(steps=self.steps, restarts=self.restarts)
        if self.targets < 0:
            raise ConfigError(f"An attack's targets are {self.targets}; expected 0 or more.")

    def search(self, surface: Surface, label: Tensor, ball: Ball) -> Best:
        """Climbs from each start to each aim."""
        best = Best(ball)
        aims: list[Tensor | None] = [None]
        if self.targets:
            with torch.no_grad():
                aims += strongest_others(surface.scores(ball.zero()), label, self.targets)
        for aim in aims:
            for restart in range(self.restarts):
                self.climb(surface, label, aim, ball, self.start(ball, restart), best)
        return best

    def start(self, ball: Ball, restart: int) -> Moves:
        """Where a restart begins: anywhere in the ball."""
        return ball.random(self.seed, "start", restart)

    @abstractmethod
    def climb(
        self,
        surface: Surface,
        label: Tensor,
        aim: Tensor | None,
        ball: Ball,
        moves: Moves,
        best: Best,
    ) -> None:
        """Steps from ``moves`` towards ``aim``; ``best`` is shown what is met."""


def _gradient(total: Tensor, leaves: list[Tensor]) -> tuple[Tensor | None, ...]:
    """None for what ``total`` does not depend on, as where a fusion ignores a modality."""
    if not (leaves and total.requires_grad):
        return (None,) * len(leaves)
    return torch.autograd.grad(total, leaves, allow_unused=True)


def chosen(where: Tensor, these: Mapping[str, Tensor], those: Mapping[str, Tensor]) -> Moves:
    """``these`` in the rows where ``where`` (B,) is True, else ``those``."""
    return {
        m: torch.where(where.view(-1, *[1] * (v.dim() - 1)), v, those[m]) for m, v in these.items()
    }


def at_least_one(**counts: int) -> None:
    """Refuses counts below 1.

    Raises:
        ConfigError: naming the count.
    """
    for name, count in counts.items():
        if count < 1:
            raise ConfigError(f"An attack's {name} is {count}; expected 1 or more.")
