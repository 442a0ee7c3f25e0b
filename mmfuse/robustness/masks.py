"""Masks: which modalities each row kept under each condition, one bit each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.recorded import described_or_named
from mmfuse.robustness.conditions import Condition

_WIDTHS = (np.uint8, np.uint16, np.uint32, np.uint64)


def masks_table(
    conditions: Sequence[Condition], rows: NDArray[np.int64], kept: NDArray[np.bool_]
) -> pd.DataFrame:
    """One line a row; for each condition a column in which bit m is modality m.

    A hundred conditions of a hundred thousand rows with up to eight modalities take 10 MB.

    Args:
        conditions: their names become columns.
        rows: ``(N,)`` row numbers.
        kept: ``(C, N, M)`` who was left.
    """
    columns = {c.name: pack(mask) for c, mask in zip(conditions, kept, strict=True)}
    return pd.DataFrame({"row": rows, **columns})


def pack(kept: NDArray[np.bool_]) -> NDArray[Any]:
    """``(N, M)`` bool as one whole number a row; as bytes beyond 64 modalities."""
    count = kept.shape[1]
    if count > 64:
        lines = np.packbits(kept, axis=1, bitorder="little")
        found = np.empty(len(kept), dtype=object)
        found[:] = [line.tobytes() for line in lines]
        return found
    width = next(w for w in _WIDTHS if count <= np.iinfo(w).bits)
    bits = np.left_shift(np.ones(count, dtype=width), np.arange(count, dtype=width))
    return np.asarray((kept * bits).sum(axis=1, dtype=width))


def unpack(packed: NDArray[Any], modalities: int) -> NDArray[np.bool_]:
    """``(N, M)`` bool again."""
    if packed.dtype == object:
        size = -(-modalities // 8)
        lines = np.frombuffer(b"".join(packed), dtype=np.uint8).reshape(len(packed), size)
    else:
        # Little-endian, so that the first byte holds the first eight modalities.
        little = packed.astype(packed.dtype.newbyteorder("<"))
        lines = little.view(np.uint8).reshape(len(packed), packed.dtype.itemsize)
    return np.unpackbits(lines, axis=1, count=modalities, bitorder="little").astype(bool)


def simulators(conditions: Sequence[Condition]) -> dict[str, Any]:
    """How each condition's absence was made, seed included, in plain data; None for none."""
    return {
        c.name: None if c.missing is None else described_or_named(c.missing) for c in conditions
    }
