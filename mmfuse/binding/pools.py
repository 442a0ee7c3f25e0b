"""Pool: unpaired items of one modality, each as several frozen spaces embed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfuse.errors import DataError
from mmfuse.features.vectors import StoredVectors
from mmfuse.store import SPLITS
from mmfuse.unit import unit


class Pool:
    """Items of one modality that come from one source, with the vectors of every space they are in.

    Row i is the same item in every space. Lengths mean nothing: vectors are compared by angle
    and kept at unit length, and one of length zero, which has no angle, counts as absent.

    Args:
        modality: what the items are, such as ``text``.
        vectors: for each space ``(N, width)``.
        trained: the spaces that were trained on items of this source, where that is known.
            Retrieval looks for neighbours in these alone, and language representation decoupling
            learns from it.
        present: for each space ``(N,)`` bool, False where it has no vector of the item; all are
            there by default.
        held_out: ``(N,)`` bool, True for items that nothing is fitted to. What is chosen on
            validation rows is chosen on them.

    Raises:
        DataError: no space, unequal lengths, vectors that are no matrix or hold NaN or infinity
            in a present row, or ``trained`` names a space that has no vectors here.

    Example:
        >>> pool = Pool("text", {"clip": torch.eye(3), "clap": torch.ones(3, 5)}, trained=["clip"])
        >>> len(pool), pool.spaces
        (3, ('clip', 'clap'))
    """

    def __init__(
        self,
        modality: str,
        vectors: Mapping[str, Any],
        trained: Sequence[str] = (),
        present: Mapping[str, Any] | None = None,
        held_out: Any = None,
    ) -> None:
        if not vectors:
            raise DataError(
                f"A pool of {modality!r} has no vectors. Give those of one space or more."
            )
        self.modality, self.trained = modality, tuple(trained)
        self.vectors = {space: _matrix(x, modality, space) for space, x in vectors.items()}
        self.spaces = tuple(self.vectors)
        lengths = {space: len(x) for space, x in self.vectors.items()}
        if len(set(lengths.values())) > 1 or not all(lengths.values()):
            raise DataError(
                f"A pool of {modality!r} has {lengths} rows. Row i is one item in every space, so "
                "their numbers are equal, and above 0; mark what a space lacks as not present."
            )
        if unknown := set(self.trained) - set(self.spaces):
            raise DataError(
                f"A pool of {modality!r} names {sorted(unknown)} as trained on it, and has vectors "
                f"of {list(self.spaces)} alone."
            )
        given = present or {}
        if unknown := set(given) - set(self.spaces):
            raise DataError(
                f"A pool of {modality!r} says who is present in {sorted(unknown)}, and has vectors "
                f"of {list(self.spaces)} alone."
            )
        self.held_out = _mask(held_out, len(self), False, f"held_out of a pool of {modality!r}")
        self.present: dict[str, Tensor] = {}
        for space, x in self.vectors.items():
            where = f"present of {modality!r} in {space!r}"
            here = _mask(given.get(space), len(self), True, where)
            bad = here & ~torch.isfinite(x).all(dim=1)
            if bad.any():
                raise DataError(
                    f"Row {int(bad.nonzero()[0])} of {modality!r} in space {space!r} holds NaN or "
                    "infinity. Mark rows that have no vector as not present, or extract them again."
                )
            self.vectors[space] = x = unit(x.masked_fill(~here.unsqueeze(1), 0))
            self.present[space] = here & x.any(dim=1)

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values())))

    @classmethod
    def read(
        cls,
        modality: str,
        columns: Mapping[str, tuple[str | Path, str | None]],
        trained: Sequence[str] = (),
    ) -> Pool:
        """A pool from folders of features, joined by row number.

        Rows of the test split are left out, those of the validation split are held out (features
        of plain values have no splits: all are taken); a row that a folder lacks, or has no
        vector of, is absent in that space.

        Args:
            modality: what the items are.
            columns: for each space the folder and the column; None for the only one.
            trained: see ``Pool``.

        Raises:
            MissingFileError: there is no such folder, or its extraction has not ended.
            ConfigError: no such column.
            DataError: a vector that holds NaN or infinity, two folders that disagree on the split
                of a row, or none but test rows.
        """
        stored = {space: StoredVectors(*place) for space, place in columns.items()}
        found = {space: s.blocks() for space, s in stored.items()}
        every, codes = _splits(stored, modality)
        kept = codes != SPLITS.index("test")
        if not kept.any():
            raise DataError(
                f"All rows of {modality!r} in {', '.join(columns)} are of the test split, to which "
                "nothing is fitted. Extract training rows."
            )
        every, held_out = every[kept], codes[kept] == SPLITS.index("val")
        vectors, present = {}, {}
        for space, blocks in found.items():
            values = torch.zeros(len(every), stored[space].width)
            here = torch.zeros(len(every), dtype=torch.bool)
            for rows, part in blocks:
                is_kept = torch.isin(rows, every)
                place = torch.searchsorted(every, rows[is_kept])
                values[place], here[place] = part[is_kept], True
            vectors[space], present[space] = values, here
        return cls(modality, vectors, trained, present, held_out)


def _splits(stored: Mapping[str, StoredVectors], modality: str) -> tuple[Tensor, Tensor]:
    """Every row that any folder has, sorted, and the code of its split."""
    found = [_known_splits(vectors) for vectors in stored.values()]
    rows, codes = (torch.cat(parts) for parts in zip(*found, strict=True))
    every, place = rows.unique(return_inverse=True)
    agreed = torch.full_like(every, -2).scatter_(0, place, codes)
    if (differing := rows[agreed[place] != codes]).numel():
        raise DataError(
            f"Row {int(differing[0])} of {modality!r} is of different splits in {list(stored)}. "
            "Extract all from the same rows with the same split."
        )
    return every, agreed


def _known_splits(vectors: StoredVectors) -> tuple[Tensor, Tensor]:
    rows, codes = vectors.splits()
    # Encoders that are handed plain values read them as a test set, for want of any splits.
    if vectors.manifest["split"] is None and (codes == SPLITS.index("test")).all():
        codes = torch.full_like(codes, -1)
    return rows, codes


def _matrix(x: Any, modality: str, space: str) -> Tensor:
    try:
        found = torch.as_tensor(np.array(x) if isinstance(x, np.ndarray) else x)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"Vectors of {modality!r} in {space!r} are no tensor: {error}.") from error
    if found.ndim != 2 or not found.shape[1] or found.is_complex():
        raise DataError(
            f"Vectors of {modality!r} in {space!r} have the shape {tuple(found.shape)}; expected "
            "(items, width), real numbers."
        )
    return found.detach().to("cpu", torch.float32)


def _mask(x: Any, count: int, default: bool, where: str) -> Tensor:
    if x is None:
        return torch.full((count,), default)
    found = torch.as_tensor(x)
    if found.shape != (count,) or found.dtype != torch.bool:
        raise DataError(
            f"{where} has the shape {tuple(found.shape)} and is {found.dtype}; expected one bool "
            f"an item, ({count},)."
        )
    return found.cpu()
