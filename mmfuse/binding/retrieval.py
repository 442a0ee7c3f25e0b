"""Retrieval: pseudo pairs as OmniBind makes them, each item with its nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mmfuse.binding.banks import Banks
from mmfuse.binding.drawn import Drawn
from mmfuse.binding.nearest import Backend, neighbours
from mmfuse.binding.pairs import Pairs, Tuples
from mmfuse.errors import ConfigError


class Retrieval(Pairs):
    """Each item with its nearest neighbours of every other modality.

    An item finds neighbours through the spaces that embed both modalities, by the mean cosine
    over those spaces that have both items. If some of them were trained on the source of its
    pool, only those count: a space is sure of what it never saw, and would outvote one that
    knows. A modality that shares no space with it is reached over the neighbours of another, in
    as few steps as can be. Duplicates are found once, and tuples that hold the same item of the
    modality that most spaces embed, text as a rule, mean the same.

    Args:
        k: neighbours an item; each time a tuple is drawn, one of them at random. Where a
            modality has few distinct items, such as the names of ten classes, the second nearest
            means something else: keep 1.
        through: spaces to search in, for pairs of modalities, such as
            ``{image: {text: [clip]}}``, whatever was trained on what; all that embed both by
            default.
        noise: expected length of a random vector that is added to each vector of length one in
            training.
        backend: ``exact``; or ``faiss-ivf``, for millions of items.

    Raises:
        ConfigError: ``k`` below 1, noise below 0, an unknown backend or space, or no two
            modalities that a space embeds.

    Reference: Wang et al., "OmniBind", 2024, arXiv:2407.11895, section 3.
    """

    def __init__(
        self,
        k: int = 1,
        through: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
        noise: float = 0.0,
        backend: Backend = "exact",
    ) -> None:
        if k < 1 or not noise >= 0 or backend not in ("exact", "faiss-ivf"):
            raise ConfigError(
                f"Retrieval: k {k}, noise {noise}, backend {backend!r}; expected k of 1 or more, "
                "noise of 0 or more, and exact or faiss-ivf."
            )
        self.k, self.noise, self.backend = k, noise, backend
        self.through = {a: dict(others) for a, others in (through or {}).items()}

    def spaces(self, banks: Banks, a: str, b: str) -> list[str]:
        """The spaces in which items of two modalities can be compared."""
        chosen = self.through.get(a, {}).get(b) or self.through.get(b, {}).get(a)
        both = [s for s in banks.of[a].vectors if s in banks.of[b].vectors]
        if wrong := set(chosen or ()) - set(both):
            raise ConfigError(
                f"Retrieval: through names {sorted(wrong)} for {a!r} and {b!r}, which "
                f"{', '.join(both) or 'no space'} embed both."
            )
        return list(chosen) if chosen else both

    def spaces_by_pool(self, banks: Banks, a: str, b: str) -> dict[tuple[str, ...], list[int]]:
        """The spaces in which items of ``a`` look for those of ``b``, and the pools that do."""
        can = self.spaces(banks, a, b)
        is_chosen = b in self.through.get(a, {}) or a in self.through.get(b, {})
        found: dict[tuple[str, ...], list[int]] = {}
        for i, pool in enumerate(banks.pools.values()):
            if pool.modality == a:
                own = [] if is_chosen else [s for s in can if s in pool.trained]
                found.setdefault(tuple(own or can), []).append(i)
        return found

    def find(self, banks: Banks, held_out: bool = False) -> dict[str, Tensor]:
        """For each modality ``(T, k)`` rows of its bank, -1 for none."""
        if unknown := set(self.through) - set(banks.modalities):
            raise ConfigError(f"Retrieval: through names {sorted(unknown)}, which no pool has.")
        near = _Near(self, banks, banks.rows(held_out))
        parts = [near.of_anchors(m) for m in banks.modalities]
        found = {m: torch.cat([part[m] for part in parts]) for m in banks.modalities}
        paired = torch.stack([rows[:, 0] >= 0 for rows in found.values()]).sum(dim=0) > 1
        if not paired.any():
            raise ConfigError(
                f"No {'held-out ' if held_out else ''}item finds a neighbour of another modality: "
                "no space embeds items of two. Pool items of two modalities in one space."
            )
        return {m: rows[paired] for m, rows in found.items()}

    def tuples(self, banks: Banks, found: Mapping[str, Tensor]) -> Tuples:
        """Tuples of the banks' own items."""
        return _Retrieved(banks, found, self.noise)


