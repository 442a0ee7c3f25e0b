"""Routed distillation: for each row a router picks from which teachers the student learns."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmfuse.distillation.base import Distillation, Lesson, shared_targets
from mmfuse.distillation.soft import divergence, require_temperature
from mmfuse.distillation.team import Team
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.objectives.base import Schedule
from mmfuse.objectives.target_loss import weighted_mean

Balance = Literal["kl", "variation"]


class RoutedDistillation(Distillation):
    """Base of the routers over a pool of teachers.

    From the student's scores s, which it does not move, the router gives each teacher i a
    probability r_i and picks the ``top`` of them, row by row, among those who can tell something
    of the row. With KL_i the divergence of ``SoftTargets`` from teacher i to the student::

        r = softmax( W2 relu(W1 sg[s]) )
        L = mean_{rows that count}  sum_{i picked} w_i KL_i  +  balance of mean_rows r

    where a subclass says how the picked weigh. The balance draws the mean over rows towards even
    use: ``kl`` is KL(even || mean), ``variation`` the squared ratio of deviation to mean.

    Args:
        weight: factor of this term in the sum.
        schedule: how the factor moves over training.
        temperature: of the divergence.
        top: teachers that are picked.
        balance: how uneven use is measured.
        balance_weight: factor of the balance against the distillation; 0 leaves it out.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        temperature: float = 4.0,
        top: int = 1,
        balance: Balance = "kl",
        balance_weight: float = 1.0,
    ) -> None:
        super().__init__(weight, schedule)
        who = type(self).__name__
        require_temperature(who, temperature)
        if top < self.least:
            raise ConfigError(f"{who}: top is {top}; expected {self.least} up.")
        if balance not in ("kl", "variation"):
            raise ConfigError(f"{who}: balance is {balance!r}; expected kl or variation.")
        if not 0 <= balance_weight < float("inf"):
            raise ConfigError(
                f"{who}: balance_weight is {balance_weight}; expected a finite number of 0 or more."
            )
        self.temperature, self.top = temperature, top
        self.balance, self.balance_weight = balance, balance_weight

    #: The fewest teachers that can be picked.
    least = 1

    def build(self, student: FusionModel, team: Team) -> None:
        """Makes the router.

        Raises:
            ConfigError: fewer teachers than are to be picked.
        """
        who = type(self).__name__
        names = shared_targets(who, student, team)
        if len(team.pool) < max(self.top, 2):
            raise ConfigError(
                f"{who}: top is {self.top}, the teachers to choose from are {team.pool}. "
                "Specialise more of them, or take SoftTargets to learn from one."
            )
        self._specs = {t: student.spec.targets[t] for t in names}
        width = sum(s.out_dim for s in self._specs.values())
        self.router = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, len(team.pool))
        )

    def forward(self, lesson: Lesson) -> dict[str, Tensor]:
        """``routed``, and ``balance``, its factor included, where there is one."""
        scores = torch.cat([lesson.student.logits[t].detach() for t in self._specs], dim=-1)
        able = torch.stack([said.counted for said in lesson.pool], dim=1)
        counted = able.any(dim=1)
        # Rows of which nobody can tell are routed all the same, and weigh nothing.
        routed = self.router(scores).masked_fill(~(able | ~counted.unsqueeze(1)), float("-inf"))
        weights = self.picked(routed, able)
        apart = torch.stack([self._apart(lesson, i) for i in range(len(lesson.pool))], dim=1)
        losses = {"routed": weighted_mean((weights * apart).sum(dim=1), counted.to(apart.dtype))}
        if self.balance_weight:
            losses["balance"] = self.balance_weight * self._unevenness(routed, able, counted)
        return losses

    @abstractmethod
    def picked(self, routed: Tensor, able: Tensor) -> Tensor:
        """How much each teacher weighs, 0 for those who are not picked or cannot tell.

        Shape:
            routed (B, N), -inf where able (B, N) bool is not, in rows that count -> (B, N)
        """

    def _best(self, routed: Tensor, able: Tensor) -> Tensor:
        """``(B, N)`` bool, those with the highest scores among the able."""
        best = torch.zeros_like(able)
        best.scatter_(1, routed.topk(self.top, dim=1).indices, True)
        return best & able

    def _apart(self, lesson: Lesson, i: int) -> Tensor:
        said, student = lesson.pool[i], lesson.student
        each = [
            divergence(s, said.logits[t], student.logits[t], self.temperature)
            for t, s in self._specs.items()
        ]
        return torch.stack(each).mean(dim=0)

    def _unevenness(self, routed: Tensor, able: Tensor, counted: Tensor) -> Tensor:
        weight = counted.to(routed.dtype).unsqueeze(1)
        count = weight.sum().clamp(min=1)
        mean = (routed.softmax(dim=1) * weight).sum(dim=0) / count
        share = able.to(weight.dtype) / able.sum(dim=1, keepdim=True).clamp(min=1)
        even = (share * weight).sum(dim=0) / count
        if self.balance == "variation":
            return (mean - even).square().mean() * len(mean) ** 2
        # A teacher who can tell of no row of the batch has no share in either.
        mean = torch.where(even > 0, mean, 1)
        return (torch.xlogy(even, even) - even * mean.log()).sum()


