"""One lost: a share of the rows loses exactly one modality."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.drop import checked_rate, columns, draws
from mmfuse.missing.hashing import uniform


class OneLost(Missingness):
    """A share of the rows loses exactly one of the modalities it has.

    ::

        P(the row loses one) = rate        P(it is m) = weight_m / sum of the weights of those there

    What is lost depends on nothing observed or unobserved. With the same seed and weights a
    higher rate takes away all that a lower one does. Of M modalities that are all there the
    share ``rate / M`` is lost.

    Args:
        rate: share of the rows that lose a modality.
        weights: how likely each modality is the one, by name and in proportion; an unnamed
            one stays. None for equal weights.
        seed: of the draws.
        keep_one: a row that has but one modality keeps it.

    Raises:
        ConfigError: a rate outside [0, 1], a negative weight, or none above 0.
        UnknownModalityError: a weight for a modality that the data lacks.

    Reference: the absence of Lee et al., "Multimodal Prompting with Missing Modalities for
    Visual Recognition", CVPR 2023, arXiv:2303.03369, for any number of modalities.

    Example:
        >>> rows = RowFacts(
        ...     ("a", "b"),
        ...     torch.arange(3),
        ...     torch.ones(3, 2).bool(),
        ...     torch.zeros(3).long(),
        ...     torch.full((3, 2), 0.5),
        ... )
        >>> OneLost(rate=1.0, weights={"b": 1.0}).keep(rows).tolist()[0]
        [True, False]
    """

    def __init__(
        self,
        rate: float,
        weights: dict[str, float] | None = None,
        seed: int = 0,
        keep_one: bool = True,
    ) -> None:
        self.rate = checked_rate(rate)
        if weights is not None:
            wrong = {m: w for m, w in weights.items() if not 0 <= w < float("inf")}
            if wrong or not any(weights.values()):
                raise ConfigError(
                    f"weights of OneLost are {weights}; expected numbers from 0 up, one above 0."
                )
        self.weights = weights
        self.seed, self.keep_one = seed, keep_one

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        given = self.weights or dict.fromkeys(facts.modalities, 1.0)
        weight = facts.value.new_zeros(len(facts.modalities), dtype=torch.float64)
        weight[columns(given, facts, "OneLost")] = weight.new_tensor(list(given.values()))
        can_go = facts.present & (weight > 0)
        struck = uniform(self.seed, facts.index, "one lost") < self.rate
        struck = struck & can_go.any(dim=1)
        if self.keep_one:
            struck = struck & (facts.present.sum(dim=1) > 1)
        # The first of exponential waiting times is m's with a chance in proportion to its weight.
        number = draws(self.seed, facts.index, facts.modalities, "which one")
        wait = -torch.log1p(-number) / weight
        first = wait.masked_fill(~can_go, torch.inf).argmin(dim=1)
        lost = torch.nn.functional.one_hot(first, len(facts.modalities)).bool()
        return ~(lost & struck[:, None])
