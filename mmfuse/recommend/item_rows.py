"""ItemRows: any data whose rows are items, split and measured by who trains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfuse.data import FusionDataModule
from mmfuse.data.source import Source

#: What of the data's own options holds for its items.
_TAKEN = ("cached", "missing", "on_error", "only", "seed", "test_missing")


class ItemRows(FusionDataModule):
    """Rows of items: those that someone takes in training are the training rows.

    Statistics are theirs alone, so that nothing is learned of items that come later. For
    simulators an item's group is 1 if more users took it in training than the median training
    item, else 0: ``LabelMNAR`` then takes modalities from popular items, or from rare ones.

    Args:
        inner: the data, whose own splits and labels do not count.
        source: what it has read.
        popularity: ``(rows,)`` long, how many users took each row's item in training.
    """

    def __init__(self, inner: FusionDataModule, source: Source, popularity: Tensor) -> None:
        super().__init__()
        for name in _TAKEN:
            setattr(self, name, getattr(inner, name))
        # Items with the same content are items all the same.
        self._options = replace(inner._options, val=0.0, test=0.0, on_duplicates="allow")
        self.inner, self.source, self.popularity = inner, source, popularity

    def read(self) -> Source:
        """The data's rows, each in train or test."""
        split = np.where(self.popularity.numpy() > 0, "train", "test")
        return replace(self.source, split=split, groups=None, targets={})

    def setup(self, stage: str | None = None) -> None:
        """Reads, checks and measures the rows, once."""
        is_new = self._ready is None
        super().setup(stage)
        assert self._ready is not None
        if is_new:
            taken = self.popularity[self.popularity > 0]
            middle = taken.median() if len(taken) else torch.tensor(0)
            self._ready.facts.group = (self.popularity > middle).long()

    def ids(self, column: str) -> np.ndarray:
        """A column that names the rows."""
        return self.inner.ids(column)

    def settings(self) -> dict[str, Any]:
        """How the data is made."""
        return self.inner.settings()

    def content(self) -> dict[str, Any]:
        """What decides what the rows hold."""
        return self.inner.content()
