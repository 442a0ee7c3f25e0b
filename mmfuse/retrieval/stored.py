"""Stored: the columns of a folder of features, side by side, as retrieval reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError
from mmfuse.features.vectors import StoredVectors
from mmfuse.store import SPLITS, FeatureFolder, load


@dataclass(frozen=True)
class Columns:
    """Vectors of several columns, a line a row.

    Args:
        vectors: each column's ``(N, D)``.
        present: ``(N,)`` bool, which rows have it.
        classes: ``(N,)`` long, -1 where unknown; None without a target of classes.
    """

    vectors: dict[str, Tensor]
    present: dict[str, Tensor]
    classes: Tensor | None


def read_columns(
    path: str | Path,
    names: Sequence[str] | None = None,
    split: str | None = "test",
    target: str | None = None,
) -> Columns:
    """Columns that share a space.

    Args:
        path: a folder that ``mmfuse extract`` or ``mmfuse.features.write`` wrote.
        names: the columns; the modalities' vectors by default.
        split: whose rows; None for all.
        target: whose classes; the first target with classes by default.

    Raises:
        MissingFileError, DataError: there is no such folder, it was changed, or it has no row of
            the split.
        ConfigError: no such column, split or target, fewer than two columns, or columns of
            unequal width.
    """
    if split is not None and split not in SPLITS:
        raise ConfigError(f"split is {split!r}; expected {', '.join(SPLITS)}, or all.")
    folder = FeatureFolder(path)
    manifest = folder.verified()
    known = [n for n, facts in manifest["columns"].items() if facts["kind"] == "vector"]
    encoded = [n for n in known if n in manifest["encoders"]]
    names = (encoded or known) if names is None else list(names)
    if unknown := [n for n in names if n not in known]:
        raise ConfigError(f"{path} has no vectors {unknown}; it has {', '.join(known) or 'none'}.")
    if len(set(names)) < max(2, len(names)):
        raise ConfigError(
            f"The columns are {names}; expected two or more, each once, of {', '.join(known)}."
        )
    stored = {n: StoredVectors(path, n) for n in names}
    widths = {n: s.width for n, s in stored.items()}
    if len(set(widths.values())) > 1:
        raise ConfigError(
            f"The columns have the widths {widths}: they do not share a space. Choose with "
            "--columns those that do."
        )
    rows, codes = stored[names[0]].splits()
    wanted = torch.ones_like(codes, dtype=torch.bool)
    if split is not None:
        wanted = codes == SPLITS.index(split)
    if not wanted.any():
        raise DataError(f"{path} has no row of {split}. Choose another --split, or all.")
    place = torch.full((int(rows.max()) + 1,), -1)
    place[rows[wanted]] = torch.arange(int(wanted.sum()))
    vectors, present = {}, {}
    for name, column in stored.items():
        vectors[name] = torch.zeros(int(wanted.sum()), column.width)
        present[name] = torch.zeros(len(vectors[name]), dtype=torch.bool)
        for numbers, values in column.blocks():
            here = place[numbers]
            vectors[name][here[here >= 0]] = values[here >= 0]
            present[name][here[here >= 0]] = True
    return Columns(vectors, present, _classes(path, target, rows, wanted))


def _classes(path: str | Path, target: str | None, rows: Tensor, wanted: Tensor) -> Tensor | None:
    targets = FeatureFolder(path).manifest()["spec"]["targets"]
    able = [t for t, s in targets.items() if s["kind"] in ("binary", "multiclass")]
    if target is not None and target not in able:
        raise ConfigError(f"target is {target!r}; the features have classes of {able or 'none'}.")
    name = target if target is not None else next(iter(able), None)
    if name is None:
        return None
    code = {c: k for k, c in enumerate(targets[name]["classes"])}
    told = load(path, verify=False).data.column(f"target.{name}").to_pylist()
    # Both are in the order of the files.
    return torch.tensor([code.get(c, -1) for c in told])[wanted]
