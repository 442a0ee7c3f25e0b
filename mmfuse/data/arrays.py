"""ArrayData: arrays, lists and frames in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.source import Source, gather
from mmfuse.recorded import describe
from mmfuse.spec import Kind, TargetKind


class ArrayData(FusionDataModule):
    """Arrays, lists and frames in memory.

    Args:
        inputs: each modality's rows: an array or tensor (all NaN where absent), a list of
            arrays or strings (None where absent), or a DataFrame (empty where absent).
        target: labels or values, one a row; a mapping for several targets. None or NaN, or
            -1 among whole numbers, is unknown. ``Survival(time, event)`` makes a survival
            target.
        kinds: what a modality is, where its axes do not tell: see ``to_column``.
        categorical: columns of a modality that hold categories.
        target_kinds: ``binary``, ``multiclass``, ``multilabel``, ``regression`` or
            ``survival`` (rows of time and event) where the values do not tell; a single
            target is called ``y``.
        split: ``train``, ``val`` or ``test`` for each row; None draws.
        groups: rows of one group stay in one split.
        **kwargs: as ``FusionDataModule``.

    Example:
        >>> data = ArrayData({"a": [[i, i**2] for i in range(9)] + [None]}, ["no", "yes"] * 5)
        >>> data.spec.modalities["a"].shape, data.spec.targets["y"].classes
        ((2,), ('no', 'yes'))
    """

    def __init__(
        self,
        inputs: Mapping[str, Any],
        target: Any = None,
        kinds: Mapping[str, Kind] | None = None,
        categorical: Mapping[str, Sequence[Any]] | None = None,
        target_kinds: Mapping[str, TargetKind] | None = None,
        split: Any = None,
        groups: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if target is None:
            target = {}
        self._given = {
            "inputs": dict(inputs),
            "targets": dict(target) if isinstance(target, Mapping) else {"y": target},
            "kinds": kinds,
            "categorical": categorical,
            "target_kinds": target_kinds,
            "split": split,
            "groups": groups,
        }

    def read(self) -> Source:
        """Puts the arrays into Arrow."""
        return gather(**self._given)

    def settings(self) -> dict[str, Any]:
        """How this data is made; the arrays are told by a digest of their content."""
        source = self.read()
        digest = hashlib.sha256()
        for batch in source.data.data.table.to_batches():
            for column in batch.columns:
                for buffer in column.buffers():
                    digest.update(b"" if buffer is None else memoryview(buffer))
        for name, raw in source.targets.items():
            digest.update(name.encode() + str(raw.values.tolist()).encode())
        for extra in (source.split, source.groups):
            digest.update(b"" if extra is None else str(extra.tolist()).encode())
        return describe(self, without=("inputs", "target", "split", "groups")) | {
            "modalities": list(source.modalities),
            "rows": len(source.data),
            "sha256": digest.hexdigest(),
        }
