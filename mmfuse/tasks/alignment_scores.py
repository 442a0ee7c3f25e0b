"""AlignmentScores: the vectors of a whole split, of all processes, and how they find each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.model import Towers
from mmfuse.retrieval.directions import Direction, every_direction, mean_scores
from mmfuse.retrieval.labels import Labels
from mmfuse.retrieval.scores import retrieval_scores
from mmfuse.tokens import Tokens


class AlignmentScores:
    """Gathers vectors by batches, and scores them once all are there.

    Args:
        model: whose encoders.
        labels: the classes to score by.
    """

    def __init__(self, model: Towers, labels: Labels) -> None:
        self.model, self.labels = model, labels
        self._parts: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, tokens: Mapping[str, Tokens], loss: Tensor | None = None) -> None:
        """Takes a batch's vectors, to the CPU."""
        part = {"row": batch.index}
        for m, found in tokens.items():
            part[f"vector.{m}"] = found.pooled().detach().float()
            part[f"present.{m}"] = found.mask.any(dim=1)
        classes = self.labels.in_batch(self.model.spec, batch)
        if classes is not None:
            part["class"] = classes
        if loss is not None:
            part["loss"] = loss.detach().float().expand(len(batch))
        self._parts.append({name: value.cpu() for name, value in part.items()})

    def compute(self) -> dict[str, float]:
        """All scores, the same in every process, and an empty start for the next pass."""
        whole = self.whole()
        if whole is None:
            return {}
        directions = self.directions(whole)
        scores = mean_scores(directions)
        for direction in directions:
            scores |= {f"{direction.name}/{n}": v for n, v in direction.named().items()}
        scores |= {f"zero_shot/{m}": v for m, v in self.zero_shot(whole).items()}
        if "loss" in whole:
            scores["loss"] = whole["loss"].mean().item()
        return scores

    def whole(self) -> dict[str, Tensor] | None:
        """Every row once, in order of row numbers, of all processes; None if there is none."""
        mine, self._parts = self._parts, []
        parts = [part for process in _gathered(mine) for part in process]
        if not parts:
            return None
        every = torch.cat([part["row"] for part in parts])
        names = dict.fromkeys(name for part in parts for name in part)
        first = _first_of_each(every)
        return {name: _joined(name, parts)[first] for name in names}

    def directions(self, whole: Mapping[str, Tensor], ks: Any = (1, 5, 10)) -> list[Direction]:
        """Every direction of what ``whole`` gives."""
        modalities = [m for m in self.model.modalities if f"vector.{m}" in whole]
        return every_direction(
            {m: whole[f"vector.{m}"] for m in modalities},
            {m: whole[f"present.{m}"] for m in modalities},
            whole.get("class"),
            ks,
        )

    def zero_shot(self, whole: Mapping[str, Tensor]) -> dict[str, float]:
        """For each modality but the text the share of rows whose class's name is nearest."""
        named = self.labels.vectors(self.model) if "class" in whole else None
        if named is None:
            return {}
        text, space = named
        found = {}
        for m in self.model.modalities:
            if m == text or f"vector.{m}" not in whole:
                continue
            counts = whole[f"present.{m}"] & (whole["class"] >= 0)
            if counts.any():
                scores = retrieval_scores(
                    whole[f"vector.{m}"][counts], space.cpu(), truth=whole["class"][counts], ks=(1,)
                )
                found[m] = scores.recall[1]
        return found


def _gathered(mine: list[dict[str, Tensor]]) -> list[list[dict[str, Tensor]]]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return [mine]
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, mine)
    return every


def _first_of_each(rows: Tensor) -> Tensor:
    """The place of each row number's first occurrence, rows ascending."""
    ordered, order = rows.sort(stable=True)
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return order[is_first]


def _joined(name: str, parts: list[dict[str, Tensor]]) -> Tensor:
    """One column; a batch in which no row has a modality says nothing of it."""
    like = next(part[name] for part in parts if name in part)
    return torch.cat(
        [
            part[name] if name in part else like.new_zeros(len(part["row"]), *like.shape[1:])
            for part in parts
        ]
    )
