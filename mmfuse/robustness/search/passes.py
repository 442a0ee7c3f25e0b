"""One pass over the data: each row's items, and what it asks with under every condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.missing import RowFacts
from mmfuse.model import FusionModel
from mmfuse.retrieval.labels import Labels
from mmfuse.robustness.conditions import Condition
from mmfuse.robustness.passes import (
    Facts,
    distinct,
    evaluating,
    kept_under,
    outputs_of,
    with_facts,
)


@dataclass(frozen=True)
class Asked:
    """What every row asks with, and what it asks for; rows in ascending order.

    A row asks for its item of modality m with the fused vector of what is left of its other
    modalities; with a vector of zeros where nothing is.

    Args:
        modalities: M of them, in the model's order.
        rows: ``(N,)`` row numbers.
        present: ``(N, M)`` bool, who was there.
        kept: ``(C, N, M)`` bool, who was left under each condition.
        items: each modality's vectors ``(N, D)``, zero where a row lacks it.
        queries: ``(Q, D)``, of one for each row and pattern of presence.
        which: ``(M, C, N)`` the query with which a row asks for its item of each modality.
        classes: ``(N,)`` long, -1 where unknown; None where the data have no classes.
    """

    modalities: tuple[str, ...]
    rows: NDArray[np.int64]
    present: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    items: dict[str, Tensor]
    queries: Tensor
    which: Tensor
    classes: Tensor | None


@dataclass(frozen=True)
class _Part:
    """What one batch gave; fields as in ``Asked``."""

    facts: RowFacts
    kept: Tensor
    items: dict[str, Tensor]
    queries: Tensor
    which: Tensor
    classes: Tensor | None


def ask_under(
    model: FusionModel,
    batches: Iterable[Batch],
    facts: Facts,
    conditions: Sequence[Condition],
    progress: Callable[[int], None] | None = None,
) -> Asked:
    """The queries of every row under each condition, at the cost of encoding once.

    Args:
        model: of one space; evaluated in eval mode; its mode is restored.
        batches: the rows.
        facts: of all rows, found by ``Batch.index``; or a function from a batch.
        conditions: what to take away.
        progress: called after each batch with the number of batches done.

    Raises:
        DataError: no rows, or rows that ``facts`` does not know.
    """
    with torch.no_grad(), evaluating(model):
        parts = [
            _one_batch(model, batch, known, conditions)
            for batch, known in with_facts(model, batches, facts, progress)
        ]
    return _joined(model.modalities, parts)


def _one_batch(
    model: FusionModel, batch: Batch, facts: RowFacts, conditions: Sequence[Condition]
) -> _Part:
    tokens, size, device = model.encode(batch), len(batch), batch.present.device
    width = model.fusion.out_dim
    items = {m: torch.zeros(size, width) for m in model.modalities}
    items |= {m: found.pooled().float().cpu() for m, found in tokens.items()}
    kept = kept_under(conditions, facts)
    others = ~torch.eye(len(model.modalities), dtype=torch.bool)
    asking = (kept.unsqueeze(0) & others[:, None, None]).flatten(0, 1)
    pairs, inverse = distinct(asking)
    rows, present = pairs % size, asking.flatten(0, 1)[pairs]
    outputs = outputs_of(model, tokens, rows.to(device), present.to(device))
    found = torch.cat([output.fused.vector.float().cpu() for output in outputs])
    # What a fusion makes of nothing is one vector for all rows, which tells none from another.
    queries = found.masked_fill(~present.any(dim=1, keepdim=True), 0)
    which = inverse.view(len(others), len(conditions), size)
    classes = Labels().in_batch(model.spec, batch)
    return _Part(facts, kept, items, queries, which, None if classes is None else classes.cpu())


def _joined(modalities: tuple[str, ...], parts: Sequence[_Part]) -> Asked:
    """All batches in one, each row once."""
    every = torch.cat([p.facts.index for p in parts]).numpy()
    rows, first = np.unique(every, return_index=True)  # a sampler may have repeated some
    starts = np.cumsum([0, *(len(p.queries) for p in parts)])
    which = torch.cat([p.which + int(s) for p, s in zip(parts, starts, strict=False)], dim=2)
    classes = [p.classes for p in parts]
    return Asked(
        modalities,
        rows,
        torch.cat([p.facts.present for p in parts]).numpy()[first],
        torch.cat([p.kept for p in parts], dim=1).numpy()[:, first],
        {m: torch.cat([p.items[m] for p in parts])[first] for m in modalities},
        torch.cat([p.queries for p in parts]),
        which[:, :, first],
        torch.cat([c for c in classes if c is not None])[first] if None not in classes else None,
    )
