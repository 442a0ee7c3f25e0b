"""RecommendationData: interactions and items' modalities -> training pairs, users to evaluate."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mmfuse.data import FusionDataModule
from mmfuse.data.reading import Preprocess
from mmfuse.errors import ConfigError
from mmfuse.files import digest, write_json
from mmfuse.recommend.catalogue import ItemCatalogue
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.joining import Unseen
from mmfuse.recommend.loaders import RankingLoaders
from mmfuse.recommend.ready import Options, Ready, make_ready
from mmfuse.recommend.records import write
from mmfuse.recommend.sources.base import InteractionSource
from mmfuse.recommend.splits.base import SplitRule
from mmfuse.recorded import describe
from mmfuse.spec import DataSpec

_log = logging.getLogger(__name__)
#: Options that do not change which interactions and items there are, nor their split.
_LOADING = (
    "batch_size",
    "eval_batch_size",
    "workers",
    "negatives",
    "popularity",
    "leaky_negatives",
    "resident_limit",
)


class RecommendationData(RankingLoaders):
    """Implicit feedback with the modalities of its items.

    Repeated pairs are merged, the earliest time stays. Users without a training pair stay, and
    are evaluated; so do items without one, and items without any modality. What was left out,
    and how many of these there are, stands in ``counts`` and in the run's ``data.json``.

    Args:
        source: the interactions.
        items: the items' modalities, a row an item; None for those that come with the source.
        item_id: what names the rows of ``items``: a column of theirs, or (in Python) a list
            with each row's id. None for the rows' numbers, from 0.
        split: the rule; None for the source's own split where it has one, else
            ``RandomSplit()``.
        unseen: ``keep`` rows that no interaction names as items, which can be recommended; or
            ``drop`` them.
        rating_from: least rating of an interaction that counts; None for all.
        user_core: least number of items of a user; who has fewer leaves, until none is left.
        item_core: least number of users of an item, likewise.
        batch_size: pairs a training batch; users, for a model that reads the order of their items.
        eval_batch_size: users a block elsewhere.
        negatives: drawn for each pair, with replacement, from the items that its user has no
            training pair with, and from nothing else. 0 where no objective compares with drawn
            items, as ``BootstrapLoss`` and ``InBatchSoftmaxLoss``: steps are shorter.
        popularity: negatives are drawn in proportion to how many users took an item in
            training, to this power; 0 for the same chance for all. Above 0, items without a
            training pair are never drawn.
        leaky_negatives: keep validation and test pairs out of the negatives too. This is wrong:
            it tells the model which untaken items the user will take. One released loader does
            it; the option is here to measure what the leak is worth.
        workers: processes that fetch ahead.
        seed: of the split, the order of pairs and the negatives.
        split_seed: of the split alone, so that runs with other seeds have the same one.
        resident_limit: bytes up to which the items' vectors are kept in memory; beyond, and
            for other modalities, each batch carries the rows of its items.

    Raises:
        ConfigError: an option outside its range.
        DataError: at set-up, when the content does not fit what it claims to be.

    Example:
        >>> from mmfuse.recommend import InteractionArrays, LeaveOneOut
        >>> source = InteractionArrays([0, 0, 0, 1, 1], [5, 6, 7, 5, 7], time=[3, 1, 2, 1, 2])
        >>> data = RecommendationData(source, split=LeaveOneOut())
        >>> data.interactions.lists("train").sizes().tolist()
        [1, 1]
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch.negatives.shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        source: InteractionSource,
        items: FusionDataModule | None = None,
        item_id: str | list[Any] | None = None,
        split: SplitRule | None = None,
        unseen: Unseen = "keep",
        rating_from: float | None = None,
        user_core: int = 1,
        item_core: int = 1,
        batch_size: int = 2048,
        eval_batch_size: int = 4096,
        negatives: int = 1,
        popularity: float = 0.0,
        leaky_negatives: bool = False,
        workers: int = 0,
        seed: int = 0,
        split_seed: int | None = None,
        resident_limit: int = 4 << 30,
    ) -> None:
        super().__init__()
        least = {
            "user_core": (user_core, 1),
            "item_core": (item_core, 1),
            "batch_size": (batch_size, 1),
            "eval_batch_size": (eval_batch_size, 1),
            "negatives": (negatives, 0),
            "popularity": (popularity, 0),
            "workers": (workers, 0),
            "resident_limit": (resident_limit, 0),
        }
        for name, (found, expected) in least.items():
            if found < expected:
                raise ConfigError(f"{name} is {found}; expected {expected} up.")
        if unseen not in ("keep", "drop"):
            raise ConfigError(f"unseen is {unseen!r}; expected keep or drop.")
        self.source, self.items = source, items
        self.batch_size, self.eval_batch_size, self.workers = batch_size, eval_batch_size, workers
        self.negatives, self.popularity = negatives, popularity
        self.leaky_negatives, self.seed = leaky_negatives, seed
        drawn = seed if split_seed is None else split_seed
        self._options = Options(
            item_id, split, unseen, rating_from, user_core, item_core, drawn, resident_limit
        )
        self._ready: Ready | None = None
        self._adopted: DataSpec | None = None
        self._preprocess: dict[str, Preprocess] = {}

    # Set-up.

    def setup(self, stage: str | None = None) -> None:
        """Reads, cleans, splits and joins, once."""
        if self._ready is not None:
            return
        items = self.source.items() if self.items is None else self.items
        ready = make_ready(self.source.read(), items, self._options)
        if ready.catalogue is not None:
            if self._adopted is not None:
                ready.catalogue.adopt(self._adopted)
            ready.catalogue.attach(self._preprocess)
            lacking = ~ready.catalogue.presence("train", None).any(dim=1)
            ready.counts["items_without_modality"] = int(lacking.sum())
        self._ready = ready
        _log.info("Interactions: %s", ", ".join(f"{n} {k}" for k, n in ready.counts.items()))

    @property
    def _set_up(self) -> Ready:
        self.setup()
        assert self._ready is not None
        return self._ready

    def adopt(self, spec: DataSpec) -> None:
        """Takes a trained model's statistics of the items' modalities for its own."""
        self._adopted = spec
        if self._ready is not None and self._ready.catalogue is not None:
            self._ready.catalogue.adopt(spec)

    def attach(self, preprocess: Mapping[str, Preprocess]) -> None:
        """Takes the encoders' preprocessing, which then runs wherever items are read."""
        self._preprocess = dict(preprocess)
        if self._ready is not None and self._ready.catalogue is not None:
            self._ready.catalogue.attach(self._preprocess)

    # What others ask.

    @property
    def interactions(self) -> Interactions:
        """Who took what, in which split."""
        return self._set_up.interactions

    @property
    def catalogue(self) -> ItemCatalogue | None:
        """The items' modalities; None if they have none."""
        return self._set_up.catalogue

    @property
    def spec(self) -> DataSpec | None:
        """What the items' modalities look like; None if they have none."""
        return None if self.catalogue is None else self.catalogue.spec

    @property
    def counts(self) -> dict[str, int]:
        """Rows of the source, those left out and why, and who lacks what."""
        return dict(self._set_up.counts)

    # Records.

    def settings(self) -> dict[str, Any]:
        """How this data is made, in plain data."""
        made = describe(self, without=("source", "items", "item_id"))
        items = self.source.items() if self.items is None else self.items
        made["init_args"] |= {
            "source": self.source.settings(),
            "items": None if items is None else items.settings(),
            "item_id": _told(self._options.item_id),
        }
        return made

    def content(self) -> dict[str, Any]:
        """What decides interactions, items and split, in plain data; not how they are loaded."""
        made = self.settings()
        items = self.source.items() if self.items is None else self.items
        arguments = {k: v for k, v in made["init_args"].items() if k not in _LOADING}
        arguments["items"] = None if items is None else items.content()
        return {**made, "init_args": arguments}

    def reseeded(self, seed: int) -> Self:
        """The same data with another seed for split, order, negatives and simulated absence."""
        items = None if self.items is None else self.items.reseeded(seed)
        return type(self)(**{**self._arguments, "items": items, "seed": seed})

    def save(self, folder: str | Path) -> None:
        """Writes ``interactions.parquet``, ``items.parquet`` and ``data.json``; see ``write``.

        Raises:
            OutputError: the folder cannot be written.
        """
        ready = self._set_up
        write(ready, Path(folder))
        spec = None if self.spec is None else self.spec.to_dict()
        record = {"settings": self.settings(), "spec": spec, "counts": ready.counts}
        write_json(record, Path(folder) / "data.json")


def _told(item_id: str | Sequence[Any] | None) -> Any:
    """A column's name as it is, a list of ids by a digest."""
    if item_id is None or isinstance(item_id, str):
        return item_id
    return {"rows": len(item_id), "sha256": digest([str(i) for i in item_id])}
