"""SharedKnowledge: what an id would say, seen through its modalities, as REARM has it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.recommend.propagation.base import GraphData, Propagation, Sides


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
        modalities: M, so that vectors have width ``(1 + M) D``.
        rank: k.

    Shape:
        users (U, (1 + M) D), items (I, (1 + M) D) -> the same

    Raises:
        ConfigError: a number below 1; vectors of another width.

    Reference: REARM, 2025, arXiv:2508.13745.

    Departs from the authors' code: the modalities are cut off from the gradient before W and not
    after it, so that W learns.
    """

    def __init__(self, dim: int = 64, modalities: int = 2, rank: int = 3) -> None:
        super().__init__()
        if min(dim, modalities, rank) < 1:
            raise ConfigError(
                f"SharedKnowledge: dim {dim}, modalities {modalities}, rank {rank}; expected "
                "numbers of 1 or more."
            )
        self.dim, self.modalities, self.rank = dim, modalities, rank
        self.user, self.item = (_Transform(dim, modalities, rank) for _ in range(2))

    def build(self, data: GraphData) -> None:
        """Needs nothing of the data."""

    def forward(self, users: Tensor, items: Tensor) -> Sides:
        """Passes every vector through its own transform."""
        return self._one(self.user, users), self.alone(items)

    def alone(self, items: Tensor) -> Tensor:
        """The same for any item, as none depends on another one."""
        return self._one(self.item, items)

    def _one(self, transform: nn.Module, x: Tensor) -> Tensor:
        width = (1 + self.modalities) * self.dim
        if x.shape[1] != width:
            raise ConfigError(
                f"SharedKnowledge: vectors have width {x.shape[1]}; expected an id and "
                f"{self.modalities} modalities of width {self.dim}, {width} in all. Set dim and "
                "modalities, and content of the items to concat."
            )
        made: Tensor = transform(x)
        return made


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
        p = self.first(h).unflatten(1, (self.dim, self.rank)).softmax(dim=1)
        q = self.second(h).unflatten(1, (self.rank, self.dim)).softmax(dim=1)
        shared = torch.einsum("nd,ndk,nke->ne", e, p, q)
        parts = [*content.split(self.dim, dim=1), shared]
        return torch.cat([act(m) + e for act, m in zip(self.acts, parts, strict=True)], dim=1)
