"""SharedKnowledge: what an id would say, seen through its modalities, as REARM has it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.recommend.propagation.base import GraphData, Propagation, Sides

_REMEDY = "Set dim to the width of ids and of modalities, and content of the items to concat."


class SharedKnowledge(Propagation):
    """Ids passed through a transform of low rank that each user and item has for its own.

    A vector is the id e and M modalities' parts, side by side, all of width D. No graph takes
    part: this is what REARM does at the end of a chain of graphs::

        h      = W sg[m_1 ; ... ; m_M] + b        sg: no gradient passes
        P      = softmax over D of MLP_1(h)       (D, k)
        Q      = softmax over k of MLP_2(h)       (k, D)
        shared = (e P) Q
        y      = [PReLU(m_1) + e ; ... ; PReLU(m_M) + e ; PReLU(shared) + e]

    Users and items have maps of their own.

    Args:
        dim: D.
        modalities: M, so that vectors have width ``(1 + M) D``; as many as they hold by default.
        rank: k.

    Shape:
        users (U, (1 + M) D), items (I, (1 + M) D) -> the same

    Raises:
        ConfigError: a number below 1; vectors of another width.

    Reference: REARM, 2025, arXiv:2508.13745.

    Departs from the authors' code: the modalities are cut off from the gradient before W and not
    after it, so that W learns.
    """

    def __init__(self, dim: int = 64, modalities: int | None = None, rank: int = 3) -> None:
        super().__init__()
        if min(dim, rank) < 1 or (modalities is not None and modalities < 1):
            raise ConfigError(
                f"SharedKnowledge: dim {dim}, modalities {modalities}, rank {rank}; expected "
                "numbers of 1 or more."
            )
        self.dim, self.modalities, self.rank = dim, modalities, rank
        if modalities is not None:
            self._make(modalities)

    def _make(self, modalities: int) -> None:
        self.modalities = modalities
        self.user, self.item = (_Transform(self.dim, modalities, self.rank) for _ in range(2))

    def build(self, data: GraphData) -> None:
        """Makes the maps, for as many modalities as the vectors hold.

        Raises:
            ConfigError: their width is not that of an id and whole modalities of its width.
        """
        if self.modalities is not None:
            return
        width = data.width or 0
        if width % self.dim or width < 2 * self.dim:
            raise ConfigError(
                f"SharedKnowledge: vectors have width {data.width}; expected an id of width "
                f"{self.dim} and a modality or more of the same. {_REMEDY}"
            )
        self._make(width // self.dim - 1)

    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """Passes every vector through its own transform."""
        return self._one("user", users), self.alone(items)

    def at(
        self, users: Tensor, items: Tensor, user_rows: Tensor, item_rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Passes these rows alone, each once."""
        made = []
        for side, x, rows in (("user", users, user_rows), ("item", items, item_rows)):
            distinct, places = torch.unique(rows, return_inverse=True)
            made.append(F.embedding(places, self._one(side, F.embedding(distinct, x))))
        return made[0], made[1]

    def alone(self, items: Tensor) -> Tensor:
        """The same for any item, as none depends on another one."""
        return self._one("item", items)

    def _one(self, side: str, x: Tensor) -> Tensor:
        assert self.modalities is not None
        width = (1 + self.modalities) * self.dim
        if x.shape[1] != width:
            raise ConfigError(
                f"SharedKnowledge: vectors have width {x.shape[1]}; expected an id and "
                f"{self.modalities} modalities of width {self.dim}, {width} in all. {_REMEDY}"
            )
        made: Tensor = getattr(self, side)(x)
        return made

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Makes the maps that the checkpoint has."""
        found = state_dict.get(f"{prefix}item.compress.weight")
        if self.modalities is None and found is not None:
            self._make(found.shape[1] // self.dim)
        super()._load_from_state_dict(state_dict, prefix, *rest)


class _Transform(nn.Module):
    def __init__(self, dim: int, modalities: int, rank: int) -> None:
        super().__init__()
        self.dim, self.rank = dim, rank
        self.compress = nn.Linear(modalities * dim, dim)
        self.first, self.second = (
            nn.Sequential(nn.Linear(dim, dim), nn.PReLU(), nn.Linear(dim, dim * rank))
            for _ in range(2)
        )
        self.acts = nn.ModuleList(nn.PReLU() for _ in range(modalities + 1))

    def forward(self, x: Tensor) -> Tensor:
        e, content = x[:, : self.dim], x[:, self.dim :]
        h = self.compress(content.detach())
        p = self._across(self.first, h).softmax(dim=2)
        q = self.second(h).unflatten(1, (self.rank, self.dim)).softmax(dim=1)
        shared = ((p * e.unsqueeze(1)).sum(dim=2, keepdim=True) * q).sum(dim=1)
        parts = [*content.split(self.dim, dim=1), shared]
        return torch.cat([act(m) + e for act, m in zip(self.acts, parts, strict=True)], dim=1)

    def _across(self, mlp: nn.Module, h: Tensor) -> Tensor:
        """P' of (k, D), each row in one piece, where the last map has it as (D, k)."""
        first, act, last = mlp.children()
        assert isinstance(last, nn.Linear)
        weight = last.weight.unflatten(0, (self.dim, self.rank)).transpose(0, 1).flatten(0, 1)
        bias = last.bias.unflatten(0, (self.dim, self.rank)).T.flatten()
        return F.linear(act(first(h)), weight, bias).unflatten(1, (self.rank, self.dim))
