"""Corruptions of tables and vectors: cells that are noisy, missing, swapped, rounded or wrong."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.robustness.corruptions.base import Corruption
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.measured import Measured
from mmfuse.spec import ModalitySpec


class CellCorruption(Corruption):
    """Base of corruptions of rows of cells: a subclass writes ``numbers``, ``codes`` or both.

    A missing cell (NaN) stays missing, and nothing is taken from it.

    Args:
        levels: what the severities 1 to 5 mean; None for the class's defaults.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    kinds = frozenset({"vector", "table"})
    #: The fewest columns of numbers that it needs.
    least = 1

    @abstractmethod
    def numbers(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """The leading columns, ``(B, numbers)``; never written to."""

    def codes(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """The columns of categories, ``(B, categories)``, 0 where missing; they stay."""
        return x

    def unfit(self, spec: ModalitySpec) -> str | None:
        """Besides a wrong kind: too few columns of numbers."""
        if reason := super().unfit(spec):
            return reason
        if spec.numeric_width >= self.least:
            return None
        return f"needs {self.least} columns of numbers, there are {spec.numeric_width}"

    def corrupt(self, raw: Any, level: float, draws: Draws, measured: Measured | None) -> Any:
        """All rows at once."""
        known = self.known(measured)
        width = known.spec.numeric_width
        left = self.numbers(raw[:, :width], level, draws, known)
        right = self.codes(raw[:, width:], level, draws, known)
        return torch.where(raw.isnan(), raw, torch.cat([left, right], dim=1).to(raw.dtype))


class CellNoise(CellCorruption):
    """Normal noise on every number, scaled by its deviation over training rows.

    A number that never changes in training has no noise.

    Args:
        levels: the noise's deviation for the severities 1 to 5, in training deviations.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.1, 0.25, 0.5, 1.0, 2.0)
    unit = "deviation, in training deviations"
    limits = (0.0, 100.0)

    def numbers(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """Adds the noise."""
        noise = draws.normal(x.shape[1]) * statistic(x, measured.std)
        return x + (level * noise).to(x.dtype)


class MissingCells(CellCorruption):
    """Cells that nobody filled in: the training mean stands there, or the unknown category.

    Args:
        levels: the share of the cells for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the cells"
    least = 0

    def numbers(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """Means in place of numbers."""
        lost = draws.uniform(x.shape[1]) < level
        return torch.where(lost, statistic(x, measured.mean).to(x.dtype), x)

    def codes(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """The code 0 in place of categories."""
        return torch.where(draws.uniform(x.shape[1], "codes") < level, 0, x)


class SwappedCells(CellCorruption):
    """Numbers that stand in each other's column: each pair of neighbours changes places or not.

    Args:
        levels: the share of the pairs for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.

    MultiBench's swap copies one of the two over the other, so that a row loses values.
    """

    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the pairs of neighbours"
    least = 2

    def numbers(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """Swaps pairs of which both are there; where the first pair starts is drawn by row."""
        width = x.shape[1]
        drawn = draws.uniform(width + 1)
        first, place = drawn[:, :1] * 2 // 1, torch.arange(width, device=x.device)
        # Pairs start at even places of some rows, at odd places of others.
        is_left = (place + first) % 2 == 0
        partner = torch.where(is_left, place + 1, place - 1).long()
        pair = torch.minimum(place, partner).clamp(min=0)
        is_pair = (partner >= 0) & (partner < width)
        partner = partner.clamp(0, width - 1)
        struck = is_pair & (drawn[:, 1:].gather(1, pair) < level)
        other = x.gather(1, partner)
        return torch.where(struck & ~other.isnan() & ~x.isnan(), other, x)


class RoundedCells(CellCorruption):
    """Numbers on a coarse grid about their training mean, as of a poor instrument.

    Args:
        levels: the grid's step for the severities 1 to 5, in training deviations.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.25, 0.5, 1.0, 1.5, 2.5)
    unit = "step of the grid, in training deviations"
    limits = (1e-6, 100.0)

    def numbers(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """Rounds; a number that never changes in training stays."""
        step, mean = level * statistic(x, measured.std), statistic(x, measured.mean)
        rounded = mean + step * ((x - mean) / torch.where(step > 0, step, 1)).round()
        return torch.where(step > 0, rounded.to(x.dtype), x)


class SlippedCells(CellCorruption):
    """Numbers ten times too large, as of a slipped decimal point.

    Args:
        levels: the share of the numbers for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    defaults = (0.01, 0.03, 0.06, 0.12, 0.2)
    unit = "share of the numbers"

    def numbers(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """Multiplies them."""
        return torch.where(draws.uniform(x.shape[1]) < level, 10 * x, x)


class WrongCategories(CellCorruption):
    """Categories taken for any other of their column; a missing one stays missing.

    Args:
        levels: the share of the cells for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit, or a modality of which nothing is known.
    """

    kinds = frozenset({"table"})
    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the categories"
    least = 0

    def unfit(self, spec: ModalitySpec) -> str | None:
        """Besides a wrong kind: no column that has a choice."""
        if reason := super().unfit(spec):
            return reason
        if max(spec.categories, default=0) > 2:
            return None
        return "needs a column of two categories or more, there is none"

    def numbers(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """They stay."""
        return x

    def codes(self, x: Tensor, level: float, draws: Draws, measured: Measured) -> Tensor:
        """Goes on by any number of codes but a whole turn, among those from 1."""
        levels = x.new_tensor(measured.spec.categories) - 1
        onward = 1 + (draws.uniform(x.shape[1], "which") * (levels - 1)).floor().clamp(min=0)
        other = (x - 1 + onward.to(x.dtype)) % levels.clamp(min=1) + 1
        struck = (draws.uniform(x.shape[1]) < level) & (x > 0) & (levels > 1)
        return torch.where(struck, other, x)


def statistic(x: Tensor, values: tuple[float, ...]) -> Tensor:
    """A training statistic of each number as float64; its last axis is that of ``x``.

    Raises:
        ConfigError: it is not known.
    """
    if len(values) != x.shape[-1]:
        raise ConfigError(
            f"Training means and deviations are known of {len(values)} numbers, rows have "
            f"{x.shape[-1]}. Standardise the data, or give measured=measure(data)."
        )
    return torch.tensor(values, dtype=torch.float64, device=x.device)
