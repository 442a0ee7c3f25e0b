"""UnseenSeries: how well a GPVAE infers a series from the other modalities of its row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.gpvae.model import MMGPVAE


class UnseenSeries:
    """R^2 of each modality when it is taken away, over the rows that have another one too.

    ::

        R^2 = 1 - sum (x - x_inferred)^2 / sum (x - mean of the channel)^2

    over rows, steps and channels, the mean being that of the rows that are scored.

    Args:
        model: infers.
    """

    def __init__(self, model: MMGPVAE) -> None:
        self.model = model
        self.forget()

    def forget(self) -> None:
        """An empty start."""
        self._sums: dict[str, Tensor] = {}

    def add(self, batch: Batch) -> None:
        """Takes a batch."""
        for i, m in enumerate(batch.modalities):
            others = torch.ones(len(batch.modalities), dtype=torch.bool, device=batch.index.device)
            others[i] = False
            rows = (batch.present[:, i] & batch.present[:, others].any(dim=1)).nonzero().squeeze(1)
            if not len(rows) or len(batch.modalities) < 2:
                continue
            some = batch.rows(rows)
            inferred = self.model.reconstruct(self.model.infer(some.keep(others)))[m].double()
            x = some.inputs[m].double()  # type: ignore[union-attr]
            error = (x - inferred).square().sum(dim=(0, 1))
            count = torch.full_like(error, x.shape[0] * x.shape[1])
            sums = torch.stack([error, x.sum(dim=(0, 1)), x.square().sum(dim=(0, 1)), count])
            self._sums[m] = self._sums[m] + sums if m in self._sums else sums

    def compute(self, reduce: Callable[..., Any] | None) -> dict[str, Tensor]:
        """R^2 of each modality that could be scored, and an empty start.

        Args:
            reduce: a strategy's reduction over processes; None for one process.
        """
        found = {}
        for m in self.model.modalities:
            sums = self._sums.get(m)
            if reduce is not None:  # every process asks, also for what it has not seen
                device = self.model.raw_length.device
                width = self.model.spec.modalities[m].width
                mine = torch.zeros(4, width, dtype=torch.double, device=device)
                sums = reduce(mine if sums is None else sums, reduce_op="sum")
            if sums is None or not bool(sums[3].any()):
                continue
            error, total, squares, count = sums
            spread = (squares - total.square() / count).sum()
            found[m] = (1 - error.sum() / spread).float()
        self.forget()
        return found
