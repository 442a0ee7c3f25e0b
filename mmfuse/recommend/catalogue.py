"""ItemCatalogue: the modalities of each item, by its code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mmfuse.batch import Batch, RawInput
from mmfuse.data.columns import NumberColumn
from mmfuse.data.datamodule import Missing, Split
from mmfuse.data.dataset import FusionDataset
from mmfuse.data.reading import Preprocess, spread
from mmfuse.recommend.item_rows import ItemRows
from mmfuse.spec import DataSpec

_VECTORS = ("vector", "table", "tokens", "series")


class ItemCatalogue:
    """The modalities of each item, by its code.

    An item without a row has no modality; ``Batch.present`` says so. Simulated absence is that
    of the rows' data: ``missing`` holds in training and validation, ``test_missing`` in test.

    Args:
        rows: the data whose rows are items.
        row_of: ``(I,)`` long, each item's row, -1 for none.
        resident_limit: bytes up to which vectors of all rows are kept in memory.
    """

    def __init__(self, rows: ItemRows, row_of: Tensor, resident_limit: int = 4 << 30) -> None:
        self.rows, self.row_of, self.resident_limit = rows, row_of, resident_limit
        self._all: Batch | None = None
        self._datasets: dict[Split, FusionDataset] = {}
        self._presence: dict[Split, Tensor] = {}

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def spec(self) -> DataSpec:
        """What the modalities look like; statistics are those of items in training."""
        return self.rows.spec

    @property
    def modalities(self) -> tuple[str, ...]:
        """The order that columns of presence follow."""
        return tuple(self.spec.modalities)

    @property
    def resident(self) -> bool:
        """Whether every row is numbers of one shape, and all fit in memory: read once."""
        columns = self._dataset("train").columns
        kinds = {s.kind for s in self.spec.modalities.values()}
        if not kinds <= set(_VECTORS):
            return False
        sizes = [c.size if isinstance(c, NumberColumn) else None for c in columns.values()]
        if None in sizes:
            return False
        return 4 * len(self) * sum(s for s in sizes if s is not None) <= self.resident_limit

    @property
    def present(self) -> Tensor:
        """``(I, M)`` bool, which modalities an item shows in training."""
        return self.presence("train")

    def presence(self, split: Split = "train", missing: Missing = "own") -> Tensor:
        """Which modalities each item shows.

        Args:
            split: whose simulated absence applies.
            missing: another simulator, or None for natural gaps alone.

        Returns:
            ``(I, M)`` bool
        """
        if missing == "own":
            if split not in self._presence:
                self._presence[split] = self._shown(self._dataset(split))
            return self._presence[split]
        return self._shown(self.rows.dataset(split, missing))

    def batch(
        self, items: Tensor | None = None, split: Split = "train", missing: Missing = "own"
    ) -> Batch:
        """Items as a multimodal batch, whose ``index`` is their codes.

        Args:
            items: ``(n,)`` long codes, on any device; None for all.
            split: whose simulated absence applies.
            missing: another simulator, or None for natural gaps alone.

        Returns:
            the items, on the CPU; where all are resident, some are a view of them
        """
        codes = torch.arange(len(self)) if items is None else items.cpu()
        if not self.resident:
            made = self._dataset(split) if missing == "own" else self.rows.dataset(split, missing)
            return self._fetch(made, codes)
        if self._all is None:
            made = self.rows.dataset("train", None)
            self._all = self._fetch(made, torch.arange(len(self)))
        found = self._all if items is None else self._all.view(codes)
        return found.keep(self.presence(split, missing)[codes])

    def features(self) -> dict[str, Tensor]:
        """Raw vectors of every item, zero where an item has none.

        Returns:
            ``(I, w)`` float for each modality of vectors or of numbers in a table; modalities
            of other kinds are left out
        """
        columns, found = self._dataset("train").columns, {}
        there = self.row_of >= 0
        rows = self.row_of[there].numpy()
        for m, column in columns.items():
            spec = self.spec.modalities[m]
            if not isinstance(column, NumberColumn) or spec.kind not in ("vector", "table"):
                continue
            values = torch.from_numpy(column.take(rows)).nan_to_num()
            values[~torch.from_numpy(column.present[rows])] = 0
            blank = values.new_zeros(len(self), values.shape[1])
            blank[there] = values
            found[m] = blank[:, : spec.numeric_width]
        return found

    def attach(self, preprocess: Mapping[str, Preprocess]) -> None:
        """Takes the encoders' preprocessing, which then runs wherever rows are read."""
        self.rows.attach(preprocess)
        self._forget()

    def adopt(self, spec: DataSpec) -> None:
        """Takes a trained model's statistics and category levels."""
        self.rows.adopt(spec)
        self._forget()

    def _forget(self) -> None:
        self._all = None
        self._datasets.clear()
        self._presence.clear()

    def _dataset(self, split: Split) -> FusionDataset:
        if split not in self._datasets:
            self._datasets[split] = self.rows.dataset(split)
        return self._datasets[split]

    def _shown(self, made: FusionDataset) -> Tensor:
        present = made.present
        if made.missing is not None:
            present = present & made.missing.keep(made.facts(torch.arange(len(present))))
        there = self.row_of >= 0
        return present[self.row_of.clamp_min(0)] & there[:, None]

    def _fetch(self, made: FusionDataset, codes: Tensor) -> Batch:
        """Rows of the items that have one, and blanks for the others."""
        rows = self.row_of[codes]
        there = (rows >= 0).nonzero().squeeze(1)
        if not len(there):
            blank = torch.zeros(len(codes), len(self.modalities), dtype=torch.bool)
            return Batch(self.modalities, {}, blank, index=codes)
        found = made.__getitems__(rows[there])
        inputs: dict[str, RawInput] = {
            m: spread(x, there, len(codes)) for m, x in found.inputs.items()
        }
        present = torch.zeros(len(codes), found.present.shape[1], dtype=torch.bool)
        present[there] = found.present
        # A problem names its row in the data; the batch's rows are items.
        problems = tuple(
            replace(p, row=int(codes[(rows == p.row).nonzero()[0, 0]])) for p in found.problems
        )
        return Batch(self.modalities, inputs, present, index=codes, problems=problems)
