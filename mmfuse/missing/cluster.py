"""Clusters: whole sites, users or speakers lose a modality."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import DataError
from mmfuse.missing.base import RowFacts
from mmfuse.missing.drop import draws, thin
from mmfuse.missing.mcar import MCAR


class ClusterMCAR(MCAR):
    """All rows of a site, a user or a speaker lose a modality, or none of them does.

    The clusters are drawn completely at random::

        P(all rows of cluster c lose m) = rate_m

    They are the values of the data's ``groups``, which also stay in one split. A row whose
    cluster is unknown loses nothing. The share of rows that is lost strays far from the rate
    where clusters are few or of unequal size.

    Args:
        rate: one probability, or one for each modality by name; an unnamed one stays.
        seed: of the draws.
        keep_one: a row never loses the last modality that it had.

    Raises:
        ConfigError: a rate outside [0, 1].
        DataError: the data names no groups.
        UnknownModalityError: a rate for a modality that the data lacks.

    Reference: "systematically missing" in Resche-Rigon et al., "Multiple imputation for
    handling systematically missing confounders in meta-analysis of individual participant
    data", Statistics in Medicine 32, 2013.
    """

    def __init__(
        self, rate: float | dict[str, float], seed: int = 0, keep_one: bool = True
    ) -> None:
        super().__init__(rate, seed, keep_one)

    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away."""
        if facts.cluster is None:
            raise DataError(
                "ClusterMCAR takes modalities from whole clusters; the data names none. Give the "
                "data `groups`, the column of the site, user or speaker."
            )
        known = (facts.cluster >= 0)[:, None]
        probability = torch.where(known, self._probability(facts), 0.0)
        number = draws(self.seed, facts.cluster, facts.modalities, "cluster")
        return thin(facts, number, probability, self.keep_one)
