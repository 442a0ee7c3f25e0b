"""Attacks of one step: along the gradient, and along nothing but chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.base import Attack, Best, at_least_one
from mmfuse.robustness.attacks.surface import Surface


@dataclass(frozen=True)
class FGM(Attack):
    """Fast gradient method: the whole budget along the gradient; for l_inf that is FGSM.

    Args:
        loss: ``margin`` or ``ce``; what the attack climbs.
        seed: it draws nothing.

    Reference: Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples",
        ICLR 2015, arXiv:1412.6572.
    """

    def search(self, surface: Surface, label: Tensor, ball: Ball) -> Best:
        """One step."""
        best, start = Best(ball), ball.zero()
        here = self.look(surface, start, label)
        best.look(start, here.scores, label)
        moves = ball.step(start, here.gradient, torch.ones_like(ball.eps))
        with torch.no_grad():
            best.look(moves, surface.scores(moves), label)
        return best


@dataclass(frozen=True)
class Noise(Attack):
    """Random moves of the whole budget: the control that every attack has to beat.

    Args:
        loss: without meaning here, as nothing is climbed.
        seed: of the draws.
        draws: how many; a row falls where one of them fools the model.

    Raises:
        ConfigError: no draw.
    """

    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(draws=self.draws)

    def search(self, surface: Surface, label: Tensor, ball: Ball) -> Best:
        """Draws and looks."""
        best = Best(ball)
        with torch.no_grad():
            for draw in range(self.draws):
                moves = ball.random(self.seed, "noise", draw, on_sphere=True)
                best.look(moves, surface.scores(moves), label)
        return best
