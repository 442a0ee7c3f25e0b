"""Entropy and mutual information of tables of probabilities, in bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmfuse.errors import DataError

Table = NDArray[np.float64]


def as_joint(joint: ArrayLike) -> Table:
    """Probabilities or counts as a float64 table that sums to one.

    Raises:
        DataError: not three axes, a negative or undefined cell, or nothing but zeros.
    """
    table = np.asarray(joint, dtype=np.float64)
    if table.ndim != 3 or 0 in table.shape:
        raise DataError(
            f"A joint distribution has shape {table.shape}; expected (C1, C2, K), the values of "
            "the first modality, of the second and of the label."
        )
    if not np.isfinite(table).all() or (table < 0).any() or not table.sum() > 0:
        raise DataError(
            "A joint distribution has a cell that is negative, infinite or NaN, or no mass at "
            "all; expected probabilities or counts."
        )
    return table / table.sum()


def entropy(table: Table, axis: int | tuple[int, ...] | None = None) -> Table:
    """``-sum p log2 p`` over ``axis`` (None: all), zero cells counting nothing.

    Example:
        >>> float(entropy(np.array([0.5, 0.25, 0.25, 0.0])))
        1.5
    """
    surprise = -np.log2(table, out=np.zeros_like(table), where=table > 0)
    return np.asarray((table * surprise).sum(axis))


def information(table: Table) -> float:
    """Mutual information of the two axes of a table of shares.

    Example:
        >>> information(np.eye(2) / 2)
        1.0
    """
    found = entropy(table.sum(0)) + entropy(table.sum(1)) - entropy(table)
    return max(float(found), 0.0)
