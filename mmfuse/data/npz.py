"""NpzData: arrays in a NumPy archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.groups import find_columns, named_targets
from mmfuse.data.source import Source, gather
from mmfuse.data.survival import Survival
from mmfuse.errors import DataError, MissingFileError
from mmfuse.files import sha256
from mmfuse.spec import Kind, TargetKind
from mmfuse.store import SPLITS


class NpzData(FusionDataModule):
    """Arrays in a NumPy archive.

    Args:
        path: an ``.npz`` file without pickled objects. A key may be stored in parts, as
            ``<key>_train``, ``<key>_val`` and ``<key>_test``, which gives the split.
        modalities: keys, or a key for each modality's name; a row that is all NaN is absent.
        targets: keys to predict, or a key for each target's name, or for a ``Survival``
            target the keys of its ``time`` and ``event`` (or ``censored``).
        kinds: what a modality is, where its axes do not tell: one axis a row is a vector,
            two a series (steps, channels), three an image (channels, height, width).
        target_kinds: what a target is, where its values do not tell.
        split: the key with ``train``, ``val`` or ``test`` for each row.
        groups: the key whose equal values stay in one split.
        **kwargs: as ``FusionDataModule``.
    """

    def __init__(
        self,
        path: str,
        modalities: list[str] | dict[str, str],
        targets: str | list[str] | dict[str, str | Survival] | None = None,
        kinds: dict[str, Kind] | None = None,
        target_kinds: dict[str, TargetKind] | None = None,
        split: str | None = None,
        groups: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path, self.split, self.groups = path, split, groups
        self.modalities = _by_name(modalities)
        self.targets = named_targets(targets)
        self.kinds, self.target_kinds = kinds, target_kinds

    def read(self) -> Source:
        """Reads the archive.

        Raises:
            MissingFileError: there is none.
            DataError: it is corrupt, holds pickled objects, or lacks a key.
        """
        arrays = read_npz(self.path)
        inputs = {m: _array(arrays, key) for m, key in self.modalities.items()}
        split: Any = None
        if self.split is not None:
            split = _array(arrays, self.split)
        elif parts := _parts(arrays, next(iter(self.modalities.values()))):
            split = np.concatenate([np.full(len(array), name) for name, array in parts.items()])
        return gather(
            inputs,
            {t: _target(arrays, key) for t, key in self.targets.items()},
            self.kinds,
            target_kinds=self.target_kinds,
            split=split,
            groups=None if self.groups is None else _array(arrays, self.groups),
        )

    def ids(self, column: str) -> np.ndarray:
        """An array that names the rows."""
        return _array(read_npz(self.path), column)

    def settings(self) -> dict[str, Any]:
        """How this data is made; the file is told by a digest of its content."""
        return super().settings() | {"sha256": sha256(self.path)}


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Every array of an archive.

    Raises:
        MissingFileError: there is none.
        DataError: it is corrupt, or holds pickled objects.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no archive at {path}. Check the path.")
    try:
        # NumPy leaves a damaged file open that it opened itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise DataError(
            f"{path} cannot be read as an .npz of plain arrays: {error}. Is the file whole?"
        ) from error


def _target(arrays: Mapping[str, np.ndarray], key: str | list[str] | Survival) -> Any:
    if isinstance(key, Survival):
        return key.filled({k: _array(arrays, k) for k in key.columns})
    assert isinstance(key, str)
    return _array(arrays, key)


def _by_name(names: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    return dict(names) if isinstance(names, Mapping) else {n: n for n in names}


def _parts(arrays: Mapping[str, np.ndarray], key: str) -> dict[str, np.ndarray]:
    if key in arrays:
        return {}
    return {s: arrays[f"{key}_{s}"] for s in SPLITS if f"{key}_{s}" in arrays}


def _array(arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
    if parts := _parts(arrays, key):
        return np.concatenate(list(parts.values()))
    return arrays[find_columns(key, list(arrays), "The configuration")[0]]
