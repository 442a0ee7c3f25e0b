"""ItemVectors: what stands for an item, by its id, by what it is made of, or by both."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.recommend.lists import ItemLists
from mmfuse.recorded import Recorded

Content = Literal["none", "concat", "add"]


class ItemVectors(nn.Module, Recorded):
    """Vectors of items, before any graph.

    ::

        x_i = e_i              content: none
        x_i = [e_i ; c_i]      content: concat
        x_i = e_i + W c_i      content: add, W the identity where widths agree

    c_i is what the encoders and the fusion make of the item's modalities. Without ``id`` the
    vector is c_i alone. The id of an item without training interactions has learned nothing; it
    counts as zero.

    Args:
        dim: width of e_i.
        id: whether there is an e_i.
        content: how c_i enters.

    Raises:
        ConfigError: a width below 1, an unknown way, or neither id nor content; at ``build``,
            content of items that have no modalities.
    """

    taken: Tensor

    def __init__(self, dim: int = 64, id: bool = True, content: Content = "none") -> None:
        super().__init__()
        if dim < 1 or content not in ("none", "concat", "add"):
            raise ConfigError(
                f"ItemVectors: dim {dim}, content {content!r}; expected a width of 1 or more, and "
                "none, concat or add."
            )
        if not id and content == "none":
            raise ConfigError(
                "ItemVectors has neither id nor content. Leave id on, or set content to concat."
            )
        self.dim, self.has_id, self.content = dim, id, content
        self.out_dim = dim

    def build(self, train: ItemLists, width: int | None) -> None:
        """Makes the table.

        Args:
            train: of training.
            width: of c_i; None where items have no modalities.
        """
        if self.content != "none" and width is None:
            raise ConfigError(
                f"ItemVectors: content is {self.content!r}, and the data has no item modalities. "
                "Give RecommendationData items, or set content to none."
            )
        self.register_buffer("taken", torch.bincount(train.items, minlength=train.count))
        if self.has_id:
            self.table = nn.Embedding(train.count, self.dim)
            nn.init.xavier_uniform_(self.table.weight)
        if self.content == "none" or width is None:
            return
        if not self.has_id:
            self.out_dim = width
        elif self.content == "concat":
            self.out_dim = self.dim + width
        elif width != self.dim:
            self.project = nn.Linear(width, self.dim, bias=False)

    @property
    def warm(self) -> Tensor:
        """``(I,)`` bool, the items that somebody took in training; ``taken`` tells how many."""
        return self.taken > 0

    def forward(self, codes: Tensor | None, content: Tensor | None) -> Tensor:
        """The vectors of some items.

        Args:
            codes: ``(n,)`` long; None for all.
            content: ``(n, C)`` of the same items; None where it does not enter.

        Shape:
            -> (n, out_dim)
        """
        parts = self.parts(codes, content)
        if self.content == "concat" and len(parts) == 2:
            return torch.cat([parts["id"], parts["content"]], dim=1)
        return sum(list(parts.values())[1:], next(iter(parts.values())))

    def parts(self, codes: Tensor | None, content: Tensor | None) -> dict[str, Tensor]:
        """``id`` and ``content`` as far as they enter, before they are joined."""
        found = {}
        if self.has_id:
            ids = self.table.weight if codes is None else self.table(codes)
            warm = self.warm if codes is None else self.warm[codes]
            found["id"] = ids * warm.unsqueeze(1)
        if self.content != "none":
            assert content is not None
            found["content"] = self.project(content) if hasattr(self, "project") else content
        return found

    def of_content(self, content: Tensor) -> Tensor:
        """Vectors of items that no table knows, from what they are made of alone.

        Shape:
            content (n, C) -> (n, out_dim)

        Raises:
            ConfigError: content does not enter.
        """
        if self.content == "none":
            raise ConfigError(
                "The items' vectors are ids alone, which new items do not have. Train with "
                "ItemVectors' content set to concat or add."
            )
        made = self.project(content) if hasattr(self, "project") else content
        if self.has_id and self.content == "concat":
            return torch.cat([made.new_zeros(len(made), self.dim), made], dim=1)
        return made
