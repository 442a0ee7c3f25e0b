"""RecommendationModel: vectors of users and items, passed along graphs, and a score of pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.batch import Batch
from mmfuse.data.datamodule import Split
from mmfuse.errors import ConfigError
from mmfuse.missing import ModalityDropout
from mmfuse.model import FusionModel
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.content import Catalogue
from mmfuse.recommend.histories import Sequences
from mmfuse.recommend.interactions import Interactions
from mmfuse.recommend.item_side import ItemSide
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.outputs import RankingOutput, Represented
from mmfuse.recommend.propagation import GraphData, Propagation
from mmfuse.recommend.scores import DotScore, Score
from mmfuse.recommend.sequence_users import SequenceUsers
from mmfuse.recommend.users import Users
from mmfuse.recorded import describe, rebuild

__all__ = ["RankingOutput", "RecommendationModel", "Represented"]


class RecommendationModel(ItemSide):
    """Parts that make a recommender; plain torch, no Lightning.

    Items are what ``item`` says: ids, or what ``tower`` (encoders and any fusion) makes of their
    modalities, or both. ``backbone`` passes vectors along graphs. Without one, and with users
    that are ids or read from their last items, a training step touches the batch's rows alone.

    Args:
        item: makes the items' vectors.
        user: makes the users' vectors.
        backbone: passes them along; None for matrix factorisation.
        tower: encoders and fusion of the items' modalities; None where they have none.
        score: of a pair.
        modality_dropout: who is taken away in training, on top of natural gaps.

    Example:
        >>> from mmfuse.recommend import ItemLists
        >>> from mmfuse.recommend.users import UserVectors
        >>> model = RecommendationModel(ItemVectors(8), UserVectors())
        >>> model.build(GraphData(ItemLists.of(torch.tensor([0]), torch.tensor([2]), 2, 3)))
        >>> model.represent().items.shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        item: ItemVectors,
        user: Users,
        backbone: Propagation | None = None,
        tower: FusionModel | None = None,
        score: Score | None = None,
        modality_dropout: ModalityDropout | None = None,
    ) -> None:
        super().__init__()
        self.item, self.user, self.backbone = item, user, backbone
        self.tower, self.score = tower, score or DotScore()
        self.modality_dropout = modality_dropout
        self.epoch: int | None = None  # none has begun
        self.catalogue: Catalogue | None = None
        self.interactions: Interactions | None = None

    def build(self, data: GraphData) -> None:
        """Makes tables and graphs for the users and items of the training interactions."""
        self.item.build(data.train, self.tower.fusion.out_dim if self.tower else None)
        self.user.build(data.train, self.item.out_dim)
        if self.backbone is not None:
            self.backbone.build(replace(data, width=self.item.out_dim))
            if isinstance(self.user, SequenceUsers):  # refuses a graph that has no place for them
                self._passed(torch.zeros(data.train.count, self.item.out_dim))

    def attach(self, catalogue: Catalogue | None, interactions: Interactions | None = None) -> None:
        """Takes what is data and no part of the model.

        Args:
            catalogue: the items' modalities; None where they have none.
            interactions: who took what when, for users that are made of it in order.

        Raises:
            ConfigError: the model needs what is not given, or the other way round.
        """
        self.look_at(catalogue)
        is_timeless = interactions is not None and interactions.time is None
        if isinstance(self.user, SequenceUsers) and is_timeless:
            raise ConfigError(
                f"{type(self.user).__name__} reads users' items in the order of time, and the "
                "interactions have no times. Name the source's column of times, or take "
                "UserVectors(by='history'), for which order is nothing."
            )
        self.interactions = interactions

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch of training, for what is drawn anew."""
        self.epoch = epoch
        if self.backbone is not None:
            self.backbone.start_epoch(epoch)

    # Vectors.

    @property
    def is_whole(self) -> bool:
        """Whether a step needs the vectors of all users and items."""
        return self.backbone is not None or self.user.needs_items

    def forward(
        self, batch: RankingBatch, reads_content: bool = True, reads_drawn: bool = True
    ) -> RankingOutput:
        """Vectors of a training batch.

        Args:
            batch: pairs and negatives.
            reads_content: whether an objective looks at the items' modalities; if none does,
                they are encoded where they enter the vectors alone.
            reads_drawn: whether one looks at those of drawn items too.
        """
        items = batch.all_items()
        enters = self.tower is not None and self.item.content != "none"
        if self.is_whole:
            looked = items if reads_drawn else items[:, :1]
            distinct, fused, content = torch.unique(looked), None, None
            if enters:
                every = self.encode()
                assert every is not None
                fused, content = every.vector, every.rows(distinct)
            elif reads_content:
                content = self.encode(distinct, batch.content)
            places = None if content is None else content.places(looked)
            every_item = self.item(None, fused)
            start_i = F.embedding(items, every_item)
            if isinstance(self.user, SequenceUsers):
                passed = self._passed(every_item)
                x_u, x_i = self.user.before(_sequences(batch), passed), F.embedding(items, passed)
                return RankingOutput(x_u, x_i, x_u, start_i, content, places)
            every_user = self.user(None, every_item)
            start_u = F.embedding(batch.users, every_user)
            x_u, x_i = start_u, start_i
            if self.backbone is not None:
                x_u, x_i = self.backbone.at(every_user, every_item, batch.users, items)
            return RankingOutput(x_u, x_i, start_u, start_i, content, places)
        distinct = batch.distinct_items()
        places = torch.searchsorted(distinct, items)
        content = self.encode(distinct, batch.content) if reads_content or enters else None
        made = self.item(distinct, content.vector if enters and content is not None else None)
        x_i = F.embedding(places, made)
        if isinstance(self.user, SequenceUsers):
            x_u = self.user.before(_sequences(batch).among(distinct), made)
        else:
            x_u = self.user(batch.users, None)
        there = places if content is not None else None
        return RankingOutput(x_u, x_i, x_u, x_i, content, there)

    def _all(self, fused: Tensor | None, split: Split) -> tuple[Tensor, Tensor]:
        """The final vectors of all users and items."""
        items = self.item(None, fused)
        if isinstance(self.user, SequenceUsers):
            if self.interactions is None:
                raise ConfigError(
                    f"{type(self.user).__name__} reads what users took, and the model has no "
                    "interactions. Give them to its attach."
                )
            before = ("train", "val") if split == "test" else ("train",)
            y_i = self._passed(items)
            return self.user(None, y_i, self.interactions.histories(*before)), y_i
        users = self.user(None, items)
        if self.backbone is None:
            return users, items
        y_u, y_i = self.backbone(users, items)
        return users if y_u is None else y_u, items if y_i is None else y_i

    def final_items(self, fused: Tensor | None) -> Tensor:
        """The final vectors of all items ``(I, D)``; users are made if items take from them."""
        items = self.item(None, fused)
        if self.backbone is None or isinstance(self.user, SequenceUsers):
            return self._passed(items)
        y_i = self.backbone(self.user(None, items), items)[1]
        return items if y_i is None else y_i

    def _passed(self, items: Tensor) -> Tensor:
        """The end of all items, where users are made of it."""
        if self.backbone is None:
            return items
        nobody = items.new_zeros(len(self.user.warm), items.shape[1])
        y_u, y_i = self.backbone(nobody, items)
        if y_u is not None and y_u is not nobody:
            raise ConfigError(
                f"{type(self.backbone).__name__} passes the vectors of users along, and "
                f"{type(self.user).__name__} makes users of the items' final vectors. Choose a "
                "backbone of items alone, such as ItemGraph, or none."
            )
        return items if y_i is None else y_i

    @torch.no_grad()
    def represent(self, fused: Tensor | None = None, split: Split = "train") -> Represented:
        """The final vectors of all, as they rank.

        Args:
            fused: ``(I, C)`` what enters the items' vectors, in place of what the catalogue gives.
            split: whose simulated absence applies to the catalogue, and whose pairs are to be
                found: users that are made of their items in order know those of training, and for
                ``test`` those of validation too.
        """
        was_training = self.training
        self.eval()
        try:
            fused = self._fused(split) if fused is None else fused
            users, items = self._all(fused, split)
        finally:
            self.train(was_training)
        return Represented(self.user.known(users).detach(), items.detach())

    @torch.no_grad()
    def item_vectors(self, batch: Batch) -> Tensor:
        """Vectors of new items from their modalities alone.

        No graph holds them; they get what it gives to an item that nothing is joined to.

        Args:
            batch: the items, read as the catalogue reads its own.

        Raises:
            ConfigError: the model's items are ids alone.
        """
        was_training = self.training
        self.eval()
        try:
            content = self.encode(given=batch)
            if content is None:
                raise ConfigError(
                    "The model reads no item modalities, so that it has no vectors of new items."
                )
            made = self.item.of_content(content.vector)
            return made if self.backbone is None else self.backbone.alone(made)
        finally:
            self.train(was_training)

    # Records.

    def describe(self) -> dict[str, Any]:
        """How to build this model again, in plain data; weights and graphs are not part of it."""
        dropout = self.modality_dropout
        return {
            "users": len(self.user.warm),
            "items": len(self.item.warm),
            "item": describe(self.item),
            "user": describe(self.user),
            "backbone": None if self.backbone is None else describe(self.backbone),
            "tower": None if self.tower is None else self.tower.describe(),
            "score": describe(self.score),
            "modality_dropout": None if dropout is None else describe(dropout),
        }

    @classmethod
    def rebuild(cls, description: dict[str, Any]) -> RecommendationModel:
        """The inverse of ``describe``: fresh tables, and graphs that a checkpoint fills.

        Raises:
            CheckpointError: it names a class that cannot be imported or is not of its kind.
        """

        def made(name: str, base: type) -> Any:
            found = description[name]
            return None if found is None else rebuild(found, base=base)

        tower = description["tower"]
        model = cls(
            made("item", ItemVectors),
            made("user", Users),
            made("backbone", Propagation),
            None if tower is None else FusionModel.rebuild(tower),
            made("score", Score),
            made("modality_dropout", ModalityDropout),
        )
        nobody = torch.zeros(0, dtype=torch.long)
        train = ItemLists.of(nobody, nobody, description["users"], description["items"])
        model.item.build(train, model.tower.fusion.out_dim if model.tower else None)
        model.user.build(train, model.item.out_dim)
        return model


def _sequences(batch: RankingBatch) -> Sequences:
    if batch.sequences is None:
        raise ConfigError(
            "The model reads what users took before, and the batch has no sequences. Call the "
            "data's remember with the model's user.length before its loader is made."
        )
    return batch.sequences
