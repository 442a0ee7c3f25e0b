"""Coding: raw names of users and items -> codes from 0, in the order of the ids."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmfuse.errors import DataError


def coded(values: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A code for each value.

    Args:
        values: ``(N,)`` whole numbers or strings, in any type.
        name: what they are, for errors.

    Returns:
        codes ``(N,)`` int64, and the id of each code: int64 or strings, ascending

    Raises:
        DataError: an empty id, a number with a fraction, or numbers beside strings.
    """
    codes, found = pd.factorize(np.asarray(values))
    if (codes < 0).any():
        row = int((codes < 0).argmax())
        raise DataError(
            f"{name}: {int((codes < 0).sum())} row(s) have no id, the first is row {row}. Fill "
            "the ids in, or leave such rows out."
        )
    ids = _plain(np.asarray(found), name)
    order = np.argsort(ids, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[codes], ids[order]


def _plain(ids: np.ndarray, name: str) -> np.ndarray:
    """Distinct ids as int64 or as strings."""
    if ids.dtype == object and all(isinstance(i, str) for i in ids):
        return ids.astype(str)
    if ids.dtype == object and all(isinstance(i, int | np.integer) for i in ids):
        return ids.astype(np.int64)
    if ids.dtype.kind == "f" and (ids % 1 == 0).all():  # whole numbers read as floats
        return ids.astype(np.int64)
    if ids.dtype.kind in "iu":
        return ids.astype(np.int64)
    if ids.dtype.kind == "U":
        return ids
    shown = [repr(i) for i in ids[:3].tolist()]
    raise DataError(
        f"{name}: ids such as {', '.join(shown)} are neither whole numbers nor strings "
        f"throughout ({ids.dtype}). Make them one of the two."
    )


def places(wanted: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Where each id stands among known ones, -1 for those that do not.

    Args:
        wanted: ``(n,)`` ids.
        known: ``(N,)`` ids, each once.

    Raises:
        DataError: one is strings and the other numbers.
    """
    if len(wanted) and len(known) and wanted.dtype.kind != known.dtype.kind:
        raise DataError(
            f"Ids such as {wanted[0].item()!r} are looked for among ids such as "
            f"{known[0].item()!r}: strings on one side, numbers on the other. Give both the same "
            "form."
        )
    return np.asarray(pd.Index(known).get_indexer(pd.Index(wanted)))
