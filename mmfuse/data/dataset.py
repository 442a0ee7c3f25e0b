"""FusionDataset: columns of modalities seen as batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmfuse.batch import Batch, Problem, RawInput
from mmfuse.data.columns import Column, Numeric
from mmfuse.data.facts import Facts
from mmfuse.data.reading import Bad, Preprocess, objects, pick, prepared, spread
from mmfuse.errors import DataError
from mmfuse.missing import Missingness, RowFacts
from mmfuse.spec import DataSpec

OnError = Literal["raise", "absent"]


class FusionDataset(Dataset[Batch]):
    """Rows as ``Batch``, fetched a batch at a time.

    Args:
        columns: each modality's reader.
        spec: what the modalities and targets look like.
        targets: each target's values, one line a row.
        facts: what simulators may know of the rows; needed with ``missing``.
        missing: who else is taken away.
        on_error: a row that cannot be decoded, or that its encoder cannot use, is an error
            (``raise``), or counts as absent and is listed in ``Batch.problems`` (``absent``).

    Raises:
        DataError: when rows are fetched and one of them cannot be used; with its number.

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
        on_error: OnError = "raise",
    ) -> None:
        self.columns, self.spec, self.missing = dict(columns), spec, missing
        self.on_error = on_error
        self.modalities = tuple(spec.modalities)
        self.preprocess: dict[str, Preprocess] = {}
        self.targets = dict(targets)
        self._facts = facts
        if facts is not None and missing is not None:
            facts.measure()
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
        inputs, problems = {}, []
        for i, (m, column) in enumerate(self.columns.items()):
            found, bad = self._fetch(m, column, index.numpy(), present[:, i])
            if found is not None:
                inputs[m] = found
            problems += [Problem(int(index[at]), m, reason) for at, reason in bad.items()]
            present[list(bad), i] = False
        target = {t: v[index] for t, v in self.targets.items()} or None
        return Batch(self.modalities, inputs, present, target, index, problems=tuple(problems))

    def facts(self, rows: Tensor) -> RowFacts:
        """What a simulator may know of the rows."""
        assert self._facts is not None
        return self._facts.of(rows, self.present[rows])

    def _fetch(
        self, modality: str, column: Column, rows: np.ndarray, present: Tensor
    ) -> tuple[RawInput | None, Bad]:
        """A modality's input for the batch, and what is wrong with which of its rows."""
        prepare = self.preprocess.get(modality)
        here = present.nonzero().squeeze(1)
        whole = column.fetch(rows) if isinstance(column, Numeric) else None
        if prepare is None or not len(here):
            return whole, {}  # objects show nothing before an encoder says what it makes of them
        raw: Any
        bad: Bad = {}
        if isinstance(column, Numeric):
            raw = whole if len(here) == len(rows) else pick(whole, here)
        else:
            raw, bad = objects(column, rows[here.numpy()])
        kept = [i for i in range(len(here)) if i not in bad]
        made, refused = prepared(prepare, raw) if kept else (None, {})
        if made is raw:
            return whole, {}  # an encoder of arrays takes them as they are
        bad |= {kept[i]: reason for i, reason in refused.items()}
        if bad and self.on_error == "raise":
            at = min(bad)
            raise DataError(
                f"Modality {modality!r}, row {rows[here[at]]}: {bad[at]} With "
                'on_error="absent" such rows count as absent.'
            )
        good = here[[i for i in range(len(here)) if i not in bad]]
        found = None if made is None else spread(made, good, len(rows))
        return found, {int(here[i]): bad[i] for i in sorted(bad)}
