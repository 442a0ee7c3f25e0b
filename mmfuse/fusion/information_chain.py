"""InformationChain: bottlenecks in a row, each of which foretells the next modality (ITHP)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import perceptron
from mmfuse.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Sums:
    """What a loss is made of: the sum over the positions that count, and how many they are."""

    total: Tensor
    count: Tensor

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.total + other.total, self.count + other.count)

    def mean(self) -> Tensor:
        """Zero when nothing counts."""
        return self.total / self.count.clamp(min=1)


@dataclass(frozen=True, slots=True)
class Passage:
    """One run through the chain.

    Args:
        state: the last bottleneck, ``(B, T, width)``, zero where nothing entered.
        kl: of each level, its divergence from the standard normal.
        error: of each detector, the squared error of what the chain says of it.
    """

    state: Tensor
    kl: list[Sums]
    error: dict[str, Sums]


class InformationChain(nn.Module):
    """A prime modality is compressed level by level; each level foretells one detector.

    Modality l enters at level l (the last one at the last level), and only where it leads: it
    is then the prime of that row, and the levels before do not happen. Entrances other than
    the first start as the constant zero, the mean of what a bottleneck is drawn towards, so
    that one which never learnt says nothing.

    Args:
        dims: width of each modality, the prime first, then the detectors in order.
        widths: of the bottlenecks, one for each detector; one if there is none.
        hidden: width of the perceptrons' hidden layers.
        dropout: rate after each hidden layer.
    """

    def __init__(
        self, dims: Mapping[str, int], widths: Sequence[int], hidden: int, dropout: float
    ) -> None:
        super().__init__()
        names, last = list(dims), len(widths) - 1
        self.level_of = {m: min(i, last) for i, m in enumerate(names)}
        self.detectors = names[1:]
        self.enter = nn.ModuleDict(
            {
                m: perceptron(d, hidden, 2 * widths[self.level_of[m]], dropout)
                for m, d in dims.items()
            }
        )
        self.carry = nn.ModuleList(
            perceptron(a, hidden, 2 * b, dropout) for a, b in pairwise(widths)
        )
        self.detect = nn.ModuleDict(
            {
                m: perceptron(width, hidden, dims[m], dropout)
                for m, width in zip(self.detectors, widths, strict=False)
            }
        )
        for m in self.detectors:
            readout = list(self.enter[m].modules())[-1]
            assert isinstance(readout, nn.Linear)
            nn.init.zeros_(readout.weight)
            nn.init.zeros_(readout.bias)

    def forward(
        self,
        values: Mapping[str, Tensor],
        leads: Mapping[str, Tensor],
        targets: Mapping[str, Tokens],
    ) -> Passage:
        """Runs the chain.

        Args:
            values: what enters, ``(B, T, dims[m])`` for each modality that may lead.
            leads: where it does, ``(B, T)`` bool; never two modalities in one place.
            targets: what each detector has in the same places.
        """
        stats = running = None
        kl, error = [], {}
        state = next(iter(values.values()))
        for level in range(1 + len(self.carry)):
            if level:
                stats = self.carry[level - 1](state)
            for m, x in values.items():
                if self.level_of[m] == level:
                    entered, here = self.enter[m](x), leads[m]
                    running = here if running is None else running | here
                    stats = (
                        entered
                        if stats is None
                        else torch.where(here.unsqueeze(-1), entered, stats)
                    )
            assert stats is not None
            assert running is not None
            mean, log_variance = stats.masked_fill(~running.unsqueeze(-1), 0).chunk(2, dim=-1)
            kl.append(_sums(divergence(mean, log_variance), running))
            state = mean
            if self.training:
                noise = torch.randn_like(mean) * (log_variance / 2).exp()
                state = (mean + noise).masked_fill(~running.unsqueeze(-1), 0)
            if level < len(self.detectors):
                m = self.detectors[level]
                stands = targets[m].mask
                if m in leads:  # what entered needs no foretelling
                    stands = stands & ~leads[m]
                gap = (self.detect[m](state) - targets[m].values).square().mean(dim=-1)
                error[m] = _sums(gap, running & stands)
        return Passage(state, kl, error)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL from N(mean, variance) to N(0, 1), averaged over the width: ``(..., D) -> (...)``."""
    return -(1 + log_variance - mean.square() - log_variance.exp()).mean(dim=-1) / 2


def _sums(values: Tensor, counts: Tensor) -> Sums:
    return Sums(values.masked_fill(~counts, 0).sum(), counts.sum())


class RunningScale(nn.Module):
    """Standardises vectors by running moments of those it saw in training.

    At first the moments are those of all vectors so far, later they follow at ``momentum``.

    Args:
        width: of a vector.
        momentum: how fast the moments follow, between 0 and 1.

    Shape:
        values (..., width), real (...) bool -> (..., width)

    Raises:
        ConfigError: a momentum outside (0, 1].
    """

    mean: Tensor
    variance: Tensor
    steps: Tensor

    def __init__(self, width: int, momentum: float) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ConfigError(f"momentum is {momentum}; expected more than 0, up to 1.")
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, values: Tensor, real: Tensor) -> Tensor:
        """The values in units of the deviation; only ``real`` ones move the moments."""
        if self.training:
            self._follow(values, real)
        return (values - self.mean) * (self.variance + 1e-5).rsqrt()

    @torch.no_grad()
    def _follow(self, values: Tensor, real: Tensor) -> None:
        count = real.sum()
        here = real.unsqueeze(-1)
        axes = tuple(range(values.dim() - 1))
        mean = values.masked_fill(~here, 0).sum(dim=axes) / count.clamp(min=1)
        spread = (values - mean).masked_fill(~here, 0).square().sum(dim=axes) / count.clamp(min=1)
        self.steps += (count > 0).to(self.steps.dtype)
        rate = (1 / self.steps.clamp(min=1)).clamp(min=self.momentum) * (count > 0)
        rate = rate.to(self.mean.dtype)
        shift = mean - self.mean
        # The variance of two heaps mixed is the mean variance and what their means differ by.
        between = rate * (1 - rate) * shift.square()
        self.variance += rate * (spread - self.variance) + between
        self.mean += rate * shift
