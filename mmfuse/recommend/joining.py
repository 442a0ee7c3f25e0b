"""Joining: items of the interactions and rows of the items' data -> one catalogue of items."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mmfuse.data import FusionDataModule
from mmfuse.errors import DataError
from mmfuse.recommend.cleaning import Cleaned
from mmfuse.recommend.coding import coded, places

Unseen = Literal["keep", "drop"]

_log = logging.getLogger(__name__)
#: Share of the items that may be numbered beyond the rows and count as lacking every modality.
_MOST_BEYOND = 0.1


def row_ids(items: FusionDataModule, rows: int, item_id: str | Sequence[Any] | None) -> np.ndarray:
    """The id of each row of the items' data.

    Args:
        items: the data.
        rows: how many it has.
        item_id: a column of the source, each row's id, or None for the row's number.

    Raises:
        DataError: an id that two rows have, an empty one, or another number of ids.
    """
    if item_id is None:
        return np.arange(rows)
    given = items.ids(item_id) if isinstance(item_id, str) else np.asarray(item_id)
    if len(given) != rows:
        raise DataError(
            f"The items' data have {rows} rows and {len(given)} ids; expected an id a row."
        )
    codes, ids = coded(given, "Rows of items")
    if len(ids) != len(codes):
        counts = np.bincount(codes)
        raise DataError(
            f"{int((counts > 1).sum())} item id(s) name several rows, such as "
            f"{ids[counts.argmax()].item()!r}. Give one row an item."
        )
    return ids[codes]


def check_numbers(cleaned: Cleaned, rows: int) -> None:
    """Makes sure that items can be named by the numbers of the rows, as without ``item_id``.

    A few items beyond the last row are told of in a warning. More than a tenth of them, or some
    where there are as many rows as items, mean that rows have other names: joined by number,
    items would get the rows of others, or none, and training would go on all the same.

    Args:
        cleaned: the interactions.
        rows: of the items' data.

    Raises:
        DataError: items are named by strings, or their numbers are none of rows.
    """
    known = cleaned.item_ids
    by_number = "Without item_id a row of the items' data is named by its number, "
    cure = (
        "Name the rows' column of ids with item_id, or from Python list each row's id, in the "
        "order of the rows."
    )
    if known.dtype.kind == "U":
        raise DataError(
            f"{by_number}and items are named by strings, such as {known[0].item()!r}. {cure}"
        )
    outside = known[(known < 0) | (known >= rows)]
    if not len(outside):
        return
    told = (
        f"{by_number}here 0 to {rows - 1}, and {len(outside)} of {len(known)} items are numbered "
        f"otherwise, such as {outside[-1].item()}"
    )
    if rows == len(known) + len(cleaned.left_ids):
        raise DataError(
            f"{told}, though there are as many rows as items: numbers have gaps, or do not start "
            f"at 0. {cure}"
        )
    if len(outside) > _MOST_BEYOND * len(known):
        raise DataError(f"{told}. {cure} Rows without content stand for items that have none.")
    _log.warning("%s. They count as lacking every modality.", told)


def join(cleaned: Cleaned, ids: np.ndarray, unseen: Unseen) -> tuple[np.ndarray, Tensor, Tensor]:
    """All items there are, those of rows without an interaction among them.

    A row whose item lost all its interactions to a rating, a core or a split is no item: it was
    ruled out, and must not come back as one that nobody has seen.

    Args:
        cleaned: the interactions.
        ids: each row's id.
        unseen: whether rows that no interaction names are items.

    Returns:
        ids of all items, ascending; the new code of each item of the interactions; each item's
        row ``(I,)``, -1 for none

    Raises:
        DataError: no row's id is an item's.
    """
    known = cleaned.item_ids
    found = places(ids, known)
    if not (found >= 0).any():
        raise DataError(
            f"None of {len(ids)} rows of the items' data has the id of an item. Rows are such as "
            f"{ids[0].item()!r}, items such as {known[0].item()!r}. Name the rows' column of ids "
            "with item_id."
        )
    if unseen == "keep":
        is_new = (found < 0) & (places(ids, cleaned.left_ids) < 0)
        everyone = np.union1d(known, ids[is_new])
    else:
        everyone = known
    rows = torch.from_numpy(places(everyone, ids).astype(np.int64))
    return everyone, torch.from_numpy(places(known, everyone).astype(np.int64)), rows
