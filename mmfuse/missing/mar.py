"""Missing at random: what is lost depends on modalities that are always observed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import checked_rate, columns, draws, drop, require_some
from mmfuse.missing.logistic import logistic, solve

# Made-up rows by which several drivers' intercept is found before any data is seen.
_DRAWN = 8192


class MAR(Missingness):
    """One modality, which stays, decides how likely the others are to go; or several do.

    The probability depends on observed values alone::

        P(m is lost | x, y) = sigmoid(a + slope (q - 1/2))      for m that drives nothing
        q = 1/2 + sum_d w_d (q_d - 1/2)                         sum_d |w_d| = 1

    where q_d is driver d's training quantile; one driver alone has weight 1. A row without a
    driver counts as q_d = 1/2. Unless given, the intercept a makes the mean ``rate`` for
    quantiles uniform on [0, 1] and, of several drivers, independent. Real quantiles have ties
    and gaps: ``calibrated`` finds the a for rows at hand.

    Args:
        rate: mean probability with which another modality goes.
        driver: the modality that decides, and stays; or several with their weights, of which
            a negative one has small values take modalities away.
        slope: how strongly the drivers decide; 0 gives MCAR for the others.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had (it may lack the drivers).
        intercept: a itself, as ``calibrated`` finds it; None for uniform quantiles.

    Raises:
        ConfigError: a rate outside [0, 1], or weights that are all 0.
        UnknownModalityError: a driver that the data lacks.

    Reference: Rubin, "Inference and missing data", Biometrika 63, 1976; Little and Rubin,
    "Statistical Analysis with Missing Data", 3rd edition, 2019, section 1.3.
    """

    def __init__(
        self,
        rate: float,
        driver: str | dict[str, float],
        slope: float = 6.0,
        seed: int = 0,
        keep_one: bool = True,
        intercept: float | None = None,
    ) -> None:
        self.rate, self.driver, self.slope = checked_rate(rate), driver, float(slope)
        self.seed, self.keep_one = seed, keep_one
        given = dict(driver) if isinstance(driver, Mapping) else {driver: 1.0}
        total = sum(abs(w) for w in given.values())
        if not 0 < total < float("inf"):
            raise ConfigError(
                f"driver of MAR is {driver!r}; expected a modality, or modalities with weights of "
                "which one at least is not 0."
            )
        self.weights = {m: w / total for m, w in given.items()}
        self.intercept = self._constant = intercept
        if intercept is None and len(given) > 1 and 0 < rate < 1:
            made_up = self._projected(draws(0, torch.arange(_DRAWN), given, "drivers"))
            self._constant = solve(rate, made_up, slope)

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        curve = logistic(self._quantile(facts), self.rate, self.slope, self._constant)
        probability = curve[:, None].repeat(1, len(facts.modalities))
        probability[:, columns(self.weights, facts, "MAR")] = 0
        return drop(facts, probability, self.seed, self.keep_one)

    def calibrated(self, facts: RowFacts) -> MAR:
        """The same mechanism, whose mean probability over these rows is ``rate``.

        The intercept is found by bisection on the rows at hand, gaps and ties included, each
        counting as often as it has other modalities. Choose it on training rows and use it for
        all. What rows get back so as to keep one (which none does that has a driver) lowers the
        share that is lost, as it does for ``MCAR``.

        Args:
            facts: the rows, such as ``data.facts("train")``.

        Raises:
            DataError: no row has a modality that could be lost.
            UnknownModalityError: a driver that the data lacks.
        """
        if self.rate in (0, 1):
            return self
        at_risk = facts.present.clone()
        at_risk[:, columns(self.weights, facts, "MAR")] = False
        require_some(at_risk, "MAR")
        quantile = self._quantile(facts)[:, None].expand(at_risk.shape)[at_risk]
        found = solve(self.rate, quantile, self.slope)
        return MAR(self.rate, self.driver, self.slope, self.seed, self.keep_one, found)

    def _quantile(self, facts: RowFacts) -> Tensor:
        """``(B,)`` the drivers' projection, between 0 and 1."""
        places = columns(self.weights, facts, "MAR")
        known = facts.present[:, places]
        return self._projected(torch.where(known, facts.value[:, places].double(), 0.5))

    def _projected(self, quantiles: Tensor) -> Tensor:
        weight = quantiles.new_tensor(list(self.weights.values()))
        return 0.5 + (weight * (quantiles - 0.5)).sum(dim=1)
