"""Banks: the pools of a modality joined, unit length, duplicates known; and who shares what."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmfuse.binding.drawn import Drawn
from mmfuse.binding.pools import Pool
from mmfuse.errors import ConfigError, DataError

#: Rows that are digested at a time.
_ROWS = 512


@dataclass(frozen=True)
class Bank:
    """All items of one modality.

    Args:
        vectors: for each space ``(N, width)``, of unit length, zero where absent.
        present: for each space ``(N,)`` bool.
        pool: ``(N,)`` long, the place of each item's pool in the order they were given.
        held_out: ``(N,)`` bool.
    """

    vectors: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    pool: Tensor
    held_out: Tensor

    def __len__(self) -> int:
        return len(self.pool)

    @cached_property
    def item(self) -> Tensor:
        """``(N,)`` long: the first row that has the same vectors in every space."""
        digests = sum(_digests(x, i) for i, x in enumerate(self.vectors.values()))
        _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
        return torch.from_numpy(first[inverse].astype(np.int64))

    def anywhere(self) -> Tensor:
        """``(N,)`` bool: present in some space."""
        return torch.stack([*self.present.values()]).any(dim=0)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)  # one pool's need no copy


def _digests(vectors: Tensor, salt: int) -> Any:
    """A number of 64 bits for each row, the same for the same vectors."""
    draw = np.random.default_rng(salt).integers(0, 2**64, vectors.shape[1], dtype=np.uint64)
    parts = []
    for some in vectors.split(_ROWS):
        words = (some + 0.0).numpy().view(np.uint32) + draw  # -0 is 0
        # The finaliser of splitmix64 (Steele, Lea and Flood, 2014), then a sum over the width.
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        parts.append((words ^ (words >> np.uint64(31))).sum(axis=1, dtype=np.uint64))
    return np.concatenate(parts)


class Banks:
    """The banks of all modalities, and which spaces have which modalities.

    Args:
        pools: by name.

    Raises:
        DataError: a space whose vectors have two widths.
        ConfigError: no pool, or a name that torch cannot give to a module.
    """

    def __init__(self, pools: Mapping[str, Pool]) -> None:
        if not pools:
            raise ConfigError("There are no pools to bind. Name one or more.")
        self.pools = dict(pools)
        self.widths: dict[str, int] = {}
        for name, pool in pools.items():
            for space, x in pool.vectors.items():
                width = self.widths.setdefault(space, x.shape[1])
                if width != x.shape[1]:
                    raise DataError(
                        f"Space {space!r} has vectors of width {width}, in pool {name!r} of "
                        f"{x.shape[1]}. One space has one width; check which columns it names."
                    )
        self.spaces = tuple(self.widths)
        for name in (*self.spaces, *(pool.modality for pool in pools.values())):
            if not name or "." in name or hasattr(nn.ModuleDict, name):
                raise ConfigError(
                    f"{name!r} cannot name a space or a modality, as torch names no module so. "
                    "Choose another, without dots."
                )
        modalities = dict.fromkeys(pool.modality for pool in pools.values())
        self.of = {m: self._bank(m) for m in modalities}
        self.modalities = tuple(self.of)

    def _bank(self, modality: str) -> Bank:
        members = [(i, p) for i, p in enumerate(self.pools.values()) if p.modality == modality]
        spaces = [s for s in self.spaces if any(s in p.spaces for _, p in members)]
        vectors, present = {}, {}
        for s in spaces:
            width = self.widths[s]
            vectors[s] = _joined(
                [p.vectors[s] if s in p.spaces else torch.zeros(len(p), width) for _, p in members]
            )
            present[s] = _joined(
                [p.present[s] if s in p.spaces else torch.zeros(len(p)).bool() for _, p in members]
            )
        pool = torch.cat([torch.full((len(p),), i) for i, p in members])
        return Bank(vectors, present, pool, torch.cat([p.held_out for _, p in members]))

    def start_of(self, name: str) -> int:
        """The row of its modality's bank at which a pool begins."""
        before = itertools.takewhile(lambda other: other != name, self.pools)
        kind = self.pools[name].modality
        return sum(len(self.pools[o]) for o in before if self.pools[o].modality == kind)

    def drawn(self, rows: Mapping[str, Tensor], meaning: Tensor) -> Drawn:
        """Tuples of the banks' own items.

        Args:
            rows: for each modality ``(B,)``, -1 for none.
            meaning: ``(B,)`` long; those of one number mean the same.
        """
        vectors: dict[str, dict[str, Tensor]] = {}
        present: dict[str, dict[str, Tensor]] = {}
        for m, chosen in rows.items():
            bank, there, at = self.of[m], chosen >= 0, chosen.clamp(min=0)
            present[m] = {s: here[at] & there for s, here in bank.present.items()}
            vectors[m] = {
                s: x[at].masked_fill(~present[m][s].unsqueeze(1), 0)
                for s, x in bank.vectors.items()
            }
        return Drawn(vectors, present, rows, meaning)

    def modalities_of(self, space: str) -> tuple[str, ...]:
        """The modalities that a space embeds."""
        return tuple(m for m in self.modalities if space in self.of[m].vectors)

    def rows(self, held_out: bool) -> dict[str, Tensor]:
        """For each modality the rows that are held out, or are not, and are somewhere."""
        return {
            m: ((bank.held_out == held_out) & bank.anywhere()).nonzero().squeeze(1)
            for m, bank in self.of.items()
        }

    def require_space(self, name: str) -> None:
        """Refuses a name that is no space.

        Raises:
            ConfigError: naming those there are.
        """
        if name not in self.widths:
            raise ConfigError(
                f"There is no space {name!r}; the pools have {', '.join(self.spaces)}."
            )

    def require_connected(self, base: str) -> None:
        """Refuses spaces that no chain of shared modalities joins to the base.

        Raises:
            ConfigError: naming them.
        """
        self.require_space(base)
        reached, queue = {base}, deque([base])
        while queue:
            mine = set(self.modalities_of(queue.popleft()))
            near = [
                s for s in self.spaces if s not in reached and mine & set(self.modalities_of(s))
            ]
            reached.update(near)
            queue.extend(near)
        if apart := [s for s in self.spaces if s not in reached]:
            told = {s: list(self.modalities_of(s)) for s in (base, *apart)}
            raise ConfigError(
                f"Nothing joins {', '.join(apart)} to the base {base!r}: {told}. Two spaces are "
                "bound through items of a modality that both embed; embed some in both."
            )
