"""Missing completely at random: nothing of the row has a say in what is lost."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import checked_rate, columns, drop


class MCAR(Missingness):
    """Every modality of every row goes with a fixed probability.

    The probability depends on nothing observed or unobserved::

        P(m is lost | x, y) = rate_m

    With the same seed a higher rate takes away all that a lower one does. When rows keep
    one modality, the share that is lost falls to ``r - r^M / M`` for M modalities and one
    rate.

    Args:
        rate: one probability, or one for each modality by name; an unnamed one stays.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had.

    Raises:
        ConfigError: a rate outside [0, 1].
        UnknownModalityError: a rate for a modality that the data lacks.

    Reference: Rubin, "Inference and missing data", Biometrika 63, 1976; Little and Rubin,
    "Statistical Analysis with Missing Data", 3rd edition, 2019, section 1.3.

    Example:
        >>> rows = RowFacts(
        ...     ("a", "b"),
        ...     torch.arange(4),
        ...     torch.ones(4, 2).bool(),
        ...     torch.zeros(4).long(),
        ...     torch.full((4, 2), 0.5),
        ... )
        >>> MCAR(rate={"b": 1.0}).keep(rows).tolist()[0]
        [True, False]
    """

    def __init__(
        self, rate: float | dict[str, float], seed: int = 0, keep_one: bool = True
    ) -> None:
        if isinstance(rate, Mapping):
            self.rate: float | dict[str, float] = {
                m: checked_rate(r, f"rate of {m!r}") for m, r in rate.items()
            }
        else:
            self.rate = checked_rate(rate)
        self.seed, self.keep_one = seed, keep_one

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        return drop(facts, self._probability(facts), self.seed, self.keep_one)

    def _probability(self, facts: RowFacts) -> Tensor:
        if not isinstance(self.rate, dict):
            return torch.full_like(facts.value, self.rate, dtype=torch.float64)
        probability = torch.zeros_like(facts.value, dtype=torch.float64)
        for column, rate in zip(
            columns(self.rate, facts, type(self).__name__), self.rate.values(), strict=True
        ):
            probability[:, column] = rate
        return probability


class ModalityDropout(MCAR):
    """Missing completely at random in training, drawn anew every epoch.

    Args:
        rate: one probability, or one for each modality by name.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had.

    Raises:
        ConfigError: a rate outside [0, 1].
        UnknownModalityError: a rate for a modality that the data lacks.

    Reference: Neverova et al., "ModDrop: Adaptive Multi-Modal Gesture Recognition",
    TPAMI 2016, arXiv:1501.00102.

    Departs from the authors' method: a dropped modality is declared absent, where theirs
    is set to zero; and a row keeps at least one.
    """

    def __init__(
        self, rate: float | dict[str, float], seed: int = 0, keep_one: bool = True
    ) -> None:
        super().__init__(rate, seed, keep_one)

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away in this epoch."""
        return drop(facts, self._probability(facts), self.seed, self.keep_one, "epoch", epoch)
