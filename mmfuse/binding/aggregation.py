"""Aggregation: pseudo pairs as C-MCR makes them, a soft neighbour in place of the nearest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmfuse.binding.banks import Bank, Banks
from mmfuse.binding.drawn import Drawn
from mmfuse.binding.pairs import Pairs, Tuples
from mmfuse.errors import ConfigError
from mmfuse.unit import unit

#: Numbers of similarities that are held at a time.
_HELD = 2**24


class Aggregation(Pairs):
    """Items that several spaces embed, each with a soft neighbour of every modality it lacks.

    For an item x that is in more than one space, in each of its spaces k and for each other
    modality of that space, with the bank V of all its vectors::

        v_k = unit(sum_j softmax_j(x_k . V_j / temperature) V_j)

    So all vectors of a tuple stem from one item, and two spaces say of it the same.

    Args:
        temperature: of the softmax; the smaller, the nearer to retrieval.
        noise: expected length of a random vector that is added to each vector of length one in
            training. C-MCR's variance of 0.004 is a length of 1.43 at width 512.

    Raises:
        ConfigError: a temperature of 0 or less, noise below 0, or no item in two spaces.

    Reference: Wang et al., "Connecting Multi-modal Contrastive Representations", NeurIPS 2023,
        arXiv:2305.14381, section 3.

    Departs from the paper: any number of spaces and of modalities that they share.
    """

    def __init__(self, temperature: float = 0.01, noise: float = 0.5) -> None:
        if not temperature > 0 or not noise >= 0:
            raise ConfigError(
                f"Aggregation: temperature {temperature}, noise {noise}; expected a temperature "
                "above 0 and noise of 0 or more."
            )
        self.temperature, self.noise = temperature, noise

    def find(self, banks: Banks, held_out: bool = False) -> dict[str, Tensor]:
        """The shared items, ``<modality>``, and what they gather, ``<from> <to> <space>``."""
        usable = banks.rows(held_out)
        found: dict[str, Tensor] = {}
        for m, rows in usable.items():
            bank = banks.of[m]
            several = torch.stack([*bank.present.values()]).sum(dim=0) > 1
            if not len(rows := rows[several[rows]]):
                continue
            found[m] = rows
            for s, x in bank.vectors.items():
                for other in banks.modalities_of(s):
                    if other != m:
                        target = banks.of[other]
                        there = usable[other][target.present[s][usable[other]]]
                        found[f"{m} {other} {s}"] = self._gather(x[rows], target, there, s)
        if not found:
            raise ConfigError(
                f"No {'held-out ' if held_out else ''}item is in two spaces, so nothing joins "
                f"{', '.join(banks.spaces)}. Embed the same items, such as texts, in several."
            )
        return found

    def _gather(self, x: Tensor, target: Bank, there: Tensor, space: str) -> Tensor:
        values = target.vectors[space][there]
        if not len(there):
            return torch.zeros(len(x), values.shape[1])
        parts = [
            unit((some @ values.T / self.temperature).softmax(dim=1) @ values)
            for some in x.split(max(1, _HELD // len(there)))
        ]
        # What an item lacks in this space it cannot look for.
        return torch.cat(parts).masked_fill(~x.any(dim=1, keepdim=True), 0)

    def tuples(self, banks: Banks, found: Mapping[str, Tensor]) -> Tuples:
        """One tuple a shared item."""
        return _Gathered(banks, found, self.noise)


class _Gathered(Tuples):
    def __init__(self, banks: Banks, found: Mapping[str, Tensor], noise: float) -> None:
        self.banks, self.found, self.noise = banks, dict(found), noise
        self.anchors = {m: rows for m, rows in found.items() if m in banks.of}
        self.starts = torch.tensor([0, *(len(r) for r in self.anchors.values())]).cumsum(0)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def draw(self, index: Tensor, generator: torch.Generator) -> Drawn:
        """The items and what they gathered, with noise."""
        size, of = len(index), self.banks.of
        vectors = {
            m: {s: torch.zeros(size, x.shape[1]) for s, x in bank.vectors.items()}
            for m, bank in of.items()
        }
        present = {
            m: {s: torch.zeros(size, dtype=torch.bool) for s in bank.vectors}
            for m, bank in of.items()
        }
        rows = {m: torch.full((size,), -1) for m in of}
        meaning = torch.zeros(size, dtype=torch.long)
        for i, (m, anchors) in enumerate(self.anchors.items()):
            mine = ((index >= self.starts[i]) & (index < self.starts[i + 1])).nonzero().squeeze(1)
            places = index[mine] - self.starts[i]
            at = anchors[places]
            rows[m][mine] = at
            meaning[mine] = of[m].item[at] * len(self.anchors) + i
            for s, x in of[m].vectors.items():
                vectors[m][s][mine], present[m][s][mine] = x[at], of[m].present[s][at]
                for other in self.banks.modalities_of(s):
                    if other != m:
                        gathered = self.found[f"{m} {other} {s}"][places]
                        vectors[other][s][mine] = gathered
                        present[other][s][mine] = gathered.any(dim=1)
        return Drawn(vectors, present, rows, meaning).noisy(self.noise, generator)