class _Near:
    """The nearest items of every other modality to some items of all, each pair searched once."""

    def __init__(self, how: Retrieval, banks: Banks, usable: Mapping[str, Tensor]) -> None:
        self.how, self.banks, self.usable = how, banks, usable
        self._known: dict[tuple[str, str], Tensor] = {}

    def of_anchors(self, anchor: str) -> dict[str, Tensor]:
        """For each modality the neighbours of its usable items ``(n, k)``, over as few others."""
        rows, k = self.usable[anchor], self.how.k
        found = {anchor: rows.unsqueeze(1).expand(-1, k)}
        frontier = [anchor]
        while frontier:
            reached: list[str] = []
            for b in self.banks.modalities:
                steps = [a for a in frontier if self.how.spaces(self.banks, a, b)]
                if b in found or not steps:
                    continue
                best = torch.full((len(rows), k), -1)
                for a in steps:  # one step serves; another fills what it leaves open
                    is_open = (best[:, 0] < 0) & (found[a][:, 0] >= 0)
                    best[is_open] = self._table(a, b)[found[a][is_open, 0]]
                found[b] = best
                reached.append(b)
            frontier = reached
        nobody = torch.full((len(rows), k), -1)
        return {m: found.get(m, nobody) for m in self.banks.modalities}

    def _table(self, a: str, b: str) -> Tensor:
        """For every row of a bank its neighbours in another."""
        if (a, b) not in self._known:
            forth, back = (self.how.spaces_by_pool(self.banks, *way) for way in ((a, b), (b, a)))
            if len(forth) == 1 and forth.keys() == back.keys():
                self._search_both(a, b, next(iter(forth)))
            else:
                self._search(a, b, forth)
        return self._known[a, b]

    def _search_both(self, a: str, b: str, spaces: Sequence[str]) -> None:
        one, other = self.banks.of[a], self.banks.of[b]
        mine, theirs = self._distinct(a), self._distinct(b)
        forth, back = neighbours(one, mine, other, theirs, spaces, self.how.k, self.how.backend)
        self._known[a, b] = self._spread(a, mine, forth)
        self._known[b, a] = self._spread(b, theirs, back)

    def _search(self, a: str, b: str, pools: Mapping[tuple[str, ...], Sequence[int]]) -> None:
        one, other = self.banks.of[a], self.banks.of[b]
        mine, theirs = self._distinct(a), self._distinct(b)
        near = torch.full((len(mine), self.how.k), -1)
        for spaces, own in pools.items():
            asks = torch.isin(one.pool[mine], torch.tensor(own))
            near[asks], _ = neighbours(
                one, mine[asks], other, theirs, spaces, self.how.k, self.how.backend, False
            )
        self._known[a, b] = self._spread(a, mine, near)

    def _distinct(self, modality: str) -> Tensor:
        """The first usable row of each item."""
        rows = self.usable[modality]
        first = np.unique(self.banks.of[modality].item[rows].numpy(), return_index=True)[1]
        return rows[torch.from_numpy(first)]

    def _spread(self, modality: str, rows: Tensor, near: Tensor) -> Tensor:
        """What was found for each item, for all its rows."""
        item = self.banks.of[modality].item
        table = torch.full((len(item), near.shape[1]), -1)
        table[item[rows]] = near
        return table[item]


class _Retrieved(Tuples):
    def __init__(self, banks: Banks, rows: Mapping[str, Tensor], noise: float) -> None:
        self.banks, self.rows, self.noise = banks, dict(rows), noise
        # What most spaces embed, as a rule text, joins the others: tuples that hold the same
        # one say the same.
        self.bridge = max(banks.modalities, key=lambda m: len(banks.of[m].vectors))

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def draw(self, index: Tensor, generator: torch.Generator) -> Drawn:
        """One of each item's neighbours, at random."""
        chosen = {m: _one_of(rows[index], generator) for m, rows in self.rows.items()}
        drawn = self.banks.drawn(chosen, self._meaning(chosen, index))
        return drawn.noisy(self.noise, generator)

    def _meaning(self, rows: Mapping[str, Tensor], index: Tensor) -> Tensor:
        joining = rows[self.bridge]
        item = self.banks.of[self.bridge].item[joining.clamp(min=0)]
        return torch.where(joining >= 0, item, -1 - index)


def _one_of(rows: Tensor, generator: torch.Generator) -> Tensor:
    """One of the neighbours (B, k) of each item; there are fewer where later ones are -1."""
    if rows.shape[1] == 1:
        return rows[:, 0]
    count = (rows >= 0).sum(dim=1).clamp(min=1)
    place = (torch.rand(len(rows), generator=generator) * count).long()
    return rows.gather(1, place.unsqueeze(1)).squeeze(1)