class HardRoutedDistillation(RoutedDistillation):
    """MST-Distill's third stage as published: the router's first choices count alike.

    The picked teachers weigh 1 / top each. **The router learns nothing from distillation this
    way**: which are picked has no gradient, so that only the balance trains it, towards even use.
    ``WeightedRoutedDistillation`` is the router that learns.

    Args:
        weight: factor of this term in the sum.
        schedule: how the factor moves over training.
        temperature: of the divergence.
        top: teachers that are picked; the authors take 1.
        balance: how uneven use is measured.
        balance_weight: factor of the balance; 0 leaves it out.

    Raises:
        ConfigError: an option outside its range; at ``build``: fewer teachers than are to be
            picked, no target in common, or one of survival.

    Reference: "MST-Distill: Mixture of Specialized Teachers for Cross-Modal Knowledge
        Distillation", ACM MM 2025, arXiv:2507.07015.

    Departs from the authors' code: the balance does not move the student; it is not divided by
    the number of teachers; the router has a ReLU between its two maps, which are one without;
    ``variation`` is squared.
    """

    def picked(self, routed: Tensor, able: Tensor) -> Tensor:
        """Equal shares."""
        best = self._best(routed, able).to(routed.dtype)
        return best / best.sum(dim=1, keepdim=True).clamp(min=1)


class WeightedRoutedDistillation(RoutedDistillation):
    """Routed distillation whose router learns: the picked count by their probability.

    The probabilities of the picked teachers are renormalised, w_i = r_i / sum_{j picked} r_j, so
    that the loss moves the router too: towards teachers whom the student can follow, held back
    by the balance. With one teacher picked the weight is 1 whatever the router says; hence two at
    least.

    Args:
        weight: factor of this term in the sum.
        schedule: how the factor moves over training.
        temperature: of the divergence.
        top: teachers that are picked, two or more.
        balance: how uneven use is measured.
        balance_weight: factor of the balance; 0 leaves it out.

    Raises:
        ConfigError: as ``HardRoutedDistillation``.

    Reference: as ``HardRoutedDistillation``, whose authors' file has a weighted form that nothing
        calls.
    """

    least = 2

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        temperature: float = 4.0,
        top: int = 2,
        balance: Balance = "kl",
        balance_weight: float = 1.0,
    ) -> None:
        super().__init__(weight, schedule, temperature, top, balance, balance_weight)

    def picked(self, routed: Tensor, able: Tensor) -> Tensor:
        """Renormalised probabilities."""
        best = self._best(routed, able)
        # A row without any picked one gives finite numbers, which are blanked.
        nobody = ~best.any(dim=1, keepdim=True)
        weights = F.softmax(routed.masked_fill(~(best | nobody), float("-inf")), dim=1)
        return weights.masked_fill(~best, 0)
