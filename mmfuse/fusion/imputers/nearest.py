"""KNNImputer: the mean of the nearest training rows."""

from __future__ import annotations

import torch
from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.fusion.imputers.base import FittedImputer
from mmfuse.fusion.imputers.clusters import shared_distance


class KNNImputer(FittedImputer):
    """The mean of the k nearest training rows that have the modality.

    Nearness is the mean squared difference of standardised columns over the modalities that both
    rows have, each modality counting alike. Rows that share none are no neighbours; without any
    neighbour the training mean stands in. The rows themselves are kept, and are part of the
    checkpoint; a training row that is there when it is looked up is its own neighbour.

    Args:
        k: how many neighbours.
        limit: how many training rows are kept at most, drawn at random; time and memory grow
            with them.
        seed: of that draw.

    Raises:
        ConfigError: no neighbour, or no row to keep.

    Reference: Troyanskaya et al., "Missing value estimation methods for DNA microarrays",
        Bioinformatics 17, 2001.
    """

    kept = ("rows", "rows_present")

    rows: Tensor
    rows_present: Tensor

    def __init__(self, k: int = 5, limit: int = 10_000, seed: int = 0) -> None:
        super().__init__()
        if k < 1 or limit < 1:
            raise ConfigError(f"KNNImputer: k is {k}, limit is {limit}; expected 1 or more each.")
        self.k, self.limit, self.seed = k, limit, seed

    def remember(self, z: Tensor, present: Tensor) -> dict[str, Tensor]:
        """The rows that have something, or a draw of them, in their order."""
        rows = present.any(dim=1).nonzero().squeeze(1)
        if len(rows) > self.limit:
            draw = torch.Generator().manual_seed(self.seed)
            some = torch.randperm(len(rows), generator=draw)[: self.limit].sort().values
            rows = rows[some.to(rows.device)]
        return {"rows": z[rows], "rows_present": present[rows]}

    def expected(self, z: Tensor, present: Tensor) -> Tensor:
        """Looks for each modality's neighbours among the rows that have it."""
        rows, there = self.rows.to(z.dtype), self.rows_present > 0
        columns = self.get_buffer("columns")
        distance = shared_distance(z, present, rows, there, columns)
        k = min(self.k, len(rows))
        parts = []
        for i, part in enumerate(self.split(rows).values()):
            near, place = distance.masked_fill(~there[:, i], torch.inf).topk(k, largest=False)
            found = near.isfinite().unsqueeze(-1)
            total = part[place].masked_fill(~found, 0).sum(dim=1)
            parts.append(total / found.sum(dim=1).clamp(min=1))
        return torch.cat(parts, dim=1)
