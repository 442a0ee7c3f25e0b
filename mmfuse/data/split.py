"""Splits: who trains, who validates, who tests; the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from mmfuse.errors import DataError
from mmfuse.store import SPLITS


def split_rows(
    rows: int,
    given: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    val: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Row numbers of each split, ascending.

    A given split is kept; what it lacks is drawn: test rows from all rows, validation rows
    from the training rows. Draws are stratified by ``labels`` where every label is frequent
    enough, and never part a group.

    Args:
        rows: how many rows there are.
        given: each row's split by name, or None to draw both.
        labels: what to stratify by, one whole number a row, negative for none.
        groups: rows of one group stay together.
        val: share of the training rows that validate; of all rows if both are drawn.
        test: share of all rows that test, when no split is given; 1 for all of them, which
            needs a model trained before.
        seed: of the draws.

    Raises:
        DataError: an unknown split name, or too few rows for a share.
    """
    everyone = np.arange(rows)
    parts = dict.fromkeys(SPLITS, everyone[:0])
    pool = everyone
    if given is not None:
        if unknown := sorted(set(map(str, given)) - set(SPLITS)):
            raise DataError(f"The split column holds {unknown}; expected {list(SPLITS)}.")
        parts |= {name: np.flatnonzero(given == name) for name in ("val", "test")}
        pool = np.flatnonzero(given == "train")
    share = val
    if given is None and test == 1:
        return parts | {"test": everyone}
    if given is None and test > 0:
        pool, parts["test"] = _draw(pool, test, labels, groups, seed)
        share = val / (1 - test)
    if not len(parts["val"]) and val > 0 and len(pool):
        pool, parts["val"] = _draw(pool, share, labels, groups, seed + 1)
    return parts | {"train": pool}


def _draw(
    pool: np.ndarray,
    share: float,
    labels: np.ndarray | None,
    groups: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Parts the pool into those who stay and a drawn share."""
    if not 0 < share < 1:
        raise DataError(f"A split's share is {share:.3f}; expected a number between 0 and 1.")
    strata = None if labels is None else labels[pool]
    if strata is not None and (strata < 0).sum() == 1 and len(strata) > 1:
        # A single row without a label makes no stratum, and must not cost the others theirs.
        strata = np.where(strata < 0, np.bincount(strata[strata >= 0]).argmax(), strata)
    if groups is not None:
        stay, drawn = _draw_groups(pool, share, strata, groups[pool], seed)
    else:
        size = max(1, round(share * len(pool)))
        if len(pool) <= size:
            raise DataError(f"{len(pool)} rows are too few to draw a share of {share:.2f} from.")
        if strata is not None and not _is_frequent(strata, size, len(pool)):
            strata = None
        stay, drawn = train_test_split(pool, test_size=size, random_state=seed, stratify=strata)
    return np.sort(stay), np.sort(drawn)


def _is_frequent(strata: np.ndarray, size: int, rows: int) -> bool:
    """Whether scikit-learn can stratify: two of each label, room for all on both sides."""
    counts = np.unique(strata, return_counts=True)[1]
    return counts.min() >= 2 and len(counts) <= min(size, rows - size)


def _draw_groups(
    pool: np.ndarray, share: float, strata: np.ndarray | None, groups: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    count = len(np.unique(groups))
    if count < 2:
        raise DataError(f"All rows belong to {count} group; a grouped split needs two or more.")
    folds = round(1 / share)
    if strata is not None and 2 <= folds <= min(
        count, np.unique(strata, return_counts=True)[1].min()
    ):
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        stay, drawn = next(splitter.split(pool, strata, groups))
    else:
        splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
        stay, drawn = next(splitter.split(pool, groups=groups))
    return pool[stay], pool[drawn]


def strata_of(values: np.ndarray, bins: int = 5) -> np.ndarray:
    """What to stratify numbers by: their quantile bin, -1 where unknown."""
    known = np.isfinite(values)
    edges = np.quantile(values[known], np.linspace(0, 1, bins + 1)[1:-1]) if known.any() else []
    return np.where(known, np.searchsorted(edges, np.where(known, values, 0)), -1)


def duplicates(
    digests: np.ndarray, parts: Mapping[str, np.ndarray]
) -> list[tuple[str, int, str, int]]:
    """Rows whose whole content also occurs in a later split.

    Returns:
        (split, row, later split, a row there), one for each such row.
    """
    latest: dict[bytes, list[tuple[str, int]]] = {}
    found = []
    for name, rows in parts.items():
        for row in rows.tolist():
            doubles = latest.setdefault(digests[row], [])
            if doubles and doubles[0][0] != name:
                found += [(*double, name, row) for double in doubles]
                doubles.clear()
            doubles.append((name, row))
    return found


def digest(parts: list[bytes | None]) -> bytes:
    """A short digest of a row's modalities."""
    state = hashlib.blake2b(digest_size=12)
    for part in parts:
        state.update(b"absent" if part is None else len(part).to_bytes(8, "little") + part)
    return state.digest()
