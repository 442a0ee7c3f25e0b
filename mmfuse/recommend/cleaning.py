"""Cleaning: raw interactions -> distinct pairs of codes, and a count of what was left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from mmfuse.errors import DataError
from mmfuse.recommend.coding import coded
from mmfuse.recommend.cores import core
from mmfuse.recommend.sources.base import RawInteractions
from mmfuse.recommend.splits.base import Pairs
from mmfuse.store import SPLITS

_SPLIT_NAMES = {
    "train": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "test": 2,
    **{str(code): code for code in range(len(SPLITS))},
}


@dataclass(frozen=True)
class Cleaned:
    """Distinct pairs of codes, and what became of the rest.

    Args:
        pairs: the pairs.
        user_ids: ``(U,)`` the raw id of each user code.
        item_ids: ``(I,)`` the raw id of each item code.
        left_ids: ids of items that the source names, but in no pair that stayed.
        counts: how many rows the source has, and how many were left out, why.
    """

    pairs: Pairs
    user_ids: np.ndarray
    item_ids: np.ndarray
    left_ids: np.ndarray
    counts: dict[str, int]


def clean(
    raw: RawInteractions,
    is_given: bool,
    rating_from: float | None = None,
    user_core: int = 1,
    item_core: int = 1,
) -> Cleaned:
    """Codes the ids, merges repeats, keeps the core.

    Of a pair that occurs several times the earliest time stays, the first row's rating, and the
    split that comes first in train, val, test: what a user took in training is not to be found
    again.

    Args:
        raw: rows of the source.
        is_given: whether its split column counts; rows without a split are then left out.
        rating_from: least rating of an interaction that counts; None for all.
        user_core: least number of items of a user.
        item_core: least number of users of an item.

    Raises:
        DataError: an empty id, time or rating; an unknown split; no interaction left.
    """
    users, user_ids = coded(raw.user, "Users")
    items, item_ids = coded(raw.item, "Items")
    time, rating = _time(raw.time), _rating(raw.rating, rating_from)
    given = _given(raw.split) if is_given else None
    counts = {"rows": len(raw)}

    stays = np.ones(len(raw), dtype=bool)
    if given is not None:
        stays &= given >= 0
        counts["in_no_split"] = int((~stays).sum())
    if rating_from is not None and rating is not None:
        is_low = rating < rating_from
        counts["below_rating"] = int((stays & is_low).sum())
        stays &= ~is_low
    rows = np.flatnonzero(stays)
    home, first = _distinct(users[rows] * max(len(item_ids), 1) + items[rows], rows)
    counts["repeats"] = len(rows) - len(first)
    if given is not None:
        latest = _joined(np.maximum, given[rows], home, len(first))
        given = _joined(np.minimum, given[rows], home, len(first))
        counts["in_two_splits"] = int((latest > given).sum())
    if time is not None:
        time = _joined(np.minimum, time[rows], home, len(first))
    users, items = users[first], items[first]
    kept = core(torch.from_numpy(users), torch.from_numpy(items), user_core, item_core).numpy()
    counts["outside_core"] = int((~kept).sum())
    if not kept.any():
        raise DataError(
            f"No interaction is left of {len(raw)} ({counts}). Lower rating_from, user_core or "
            "item_core, or check the source."
        )
    user, user_left = _anew(users[kept], len(user_ids))
    item, item_left = _anew(items[kept], len(item_ids))
    pairs = Pairs(
        torch.from_numpy(user),
        torch.from_numpy(item),
        len(user_left),
        len(item_left),
        None if time is None else torch.from_numpy(time[kept]),
        None if given is None else torch.from_numpy(given[kept]),
        None if rating is None else torch.from_numpy(rating[first][kept]),
    )
    left = np.setdiff1d(np.arange(len(item_ids)), item_left)
    return Cleaned(pairs, user_ids[user_left], item_ids[item_left], item_ids[left], counts)


def _distinct(keys: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which distinct key each row has, and the first row of each, in the source's order."""
    home, distinct = pd.factorize(keys)
    first = np.empty(len(distinct), dtype=np.int64)
    first[home[::-1]] = rows[::-1]  # of several values for one place the last one stays
    return home, first


def _joined(choose: np.ufunc, values: np.ndarray, home: np.ndarray, count: int) -> np.ndarray:
    """The smallest, or the largest, value of the rows of each home."""
    found = np.empty(count, dtype=values.dtype)
    found[home] = values
    choose.at(found, home, values)
    return found


def _anew(codes: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes without gaps, in the same order, and the old code of each."""
    left = np.flatnonzero(np.bincount(codes, minlength=count))
    place = np.zeros(count, dtype=np.int64)
    place[left] = np.arange(len(left))
    return place[codes], left


def _time(values: np.ndarray | None) -> np.ndarray | None:
    """Whole numbers, or float64; dates as seconds since 1970."""
    if values is None:
        return None
    _known("time", values)
    column = pd.Series(values.tolist() if values.dtype == object else values)
    if pd.api.types.is_integer_dtype(column):
        return column.to_numpy(np.int64)
    if pd.api.types.is_float_dtype(column):
        return column.to_numpy(np.float64)
    try:
        dates = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise DataError(
            f"Times are neither numbers nor dates such as 2024-03-01 12:30: {error}. Name the "
            "column of times, or write its dates so."
        ) from error
    return np.asarray((dates - pd.Timestamp(0, tz="UTC")).dt.total_seconds(), dtype=np.float64)


def _rating(values: np.ndarray | None, rating_from: float | None) -> np.ndarray | None:
    if values is None:
        if rating_from is not None:
            raise DataError(
                f"rating_from is {rating_from} and the source has no ratings. Name its column of "
                "ratings, or leave rating_from out."
            )
        return None
    _known("rating", values)
    try:
        return values.astype(np.float32)
    except (ValueError, TypeError) as error:
        raise DataError(f"Ratings are not numbers: {error}. Name the column of ratings.") from error


def _known(name: str, values: np.ndarray) -> None:
    unknown = np.asarray(pd.isna(values))
    if unknown.any():
        raise DataError(
            f"{int(unknown.sum())} interaction(s) have no {name}, the first is row "
            f"{int(unknown.argmax())}. Fill it in, leave such rows out, or name no column of "
            f"{name}s."
        )


def _given(values: np.ndarray | None) -> np.ndarray:
    """Each row's split by its place, -1 for none."""
    if values is None:
        raise DataError(
            "The split is to be the source's own, which has none. Name its column of splits, or "
            "choose another rule."
        )
    codes, found = pd.factorize(np.asarray(values))
    names = [str(int(f)) if isinstance(f, float | np.floating) else str(f) for f in found]
    if unknown := sorted(set(names) - set(_SPLIT_NAMES)):
        raise DataError(
            f"The split column holds {unknown[:5]}; expected some of {list(_SPLIT_NAMES)}."
        )
    table = np.array([*(_SPLIT_NAMES[n] for n in names), -1])  # a gap's code, -1, is the last
    return table[codes]
