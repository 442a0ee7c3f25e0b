"""Recommender: the vectors of users and items at work, with raw ids and without any data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse import checkpoint
from mmfuse.errors import CheckpointError, ConfigError, DataError
from mmfuse.recommend.explanation import Contributor, ItemParts
from mmfuse.recommend.known_ids import Ids
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.ranking import TopItems, dot, top_items
from mmfuse.recommend.scores import DotScore, Score

if TYPE_CHECKING:  # faiss and the encoders behind features take their time
    from mmfuse.features import FeatureIndex
    from mmfuse.features.feature_index import Backend
    from mmfuse.features.neighbours import Metric

#: Users whose recommendations are made and handed on together.
USERS_TOGETHER = 4096


class Recommender:
    """Recommends items to users from their final vectors.

    Args:
        users: ``(U, D)`` vectors.
        items: ``(I, D)`` vectors.
        seen: what each user took in training, which is not recommended again.
        user_ids: ``(U,)`` the raw id of each user: whole numbers or texts.
        item_ids: ``(I,)`` likewise.
        score: what makes scores of vectors; None for the dot product.
        parts: for each part of the item vectors, such as ``id`` and ``image``, ``(I, D)``, adding
            up to the vectors; they explain a dot product. None for no explanation.

    Raises:
        DataError: shapes that do not agree, vectors that hold NaN or infinity, an id twice, or
            parts that do not add up.
        ConfigError: parts with a score that is not the dot product.

    Example:
        >>> seen = ItemLists.of(torch.tensor([0]), torch.tensor([0]), 2, 3)
        >>> items = torch.tensor([[3.0, 0.0], [2.0, 1.0], [2.0, 5.0]])
        >>> recommender = Recommender(torch.eye(2), items, seen, ["ann", "bob"], [10, 11, 12])
        >>> recommender.recommend("ann", k=2)["item"].tolist()
        [11, 12]
    """

    def __init__(
        self,
        users: Tensor,
        items: Tensor,
        seen: ItemLists,
        user_ids: Any,
        item_ids: Any,
        score: Score | None = None,
        parts: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.users, self.items, self.seen = users, items, seen
        self.score = DotScore() if score is None else score
        self.user_ids, self.item_ids = Ids("user", user_ids), Ids("item", item_ids)
        self._check()
        self.parts = None if parts is None else ItemParts(users, parts)
        if self.parts is not None:
            if not isinstance(self.score, DotScore):
                raise ConfigError(
                    "Parts of items explain a dot product; the score is "
                    f"{type(self.score).__name__}. Leave out the parts."
                )
            self.parts.check(items)
        #: Who explains scores: the parts, or whatever a caller puts here.
        self.contributor: Contributor | None = self.parts

    def _check(self) -> None:
        sides = (("user", self.users, self.user_ids), ("item", self.items, self.item_ids))
        for name, vectors, ids in sides:
            if vectors.ndim != 2 or len(vectors) != len(ids):
                raise DataError(
                    f"The {name} vectors have shape {tuple(vectors.shape)}; expected one row for "
                    f"each of {len(ids)} {name} ids."
                )
            if not torch.isfinite(vectors).all():
                row = int((~torch.isfinite(vectors).all(dim=1)).nonzero()[0])
                raise DataError(f"The vector of {name} {ids.values[row]} holds NaN or infinity.")
        if (len(self.seen), self.seen.count) != (len(self.users), len(self.items)):
            raise DataError(
                f"The seen lists are of {len(self.seen)} users and {self.seen.count} items; there "
                f"are vectors of {len(self.users)} and {len(self.items)}."
            )

    @classmethod
    def load(cls, path: str | Path) -> Recommender:
        """The recommender in a checkpoint, of a training run or from ``save``.

        Raises:
            MissingFileError, CheckpointError: as ``mmfuse.checkpoint.read``, or the checkpoint is
                of another task.
        """
        content = checkpoint.read(path)
        if "recommender" not in content["mmfuse"] or "serving" not in content:
            raise CheckpointError(
                f"{path} holds no recommender. Give a checkpoint of a recommendation task, or what "
                "Recommender.save wrote."
            )
        from mmfuse.recommend.serving import from_state

        return from_state(content["mmfuse"]["recommender"], content["serving"])

    def save(self, path: str | Path) -> Path:
        """Writes what ``load`` reads, without the model that made the vectors.

        Raises:
            OutputError: the folder cannot be written.
        """
        from mmfuse.recommend.serving import serving_state

        description, tensors = serving_state(self)
        about = {**checkpoint.about(), "recommender": description}
        return checkpoint.write({"mmfuse": about, "serving": tensors}, path)

    def recommend(
        self, users: Any = None, k: int = 10, exclude_seen: bool = True, among: Any = None
    ) -> pd.DataFrame:
        """The best items of each user.

        Args:
            users: a raw id, or several; None for every user.
            k: how many; a user with fewer candidates gets them all, as every user does where k is
                larger than the catalogue.
            exclude_seen: leave out what the user took in training.
            among: raw ids of the items that may be recommended; None for all.

        Returns:
            columns ``user``, ``item`` (raw ids), ``rank`` (from 1) and ``score``, a line each.

        Raises:
            UnknownIdError: a user or an item that the model does not know.
            ConfigError: k is below 1.
        """
        codes = None if users is None else self.user_ids.codes(users)
        return pd.concat(self.blocks(codes, k, exclude_seen, among), ignore_index=True)

    def blocks(
        self,
        codes: Tensor | None = None,
        k: int = 10,
        exclude_seen: bool = True,
        among: Any = None,
    ) -> Iterator[pd.DataFrame]:
        """What ``recommend`` gives, some thousands of users at a time.

        Args:
            codes: ``(n,)`` long, the users' codes; None for every user.
            k: how many, as ``recommend``.
            exclude_seen: leave out what the user took in training.
            among: raw ids of the items that may be recommended; None for all.
        """
        codes = torch.arange(len(self.users)) if codes is None else codes
        allowed = None
        if among is not None:
            allowed = torch.zeros(len(self.items), dtype=torch.bool)
            allowed[self.item_ids.codes(among)] = True
        seen = self.seen if exclude_seen else None
        most = min(k, max(1, len(self.items)))
        for some in codes.split(USERS_TOGETHER):
            top = top_items(
                self.users[some], self.items, self.score.matrix, most, seen, some, allowed
            )
            yield _table({"user": self.user_ids, "item": self.item_ids}, some, top, "score")

    def similar_items(self, items: Any, k: int = 10) -> pd.DataFrame:
        """The items whose vectors point the way that an item's does.

        Args:
            items: a raw id, or several.
            k: how many, the item itself left out; all others where there are fewer.

        Returns:
            columns ``item``, ``similar`` (raw ids), ``rank`` (from 1) and ``cosine``, a line each.

        Raises:
            UnknownIdError: an item that the model does not know.
            ConfigError: k is below 1.
        """
        codes = self.item_ids.codes(items)
        vectors = F.normalize(self.items, dim=1)
        itself = ItemLists.of(torch.arange(len(codes)), codes, len(codes), len(vectors))
        top = top_items(vectors[codes], vectors, dot, min(k, len(vectors)), itself)
        return _table({"item": self.item_ids, "similar": self.item_ids}, codes, top, "cosine")

    def explain(self, users: Any, items: Any) -> pd.DataFrame:
        """Where the scores of pairs come from.

        Args:
            users: a raw id for each pair.
            items: likewise.

        Returns:
            columns ``user``, ``item``, and ``from_<part>``, each part's share; the shares of a line
            add up to its score.

        Raises:
            ConfigError: nothing tells the parts of the items.
            UnknownIdError: a user or an item that the model does not know.
        """
        if self.contributor is None:
            raise ConfigError(
                "The recommender holds no parts of its item vectors, which an explanation takes. "
                "Train with explained set, where modalities enter the items' vectors."
            )
        who, what = self.user_ids.codes(users), self.item_ids.codes(items)
        shares = self.contributor.contributions(who, what)
        found = {"user": self.user_ids.values[who.numpy()], "item": self.item_ids.values[what]}
        return pd.DataFrame({**found, **{f"from_{part}": v.numpy() for part, v in shares.items()}})

    def to_faiss(
        self,
        folder: str | Path,
        backend: Backend = "faiss",
        metric: Metric | None = None,
    ) -> FeatureIndex:
        """Writes the vectors as a folder of features, with an index of faiss for each side.

        The columns are ``user`` and ``item``, the rows are codes, and ``user_ids.parquet`` and
        ``item_ids.parquet`` say whose. ``mmfuse search --features FOLDER --column item --metric
        dot`` finds items near a row, or with ``--by user`` those for a user; seen ones are among
        them.

        Args:
            folder: a new one.
            backend: as ``mmfuse.features.index``.
            metric: likewise; the dot product for a score that is none other.

        Returns:
            the index of the items.

        Raises:
            ConfigError: faiss is not installed, the folder holds something else, or the score is
                not the dot product and no metric is given.
            OutputError: the folder cannot be written.
        """
        from mmfuse.recommend.export import to_features

        if metric is None and not isinstance(self.score, DotScore):
            raise ConfigError(
                f"The score is {type(self.score).__name__}, and an index knows cosine, dot and l2. "
                "Give the metric that ranks items alike."
            )
        sides = {"user": (self.users, self.user_ids), "item": (self.items, self.item_ids)}
        return to_features(sides, folder, backend, metric or "dot")["item"]

    def with_items(self, vectors: Tensor, ids: Any) -> Recommender:
        """The same with more items, which nobody has taken, and without parts.

        Args:
            vectors: ``(n, D)``, such as a model makes of new items' features.
            ids: ``(n,)`` raw ids, of the same kind as the others.

        Raises:
            DataError: as the constructor; ids among them.
        """
        more = Ids("item", ids)
        if more.are_numbers != self.item_ids.are_numbers:
            raise DataError(
                f"The new items' ids are {more.values.dtype}, the others' "
                f"{self.item_ids.values.dtype}; expected one kind."
            )
        seen = ItemLists(self.seen.offsets, self.seen.items, len(self.items) + len(more))
        item_ids = [*self.item_ids.values.tolist(), *more.values.tolist()]
        items = torch.cat([self.items, vectors.to(self.items)])
        return Recommender(self.users, items, seen, self.user_ids.values, item_ids, self.score)


def _table(names: Mapping[str, Ids], codes: Tensor, top: TopItems, score: str) -> pd.DataFrame:
    """A line for each place that is not empty: whose it is, the item, the rank and the score."""
    row, place = (top.items >= 0).nonzero(as_tuple=True)
    sides = zip(names.items(), (codes[row], top.items[row, place]), strict=True)
    found = {name: ids.values[side.numpy()] for (name, ids), side in sides}
    return pd.DataFrame(found | {"rank": place.numpy() + 1, score: top.scores[row, place].numpy()})
