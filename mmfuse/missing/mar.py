"""Missing at random: what is lost depends on a modality that is always observed."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import checked_rate, columns, drop
from mmfuse.missing.logistic import logistic


class MAR(Missingness):
    """One modality, which stays, decides how likely the others are to go.

    The probability depends on observed values alone::

        P(m is lost | x, y) = sigmoid(a + slope (q_driver - 1/2))      for m != driver

    where q is the driver's training quantile and a makes the mean ``rate`` for q uniform
    on [0, 1]. A row without the driver counts as q = 1/2.

    Args:
        rate: mean probability with which another modality goes.
        driver: the modality that decides, and stays.
        slope: how strongly the driver decides; 0 gives MCAR for the others.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had (it may lack the driver).

    Raises:
        ConfigError: a rate outside [0, 1].
        UnknownModalityError: a driver that the data lacks.

    Reference: Rubin, "Inference and missing data", Biometrika 63, 1976; Little and Rubin,
    "Statistical Analysis with Missing Data", 3rd edition, 2019, section 1.3.
    """

    def __init__(
        self,
        rate: float,
        driver: str,
        slope: float = 6.0,
        seed: int = 0,
        keep_one: bool = True,
    ) -> None:
        self.rate, self.driver, self.slope = checked_rate(rate), driver, float(slope)
        self.seed, self.keep_one = seed, keep_one

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        (driver,) = columns([self.driver], facts, "MAR")
        known = facts.present[:, driver]
        quantile = torch.where(known, facts.value[:, driver].double(), 0.5)
        probability = logistic(quantile, self.rate, self.slope)[:, None].repeat(
            1, len(facts.modalities)
        )
        probability[:, driver] = 0
        return drop(facts, probability, self.seed, self.keep_one)
