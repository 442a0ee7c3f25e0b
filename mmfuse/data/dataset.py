"""FusionDataset: columns of modalities seen as batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmfuse.batch import Batch, RawInput
from mmfuse.data.columns import Column, ObjectColumn
from mmfuse.data.facts import Facts
from mmfuse.missing import Missingness, RowFacts
from mmfuse.spec import DataSpec
from mmfuse.tokens import Tokens

Preprocess = Callable[[Any], RawInput]


class FusionDataset(Dataset[Batch]):
    """Rows as ``Batch``, fetched a batch at a time.

    Args:
        columns: each modality's reader.
        spec: what the modalities and targets look like.
        targets: each target's values, one line a row.
        facts: what simulators may know of the rows; needed with ``missing``.
        missing: who else is taken away.

    Example:
        >>> from mmfuse.data import ArrayData
        >>> data = ArrayData({"a": [[1.0, 2.0], None]}, split=["train", "test"], val=0)
        >>> data.dataset("test").__getitems__([1]).present
        tensor([[False]])
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        spec: DataSpec,
        targets: Mapping[str, Tensor],
        facts: Facts | None = None,
        missing: Missingness | None = None,
    ) -> None:
        self.columns, self.spec, self.missing = dict(columns), spec, missing
        self.modalities = tuple(spec.modalities)
        self.preprocess: dict[str, Preprocess] = {}
        self.targets = dict(targets)
        self._facts = facts
        masks = [torch.from_numpy(c.present) for c in self.columns.values()]
        self.present = torch.stack(masks, dim=1)

    def __len__(self) -> int:
        return len(self.present)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int] | Tensor) -> Batch:
        """The rows as one batch; ``Batch.index`` is the row in the whole data set."""
        index = torch.as_tensor(rows, dtype=torch.long)
        present = self.present[index]
        if self.missing is not None:
            present = present & self.missing.keep(self.facts(index))
        where = index.numpy()
        inputs = {}
        for i, (m, column) in enumerate(self.columns.items()):
            found = self._fetch(m, column, where, present[:, i])
            if found is not None:
                inputs[m] = found
        target = {t: v[index] for t, v in self.targets.items()} or None
        return Batch(self.modalities, inputs, present, target, index)

    def facts(self, rows: Tensor) -> RowFacts:
        """What a simulator may know of the rows."""
        assert self._facts is not None
        return self._facts.of(rows, self.present[rows])

    def _fetch(
        self, modality: str, column: Column, rows: np.ndarray, present: Tensor
    ) -> RawInput | None:
        prepare = self.preprocess.get(modality)
        if not isinstance(column, ObjectColumn):
            found = column.fetch(rows)
            return prepare(found) if prepare else found
        here = present.nonzero().squeeze(1)
        if prepare is None or not len(here):
            return None  # nothing to show before an encoder says what it makes of the objects
        made = prepare(column.take(rows[present.numpy()]))
        if isinstance(made, Tokens):
            return made.scatter(here, len(rows))
        return made.new_zeros(len(rows), *made.shape[1:]).index_copy(0, here, made)
