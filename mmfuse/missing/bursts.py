"""Bursts: a modality fails for a while, in rows that follow one another."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import checked_rate, columns, thin
from mmfuse.missing.hashing import uniform

# Rows looked back at in one go.
_WINDOW = 32


class Bursts(Missingness):
    """Each modality fails in bursts: runs of rows that follow one another in the data set.

    Row numbers are the time. Each modality is a Markov chain of two states::

        P(lost at t) = rate        mean length of a run of lost rows = length

    The chain is written so that any row's state is found without the others': at row t it
    draws anew with probability ``1 / (length (1 - rate))``, and otherwise stays as it was. So
    the state at t is the draw of the last row at or before t that drew anew. Nothing of a
    row's content has a say in what is lost, but neighbours tell of each other.

    Args:
        rate: probability with which a modality goes, in the long run.
        length: mean length of a burst in rows, at least ``1 / (1 - rate)``, at which rows are
            lost independently.
        modalities: which can be lost, each in bursts of its own; None for all.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had.

    Raises:
        ConfigError: a rate outside [0, 1), or a length that the rate does not allow.
        UnknownModalityError: a modality that the data lacks.

    Reference: Gilbert, "Capacity of a burst-noise channel", Bell System Technical Journal 39,
    1960, of whose channel all bits of the bad state are lost.
    """

    def __init__(
        self,
        rate: float,
        length: float = 20.0,
        modalities: list[str] | None = None,
        seed: int = 0,
        keep_one: bool = True,
    ) -> None:
        self.rate = checked_rate(rate)
        if rate == 1:
            raise ConfigError("rate of Bursts is 1, which never ends; expected less than 1.")
        # 1e-9: lengths such as 1 / (1 - 0.9), which floats make 10.000000000000002.
        if not 1 / (1 - rate) <= length * (1 + 1e-9) < math.inf:
            raise ConfigError(
                f"length of Bursts is {length!r}; at rate {rate:g} a run of lost rows is at least "
                f"{1 / (1 - rate):g} rows long on average. Give that or more."
            )
        self.length, self.modalities = float(length), modalities
        self.seed, self.keep_one = seed, keep_one

    @property
    def renewal(self) -> float:
        """Probability with which a row draws anew."""
        return min(1 / (self.length * (1 - self.rate)), 1.0)

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        number = torch.ones_like(facts.value, dtype=torch.float64)
        for place in columns(self.modalities, facts, "Bursts"):
            m = facts.modalities[place]
            drawn = self._last_renewal(facts.index, m)
            number[:, place] = uniform(self.seed, drawn, m, "bursts")
        probability = torch.full_like(number, self.rate)
        # The numbers last as long as a state does, and with them which modality is given back.
        return thin(facts, number, probability, self.keep_one)

    def _last_renewal(self, index: Tensor, modality: str) -> Tensor:
        """The row at or before each row that last drew anew."""
        found = index.clone()
        waiting = torch.arange(len(index), device=index.device)
        size = min(math.ceil(1 / self.renewal), _WINDOW)
        window = torch.arange(size, device=index.device)
        while len(waiting):
            looked_at = found[waiting, None] - window
            draws_anew = uniform(self.seed, looked_at, modality, "renewal") < self.renewal
            is_found = draws_anew.any(dim=1)
            # argmax gives the first that is True.
            found[waiting] -= torch.where(is_found, draws_anew.int().argmax(dim=1), size)
            waiting = waiting[~is_found]
        return found
