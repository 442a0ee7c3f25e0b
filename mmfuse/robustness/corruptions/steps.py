"""Corruptions of series and tokens: steps that are noisy, lost, warped in time or adrift."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from mmfuse.robustness.corruptions.base import Corruption
from mmfuse.robustness.corruptions.cells import statistic
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.measured import Measured
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens


class StepCorruption(Corruption):
    """Base of corruptions of series: a subclass writes ``steps``.

    Padding stays as it is and changes nothing, and so does a missing entry (NaN).

    Args:
        levels: what the severities 1 to 5 mean; None for the class's defaults.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    kinds = frozenset({"series", "tokens"})

    @abstractmethod
    def steps(
        self, x: Tensor, length: Tensor, level: float, draws: Draws, measured: Measured
    ) -> Tensor:
        """All rows, ``(B, T, channels)`` of which ``length`` (B,) steps are real."""

    def corrupt(self, raw: Any, level: float, draws: Draws, measured: Measured | None) -> Any:
        """All rows at once."""
        known = self.known(measured)
        x = raw.values if isinstance(raw, Tokens) else raw
        if isinstance(raw, Tokens):
            mask = raw.mask
        else:
            mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        found = self.steps(x, mask.sum(dim=1), level, draws, known).to(x.dtype)
        found = torch.where(mask.unsqueeze(-1) & ~x.isnan() & ~found.isnan(), found, x)
        return Tokens(found, raw.mask) if isinstance(raw, Tokens) else found


class StepNoise(StepCorruption):
    """Normal noise on every entry, scaled by its channel's deviation over training rows.

    Args:
        levels: the noise's deviation for the severities 1 to 5, in training deviations.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.

    MultiBench adds one number to all features of a step.
    """

    defaults = (0.1, 0.25, 0.5, 1.0, 2.0)
    unit = "deviation, in training deviations"
    limits = (0.0, 100.0)

    def steps(
        self, x: Tensor, length: Tensor, level: float, draws: Draws, measured: Measured
    ) -> Tensor:
        """Adds the noise."""
        noise = draws.normal(x[:1].numel()).view(x.shape) * statistic(x, measured.std)
        return x + level * noise


class LostEntries(StepCorruption):
    """Single entries at their channel's training mean.

    Args:
        levels: the share of the entries for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the entries"

    def steps(
        self, x: Tensor, length: Tensor, level: float, draws: Draws, measured: Measured
    ) -> Tensor:
        """Puts the mean in place of entries."""
        lost = draws.uniform(x[:1].numel()).view(x.shape) < level
        return torch.where(lost, statistic(x, measured.mean), x.double())


class LostBlock(StepCorruption):
    """A run of steps at the training mean, as of a recorder that was off; one step stays.

    Args:
        levels: the share of the steps for the severities 1 to 5, which short rows have on average.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the steps"

    def steps(
        self, x: Tensor, length: Tensor, level: float, draws: Draws, measured: Measured
    ) -> Tensor:
        """Puts the mean in place of a run that starts anywhere it fits."""
        drawn = draws.uniform(2)
        count = torch.minimum((level * length + drawn[:, 0]).floor(), length - 1)
        start = (drawn[:, 1] * (length - count + 1)).floor()
        step = torch.arange(x.shape[1], device=x.device)
        lost = (step >= start.unsqueeze(1)) & (step < (start + count).unsqueeze(1))
        return torch.where(lost.unsqueeze(-1), statistic(x, measured.mean), x.double())


class LostChannels(StepCorruption):
    """Whole channels at their training mean, as of sensors that failed; one stays.

    Args:
        levels: the share of the channels for the severities 1 to 5, which rows of few channels
            have on average.

    Raises:
        ConfigError: levels that do not fit, a modality of one channel, or one of which nothing
            is known.
    """

    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the channels"

    def unfit(self, spec: ModalitySpec) -> str | None:
        """Besides a wrong kind: one channel, without which nothing is left."""
        if reason := super().unfit(spec):
            return reason
        return None if spec.width > 1 else "needs two channels or more, there is one"

    def steps(
        self, x: Tensor, length: Tensor, level: float, draws: Draws, measured: Measured
    ) -> Tensor:
        """Puts the mean in place of the channels that come first in the row's order."""
        channels = x.shape[2]
        count = (level * channels + draws.uniform(1, "count")).floor().clamp(max=channels - 1)
        place = draws.uniform(channels).argsort(dim=1).argsort(dim=1)
        lost = (place < count).unsqueeze(1)
        return torch.where(lost, statistic(x, measured.mean), x.double())


class TimeWarp(StepCorruption):
    """Time that runs faster in one half and slower in the other; both ends stay.

    At ``u`` from 0 (first step) to 1 (last) stands what stood at::

        u + level / (2 pi) * (sin(2 pi u + phase) - sin(phase))

    between two steps by linear interpolation. The phase is drawn for each row.

    Args:
        levels: how much faster and slower for the severities 1 to 5; below 1 time never turns.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.1, 0.25, 0.45, 0.7, 0.95)
    unit = "change of speed"

    def steps(
        self, x: Tensor, length: Tensor, level: float, draws: Draws, measured: Measured
    ) -> Tensor:
        """Reads the series at other times."""
        last = (length - 1).clamp(min=1).unsqueeze(1).double()
        u = torch.arange(x.shape[1], device=x.device) / last
        phase = 2 * torch.pi * draws.uniform(1)
        turn = 2 * torch.pi
        moved = u + level / turn * ((turn * u + phase).sin() - phase.sin())
        at = moved.clamp(0, 1) * last
        before = at.floor().long().clamp(max=x.shape[1] - 1)
        after = (before + 1).clamp(max=x.shape[1] - 1)
        share = (at - before).unsqueeze(-1)

        def read(step: Tensor) -> Tensor:
            return x.double().gather(1, step.unsqueeze(-1).expand(-1, -1, x.shape[2]))

        # An exact hit must not meet its neighbour, which may be padding.
        onward = torch.where(share > 0, share * (read(after) - read(before)), 0)
        return torch.where((length > 1).view(-1, 1, 1), read(before) + onward, x.double())


class Drift(StepCorruption):
    """A sensor that drifts: each channel goes up or down in a straight line from where it was.

    Args:
        levels: how far it ends up for the severities 1 to 5, in training deviations.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.25, 0.5, 1.0, 2.0, 3.0)
    unit = "where it ends, in training deviations"
    limits = (0.0, 100.0)

    def steps(
        self, x: Tensor, length: Tensor, level: float, draws: Draws, measured: Measured
    ) -> Tensor:
        """Adds the line."""
        last = (length - 1).clamp(min=1).unsqueeze(1)
        share = torch.arange(x.shape[1], device=x.device) / last
        way = torch.where(draws.uniform(x.shape[2]) < 0.5, -1.0, 1.0).unsqueeze(1)
        return x + level * share.unsqueeze(-1) * way * statistic(x, measured.std)
