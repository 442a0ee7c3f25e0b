"""AutoPGD: projected gradient descent whose step shrinks by itself, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.base import Best, Climb, Look, chosen
from mmfuse.robustness.attacks.surface import Moves, Surface


@dataclass(frozen=True)
class AutoPGD(Climb):
    """Projected gradient descent with momentum that halves its step when it stalls.

    With P the projection and x* the best point so far::

        z_k     = P(x_k + eta g_k / |g_k|)
        x_(k+1) = P(x_k + 0.75 (z_k - x_k) + 0.25 (x_k - x_(k-1)))

    eta starts at twice the budget. At checkpoints, which come closer together towards the end,
    a row's eta halves and the row goes back to x* if fewer than three quarters of the steps since
    the last checkpoint raised the loss, or if eta did not halve then and the best loss has not
    risen since.

    Args:
        loss: ``margin`` or ``ce``; what the attack climbs.
        seed: of the random starts.
        steps: how many from each start.
        restarts: how often it starts anew for each aim.
        targets: aim at each of so many strongest other classes in turn besides; see ``Climb``.

    Raises:
        ConfigError: no step or no restart.

    Reference: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
        diverse parameter-free attacks", ICML 2020, arXiv:2003.01690, section 3.
    """

    def climb(
        self,
        surface: Surface,
        label: Tensor,
        aim: Tensor | None,
        ball: Ball,
        moves: Moves,
        best: Best,
    ) -> None:
        """Steps with momentum."""
        here = self.look(surface, moves, label, aim)
        best.look(moves, here.scores, label)
        top, top_loss, top_gradient = moves, here.loss, here.gradient
        before, by = moves, torch.full_like(ball.eps, 2.0)
        raised = torch.zeros_like(ball.eps)
        last, last_loss = 0, top_loss
        # The first checkpoint has none before it to look back on.
        halved = torch.ones_like(ball.eps, dtype=torch.bool)
        stops = set(checkpoints(self.steps))
        for step in range(1, self.steps + 1):
            ahead = ball.step(moves, here.gradient, by)
            keep = 0.75 if step > 1 else 1.0
            moves, before = (
                ball.project(
                    {
                        m: v + keep * (ahead[m] - v) + (1 - keep) * (v - before[m])
                        for m, v in moves.items()
                    }
                ),
                moves,
            )
            previous = here.loss
            here = self.look(surface, moves, label, aim)
            best.look(moves, here.scores, label)
            raised = raised + (here.loss > previous)
            better = here.loss > top_loss
            top, top_gradient = (
                chosen(better, moves, top),
                chosen(better, here.gradient, top_gradient),
            )
            top_loss = torch.where(better, here.loss, top_loss)
            if step not in stops:
                continue
            is_slow = raised < 0.75 * (step - last)
            is_stuck = ~halved & (top_loss <= last_loss)
            halved = is_slow | is_stuck
            by = torch.where(halved, by / 2, by)
            moves, before = chosen(halved, top, moves), chosen(halved, top, before)
            here = Look(
                here.scores,
                torch.where(halved, top_loss, here.loss),
                chosen(halved, top_gradient, here.gradient),
            )
            last, last_loss, raised = step, top_loss, torch.zeros_like(raised)


def checkpoints(steps: int) -> list[int]:
    """After which steps AutoPGD looks back.

    Shares of all steps: 0.22, and then each 0.03 less apart than the last two, 0.06 at the least.

    Example:
        >>> checkpoints(50)
        [11, 21, 29, 35, 40, 44, 47, 50]
    """
    shares, found = [0.0, 0.22], []
    while shares[-1] < 1:
        found.append(max(int(-(-shares[-1] * steps // 1)), 1))
        shares.append(round(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06), 10))
    return found
