"""Missing not at random: what is lost depends on the label, or on the lost value itself."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import checked_rate, columns, drop, require_some
from mmfuse.missing.logistic import logistic, solve


class LabelMNAR(Missingness):
    """Rows of some label groups lose modalities more often than the rest.

    ::

        P(m is lost | x, y) = rate         if the row's group is in ``groups``
                              other_rate   otherwise

    Absence then tells the label, and a model that learns to read absence fails when the
    relation turns: compare with ``flipped``. A row of unknown label loses nothing.

    Args:
        rate: probability for rows of ``groups``.
        other_rate: probability for the others.
        groups: label groups as ``RowFacts.group`` counts them (the class; 1 for the upper
            half of a regression target). None is group 1 alone.
        modalities: which can be lost; None for all.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had.

    Raises:
        ConfigError: a rate outside [0, 1].
        UnknownModalityError: a modality that the data lacks.

    Reference: Rubin, "Inference and missing data", Biometrika 63, 1976; as a test of
    fusion models, Swamy et al., "MultiModN", NeurIPS 2023, arXiv:2309.14118, section 5.
    """

    def __init__(
        self,
        rate: float = 0.8,
        other_rate: float = 0.0,
        groups: list[int] | None = None,
        modalities: list[str] | None = None,
        seed: int = 0,
        keep_one: bool = True,
    ) -> None:
        self.rate = checked_rate(rate)
        self.other_rate = checked_rate(other_rate, "other_rate")
        self.groups = [1] if groups is None else list(groups)
        self.modalities, self.seed, self.keep_one = modalities, seed, keep_one

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        chosen = torch.isin(facts.group, facts.group.new_tensor(self.groups))
        rate = torch.where(chosen, self.rate, self.other_rate).double()
        rate = rate.masked_fill(facts.group < 0, 0)
        probability = torch.zeros_like(facts.value, dtype=torch.float64)
        for column in columns(self.modalities, facts, "LabelMNAR"):
            probability[:, column] = rate
        return drop(facts, probability, self.seed, self.keep_one)

    def flipped(self) -> LabelMNAR:
        """The same mechanism with the two kinds of rows exchanged."""
        return LabelMNAR(
            self.other_rate, self.rate, self.groups, self.modalities, self.seed, self.keep_one
        )


class ValueMNAR(Missingness):
    """A modality goes more often the larger its own value is.

    The probability depends on the very value that is lost::

        P(m is lost | x, y) = sigmoid(a + slope (q_m - 1/2))

    where q_m is the modality's own training quantile. Unless given, the intercept a makes the
    mean ``rate`` for q_m uniform on [0, 1]; ``calibrated`` finds the a for rows at hand.

    Args:
        rate: mean probability with which a modality goes.
        slope: how strongly its value decides; negative takes small values away.
        modalities: which can be lost; None for all.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had.
        intercept: a itself, as ``calibrated`` finds it; None for uniform quantiles.

    Raises:
        ConfigError: a rate outside [0, 1].
        UnknownModalityError: a modality that the data lacks.

    Reference: Rubin, "Inference and missing data", Biometrika 63, 1976; Little and Rubin,
    "Statistical Analysis with Missing Data", 3rd edition, 2019, chapter 15.
    """

    def __init__(
        self,
        rate: float,
        slope: float = 6.0,
        modalities: list[str] | None = None,
        seed: int = 0,
        keep_one: bool = True,
        intercept: float | None = None,
    ) -> None:
        self.rate, self.slope = checked_rate(rate), float(slope)
        self.modalities, self.seed, self.keep_one = modalities, seed, keep_one
        self.intercept = intercept

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        curve = logistic(facts.value.double(), self.rate, self.slope, self.intercept)
        probability = torch.zeros_like(curve)
        chosen = columns(self.modalities, facts, "ValueMNAR")
        probability[:, chosen] = curve[:, chosen]
        return drop(facts, probability, self.seed, self.keep_one)

    def flipped(self) -> ValueMNAR:
        """The same mechanism with small values lost instead of large ones, at the same rate.

        A calibrated one's has to be calibrated anew.
        """
        return ValueMNAR(self.rate, -self.slope, self.modalities, self.seed, self.keep_one)

    def calibrated(self, facts: RowFacts) -> ValueMNAR:
        """The same mechanism, whose mean probability over these rows is ``rate``.

        As ``MAR.calibrated``.

        Args:
            facts: the rows, such as ``data.facts("train")``.

        Raises:
            DataError: no row has a modality that could be lost.
            UnknownModalityError: a modality that the data lacks.
        """
        if self.rate in (0, 1):
            return self
        at_risk = torch.zeros_like(facts.present)
        chosen = columns(self.modalities, facts, "ValueMNAR")
        at_risk[:, chosen] = facts.present[:, chosen]
        require_some(at_risk, "ValueMNAR")
        found = solve(self.rate, facts.value[at_risk], self.slope)
        return ValueMNAR(self.rate, self.slope, self.modalities, self.seed, self.keep_one, found)
