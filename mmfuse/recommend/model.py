"""RecommendationModel: vectors of users and items, passed along graphs, and a score of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.batch import Batch
from mmfuse.data.datamodule import Split
from mmfuse.errors import ConfigError
from mmfuse.missing import ModalityDropout, RowFacts
from mmfuse.model import FusionModel
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.content import Catalogue, ItemContent
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.propagation import GraphData, Propagation
from mmfuse.recommend.scores import DotScore, Score
from mmfuse.recommend.users import Users
from mmfuse.recorded import describe, rebuild

#: Items that are encoded at a time outside of training.
_BLOCK = 4096


@dataclass(frozen=True, slots=True)
class RankingOutput:
    """What a model says of a training batch.

    Args:
        users: ``(B, D)`` final vectors.
        items: ``(B, 1 + N, D)`` final vectors, the observed item first.
        start_users: ``(B, D)`` the vectors before any graph, which are what is regularised.
        start_items: ``(B, 1 + N, D)`` likewise.
        content: the batch's distinct items through their modalities; None where they have none.
        places: ``(B, 1 + N)`` long, each item's row in ``content``; ``(B, 1)`` where no objective
            looks at the modalities of drawn items; None likewise.
    """

    users: Tensor
    items: Tensor
    start_users: Tensor
    start_items: Tensor
    content: ItemContent | None
    places: Tensor | None


@dataclass(frozen=True, slots=True)
class Represented:
    """The final vectors of all.

    Args:
        users: ``(U, D)``.
        items: ``(I, D)``.
    """

    users: Tensor
    items: Tensor


class RecommendationModel(nn.Module):
    """Parts that make a recommender; plain torch, no Lightning.

    Items are what ``item`` says: ids, or what ``tower`` (encoders and any fusion) makes of their
    modalities, or both. ``backbone`` passes vectors along graphs. Without one, and with users
    that are ids, a training step touches the batch's rows alone.

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

    def build(self, data: GraphData) -> None:
        """Makes tables and graphs for the users and items of the training interactions."""
        self.item.build(data.train, self.tower.fusion.out_dim if self.tower else None)
        self.user.build(data.train, self.item.out_dim)
        if self.backbone is not None:
            self.backbone.build(data)

    def attach(self, catalogue: Catalogue | None) -> None:
        """Takes the items' modalities, which are data and no part of the model."""
        if (catalogue is None) != (self.tower is None):
            raise ConfigError(
                "The model reads item modalities and the data has none, or the other way round. "
                "Give both or neither."
            )
        self.catalogue = catalogue

    def start_epoch(self, epoch: int) -> None:
        """Told before each epoch of training, for what is drawn anew."""
        self.epoch = epoch
        if self.backbone is not None:
            self.backbone.start_epoch(epoch)

    # Items through their modalities.

    def encode(
        self, codes: Tensor | None = None, given: Batch | None = None, split: Split = "train"
    ) -> ItemContent | None:
        """Some items through their modalities; None where there is no tower.

        Args:
            codes: ``(n,)`` long, ascending; None for all.
            given: their rows, where the loader brought them.
            split: whose simulated absence applies.
        """
        if self.tower is None:
            return None
        assert self.catalogue is not None or given is not None
        batch = given if given is not None else self.catalogue.batch(codes, split)  # type: ignore[union-attr]
        device = next(self.tower.parameters()).device
        batch = batch if batch.index.device == device else batch.to(device)
        return ItemContent.of(self.tower, self._thinned(batch))

    def _thinned(self, batch: Batch) -> Batch:
        if self.modality_dropout is None or not self.training:
            return batch
        present = batch.present.cpu()
        unknown, middle = torch.full((len(batch),), -1), torch.full(present.shape, 0.5)
        facts = RowFacts(batch.modalities, batch.index.cpu(), present, unknown, middle)
        return batch.keep(
            self.modality_dropout.keep(facts, self.epoch or 0).to(batch.present.device)
        )

    def _fused(self, split: Split = "train") -> Tensor | None:
        """What enters the vectors of all items, a block at a time."""
        if self.item.content == "none":
            return None
        every = torch.arange(len(self.item.warm)).split(_BLOCK)
        return torch.cat([c.vector for codes in every if (c := self.encode(codes, None, split))])

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
            start_users, start_items, users, all_items = self._all(fused)
            return RankingOutput(
                F.embedding(batch.users, users),
                F.embedding(items, all_items),
                F.embedding(batch.users, start_users),
                F.embedding(items, start_items),
                content,
                places,
            )
        distinct, places = torch.unique(items, return_inverse=True)
        content = self.encode(distinct, batch.content) if reads_content or enters else None
        made = self.item(distinct, content.vector if enters and content is not None else None)
        x_i, x_u = F.embedding(places, made), self.user(batch.users, None)
        there = places if content is not None else None
        return RankingOutput(x_u, x_i, x_u, x_i, content, there)

    def _all(self, fused: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The start and the end of all users and items."""
        items = self.item(None, fused)
        users = self.user(None, items)
        if self.backbone is None:
            return users, items, users, items
        y_u, y_i = self.backbone(users, items)
        return users, items, users if y_u is None else y_u, items if y_i is None else y_i

    @torch.no_grad()
    def represent(self, fused: Tensor | None = None, split: Split = "train") -> Represented:
        """The final vectors of all, as they rank.

        Args:
            fused: ``(I, C)`` what enters the items' vectors, in place of what the catalogue gives.
            split: whose simulated absence applies to the catalogue.
        """
        was_training = self.training
        self.eval()
        try:
            _, _, users, items = self._all(self._fused(split) if fused is None else fused)
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
