"""Ready: what set-up makes of a source of interactions and the data of its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from mmfuse.data import FusionDataModule
from mmfuse.errors import DataError
from mmfuse.recommend.catalogue import ItemCatalogue
from mmfuse.recommend.cleaning import clean
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.item_rows import ItemRows
from mmfuse.recommend.joining import Unseen, check_numbers, join, row_ids
from mmfuse.recommend.sources.base import RawInteractions
from mmfuse.recommend.splits import GivenSplit, RandomSplit, SplitRule, time_travels


@dataclass(frozen=True)
class Options:
    """What ``RecommendationData`` was told; see there."""

    item_id: str | Sequence[Any] | None
    split: SplitRule | None
    unseen: Unseen
    rating_from: float | None
    user_core: int
    item_core: int
    seed: int
    resident_limit: int


@dataclass(frozen=True)
class Ready:
    """Data as batches need it.

    Args:
        interactions: who took what, in which split.
        catalogue: the items' modalities, or None.
        counts: rows of the source, those left out and why, and who lacks what.
    """

    interactions: Interactions
    catalogue: ItemCatalogue | None
    counts: dict[str, int]


def make_ready(raw: RawInteractions, items: FusionDataModule | None, options: Options) -> Ready:
    """Cleans, splits and joins.

    Raises:
        DataError: an empty id, no interaction left, no training interaction, or rows of items
            that belong to none.
    """
    rule = options.split or (RandomSplit() if raw.split is None else GivenSplit())
    cleaned = clean(
        raw,
        isinstance(rule, GivenSplit),
        options.rating_from,
        options.user_core,
        options.item_core,
    )
    pairs, counts = cleaned.pairs, cleaned.counts
    split = rule.codes(pairs, options.seed)
    item, item_ids = pairs.item, cleaned.item_ids
    source, row_of = None, None
    if items is not None:
        source = items.read()
        if options.item_id is None:
            check_numbers(cleaned, len(source.data))
        ids = row_ids(items, len(source.data), options.item_id)
        item_ids, code_of, row_of = join(cleaned, ids, options.unseen)
        item = code_of[item]
    made = Interactions(
        pairs.user, item, split, cleaned.user_ids, item_ids, pairs.time, pairs.rating
    )
    taken = torch.bincount(made.pairs("train")[1], minlength=made.item_count)
    if not taken.any():
        raise DataError(
            "The train split has no interaction. Lower val and test, or check the split column."
        )
    counts |= {
        "interactions": len(made),
        "users": made.user_count,
        "items": made.item_count,
        "users_without_training": int((made.lists("train").sizes() == 0).sum()),
        "items_without_training": int((taken == 0).sum()),
    }
    if made.time is not None:
        counts["time_travels"] = time_travels(made.user, split, made.time, made.user_count)
    catalogue = None
    if items is not None and source is not None and row_of is not None:
        of_row = torch.zeros(len(ids), dtype=torch.long)
        of_row[row_of[row_of >= 0]] = taken[row_of >= 0]
        catalogue = ItemCatalogue(ItemRows(items, source, of_row), row_of, options.resident_limit)
    return Ready(made, catalogue, counts)
