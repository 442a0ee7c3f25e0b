"""Projected gradient descent, the attack of many equal steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.base import Best, Climb
from mmfuse.robustness.attacks.surface import Moves, Surface


@dataclass(frozen=True)
class PGD(Climb):
    """Projected gradient descent: equal steps along the gradient, each back into the ball.

    Of all points met, in whatever restart, the most wrong one is kept.

    Args:
        loss: ``margin`` or ``ce``; what the attack climbs.
        seed: of the random starts.
        steps: how many from each start.
        restarts: how often it starts anew for each aim.
        targets: aim at each of so many strongest other classes in turn besides; see ``Climb``.
        step_size: length of a step as a share of the budget; None is 2.5 / steps.
        random_start: start anywhere in the ball, else where nothing is added (the first
            restart alone, as others would repeat it).

    Raises:
        ConfigError: no step, no restart, or a step of no length.

    Reference: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks",
        ICLR 2018, arXiv:1706.06083; for the margin Carlini and Wagner, "Towards Evaluating the
        Robustness of Neural Networks", S&P 2017, arXiv:1608.04644.
    """

    step_size: float | None = None
    random_start: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step_size is not None and not self.step_size > 0:
            raise ConfigError(f"PGD: step_size is {self.step_size}; expected a share above 0.")

    def start(self, ball: Ball, restart: int) -> Moves:
        """Where a restart begins."""
        return super().start(ball, restart) if self.random_start or restart else ball.zero()

    def climb(
        self,
        surface: Surface,
        label: Tensor,
        aim: Tensor | None,
        ball: Ball,
        moves: Moves,
        best: Best,
    ) -> None:
        """Equal steps."""
        by = torch.full_like(ball.eps, self.step_size or 2.5 / self.steps)
        for _ in range(self.steps):
            here = self.look(surface, moves, label, aim)
            best.look(moves, here.scores, label)
            moves = ball.step(moves, here.gradient, by)
        with torch.no_grad():
            best.look(moves, surface.scores(moves), label)
