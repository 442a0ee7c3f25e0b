"""HFData: a Hugging Face data set saved to disk, read where it lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd

from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.groups import (
    ColumnGroup,
    Groups,
    Targets,
    columns_of,
    find_columns,
    group_of,
    named_targets,
    pick_target,
)
from mmfuse.data.modalities import Column, arrow_column, to_column
from mmfuse.data.source import Source, gather_columns
from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.spec import Kind, TargetKind

_NAMES = {"train": "train", "validation": "val", "val": "val", "valid": "val", "test": "test"}
_FEATURES: dict[type, Kind] = {
    datasets.Image: "image",
    datasets.Audio: "audio",
    datasets.Video: "video",
}
# Where save_to_disk keeps a part's fingerprint.
_STATE = "state.json"


class HFData(FusionDataModule):
    """A Hugging Face data set saved to disk, read where it lies (memory-mapped).

    Args:
        path: a folder that ``save_to_disk`` wrote; the parts of a ``DatasetDict`` give the
            split.
        modalities: each modality's column: strings are text, lists of numbers vectors, or
            series where their lengths differ, lists of lists series (steps, channels); the
            features ``Image()``, ``Audio()`` and ``Video()`` are what they are called. Or
            several columns of numbers and categories; ``columns`` with ``kind`` and
            ``categorical`` where the values do not tell, such as strings that are paths of
            files. A null is an absence.
        targets: columns to predict; a mapping names them, joins several into one target with
            several labels or values, or gives a ``Survival`` target its ``time`` and
            ``event`` (or ``censored``).
        target_kinds: what a target is, where its values do not tell.
        split: the column with ``train``, ``val`` or ``test``.
        groups: the column whose equal values stay in one split.
        root: the folder that paths of files start from; None is ``path``.
        **kwargs: as ``FusionDataModule``.
    """

    def __init__(
        self,
        path: str,
        modalities: Groups,
        targets: Targets | None = None,
        target_kinds: dict[str, TargetKind] | None = None,
        split: str | None = None,
        groups: str | None = None,
        root: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path, self.modalities, self.targets = path, modalities, targets
        self.target_kinds, self.split, self.groups = target_kinds, split, groups
        self.root = Path(path if root is None else root)

    def read(self) -> Source:
        """Opens the data set.

        Raises:
            MissingFileError: there is none.
            DataError: it is corrupt, or lacks a column.
        """
        data, split = self._open()
        if self.split is not None:
            split = self._values(data, "split", self.split)
        targets = {
            t: pick_target(self._frame(data, f"Target {t!r}", columns_of(c)), t, c)
            for t, c in named_targets(self.targets).items()
        }
        return gather_columns(
            {m: self._modality(data, m, group_of(g)) for m, g in self.modalities.items()},
            targets,
            self.target_kinds,
            split,
            None if self.groups is None else self._values(data, "groups", self.groups),
            self.root,
        )

    def ids(self, column: str) -> np.ndarray:
        """A column that names the rows."""
        return self._values(self._open()[0], "ids", column)

    def settings(self) -> dict[str, Any]:
        """How this data is made; the content is told by the data set's own fingerprints."""
        return super().settings() | {"fingerprints": fingerprints(self.path)}

    def _open(self) -> tuple[datasets.Dataset, np.ndarray | None]:
        return open_saved(self.path)

    @staticmethod
    def _frame(data: datasets.Dataset, of: str, columns: str | list[str]) -> pd.DataFrame:
        names = find_columns(columns, data.column_names, of)
        return data.data.table.select(names).to_pandas()

    def _values(self, data: datasets.Dataset, of: str, column: str) -> np.ndarray:
        return self._frame(data, of, column).iloc[:, 0].to_numpy()

    def _modality(self, data: datasets.Dataset, name: str, group: ColumnGroup) -> Column:
        columns = find_columns(group.columns, data.column_names, f"Modality {name!r}")
        if len(columns) == 1 and group.kind != "table":
            kind = group.kind or _FEATURES.get(type(data.features[columns[0]]))
            found = arrow_column(name, data.data.column(columns[0]), kind, group.rate)
            if found is not None:
                return found
        frame = self._frame(data, f"Modality {name!r}", columns)
        return to_column(name, frame, group.kind, group.categorical, group.rate)


def open_saved(path: str | Path) -> tuple[datasets.Dataset, np.ndarray | None]:
    """A saved data set, and each row's split where its parts tell one.

    Raises:
        MissingFileError: there is none.
        DataError: it cannot be read.
        ConfigError: a part that is no split.
    """
    if not Path(path).is_dir():
        raise MissingFileError(f"There is no saved data set at {path}. Check the path.")
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets raises whatever its readers raise
        raise DataError(f"{path} cannot be read as a saved data set: {error}.") from error
    if isinstance(found, datasets.Dataset):
        return found, None
    if unknown := sorted(set(found) - set(_NAMES)):
        raise ConfigError(f"{path} has parts {unknown}; expected {sorted(_NAMES)}.")
    split = np.concatenate([np.full(len(part), _NAMES[n]) for n, part in found.items()])
    return datasets.concatenate_datasets(list(found.values())), split


def fingerprints(path: str | Path) -> dict[str, str]:
    """The fingerprint of each part of a saved data set, which tells its content."""
    states = {s.relative_to(path).as_posix(): s for s in Path(path).rglob(_STATE)}
    return {n: json.loads(s.read_text())["_fingerprint"] for n, s in sorted(states.items())}
