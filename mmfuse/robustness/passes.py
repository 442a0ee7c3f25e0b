"""One pass over the data: each batch is encoded once and fused under every condition."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import DataError
from mmfuse.missing import RowFacts
from mmfuse.model import FusionModel, Output, Towers
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.conditions import Condition
from mmfuse.tokens import Tokens

Facts = RowFacts | Callable[[Batch], RowFacts]

#: Inside ``evaluating(model)`` a model is in eval mode; after, each part is in the mode it was in.
evaluating = Towers.evaluating

# What one call of the fusion may be given: rows (its own tensors may be far wider than its
# input) and numbers (64 MB of float32).
_ROWS_AT_ONCE = 1024
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True)
class Predictions:
    """What a model said of every row under every condition, rows in ascending order.

    Args:
        rows: ``(N,)`` row numbers.
        present: ``(N, M)`` bool, who was there, in the model's order.
        kept: ``(C, N, M)`` bool, who was left under each condition.
        labels: each target, ``(N,)`` or ``(N, outputs)``.
        values: each target's probabilities or values, ``(C, N, K)`` float32.
        steps: the same after each step on the data as they are, ``(S, N, K)``; empty for a
            fusion without steps.
        step_names: the modality of each step, "" for the initial state.
    """

    rows: NDArray[np.int64]
    present: NDArray[np.bool_]
    kept: NDArray[np.bool_]
    labels: dict[str, NDArray[np.float64]]
    values: dict[str, NDArray[np.float32]]
    steps: dict[str, NDArray[np.float32]]
    step_names: tuple[str, ...]


def predict_under(
    model: FusionModel,
    batches: Iterable[Batch],
    facts: Facts,
    conditions: Sequence[Condition],
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Predictions of ``model`` under each condition, at the cost of encoding once.

    A (row, modalities present) pair that several conditions share is fused once.

    Args:
        model: evaluated in eval mode; its mode is restored.
        batches: the rows, with targets.
        facts: of all rows, found by ``Batch.index``; or a function from a batch.
        conditions: what to take away.
        progress: called after each batch with the number of batches done.

    Raises:
        DataError: no rows, no targets, or rows that ``facts`` does not know.
    """
    with torch.no_grad(), evaluating(model):
        parts = [
            _one_batch(model, batch, known, conditions)
            for batch, known in with_facts(model, batches, facts, progress)
        ]
    return _joined(parts)


def with_facts(
    model: FusionModel,
    batches: Iterable[Batch],
    facts: Facts,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[Batch, RowFacts]]:
    """Each batch on the model's device, with the facts of its rows; arguments as above.

    Facts have the model's columns, and the presence that the batch really has.

    Raises:
        DataError: no batch, or rows that ``facts`` does not know.
    """
    device, done = next(model.parameters()).device, 0
    find = facts if callable(facts) else _finder(facts)
    for done, batch in enumerate(batches, start=1):
        yield batch.to(device), _aligned(find(batch), model, batch)
        if progress is not None:
            progress(done)
    if not done:
        raise DataError("There are no rows to evaluate: the loader gave no batch.")


def _finder(facts: RowFacts) -> Callable[[Batch], RowFacts]:
    index, place = facts.index.cpu().sort()

    def find(batch: Batch) -> RowFacts:
        wanted = batch.index.cpu()
        slot = torch.searchsorted(index, wanted).clamp(max=max(len(index) - 1, 0))
        if not len(index) or not (index[slot] == wanted).all():
            raise DataError(
                "The facts do not cover the rows of the batches. Give the facts of the split "
                "that the loader reads."
            )
        return facts.rows(place[slot].to(facts.index.device))

    return find


def _aligned(facts: RowFacts, model: FusionModel, batch: Batch) -> RowFacts:
    """Facts with the model's columns, and the presence that the batch really has."""
    column = {m: i for i, m in enumerate(facts.modalities)}
    middle = facts.value.new_full((len(batch),), 0.5)
    value = [facts.value[:, column[m]] if m in column else middle for m in model.modalities]
    return RowFacts(
        model.modalities,
        facts.index.cpu(),
        model.present(batch).cpu(),
        facts.group.cpu(),
        torch.stack(value, dim=1).cpu(),
        None if facts.cluster is None else facts.cluster.cpu(),
    )


def _one_batch(
    model: FusionModel, batch: Batch, facts: RowFacts, conditions: Sequence[Condition]
) -> Predictions:
    targets = targets_of(batch, model)
    tokens = model.encode(batch)
    kept = kept_under(conditions, facts)
    pairs, inverse = distinct(kept)
    rows, present = pairs % len(batch), kept.flatten(0, 1)[pairs]
    logits = fuse_rows(
        model, tokens, rows.to(batch.present.device), present.to(batch.present.device)
    )
    spread = inverse.view(len(conditions), len(batch))
    specs = model.spec.targets
    steps, names = _steps(model, tokens, model.present(batch))
    return Predictions(
        facts.index.numpy(),
        facts.present.numpy(),
        kept.numpy(),
        {t: y.cpu().double().numpy() for t, y in targets.items()},
        {t: _numpy(specs[t].predict(x))[spread.numpy()] for t, x in logits.items()},
        {t: _numpy(specs[t].predict(x)).swapaxes(0, 1) for t, x in steps.items()},
        names,
    )


def kept_under(conditions: Sequence[Condition], facts: RowFacts) -> Tensor:
    """``(C, B, M)`` bool, who of the present is left under each condition."""
    everything = torch.ones_like(facts.present)
    keep = [c.missing.keep(facts) if c.missing else everything for c in conditions]
    return facts.present & torch.stack(keep)


def distinct(kept: Tensor) -> tuple[Tensor, Tensor]:
    """Positions in the flattened (C, B) of one of each (row, pattern), and the way back."""
    conditions, size, count = kept.shape
    every = torch.arange(conditions * size)
    if count > 40:  # a row and a pattern no longer fit the 63 bits of one number
        return every, every
    code = (kept * 2 ** torch.arange(count)).sum(dim=2)
    code = (code * size + torch.arange(size)).flatten()
    found, inverse = torch.unique(code, return_inverse=True)
    first = torch.empty_like(found).scatter_(0, inverse, every)
    return first, inverse


def fuse_rows(
    model: FusionModel, tokens: Mapping[str, Tokens], rows: Tensor, present: Tensor
) -> dict[str, Tensor]:
    """Logits of each (row, presence) pair, in calls of bounded size."""
    parts = [o.logits for o in outputs_of(model, tokens, rows, present)]
    return {t: torch.cat([p[t] for p in parts]) for t in parts[0]}


def outputs_of(
    model: FusionModel, tokens: Mapping[str, Tokens], rows: Tensor, present: Tensor
) -> Iterator[Output]:
    """What the model says of each (row, presence) pair, a bounded number of them at a time."""
    width = sum(t.values[0].numel() for t in tokens.values())
    chunk = max(min(_NUMBERS_AT_ONCE // max(width, 1), _ROWS_AT_ONCE), 1)
    for some, there in zip(rows.split(chunk), present.split(chunk), strict=True):
        chosen = {m: t.rows(some) for m, t in tokens.items()}
        yield model.read(model.fuse(chosen, there), there)


def _steps(
    model: FusionModel, tokens: Mapping[str, Tokens], present: Tensor
) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    if not model.fusion.is_sequential:
        return {}, ()
    output = model.read(model.fuse(tokens, present), present)
    turns = output.fused.step_modality
    if turns is None or turns.dim() > 1:
        return {}, ()
    return output.step_logits, tuple("" if i < 0 else model.modalities[i] for i in turns.tolist())


def _numpy(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()


def _joined(parts: Sequence[Predictions]) -> Predictions:
    """All batches in one, each row once, in ascending order."""
    # A distributed sampler may repeat rows to even out the processes.
    rows = np.unique(np.concatenate([p.rows for p in parts]))
    places = [np.searchsorted(rows, p.rows) for p in parts]

    def join(arrays: list[NDArray], axis: int = 0) -> NDArray:  # type: ignore[type-arg]
        shape = list(arrays[0].shape)
        shape[axis] = len(rows)
        whole = np.empty(shape, arrays[0].dtype)
        # Written in place, as half a gigabyte of predictions is soon reached.
        for array, slots in zip(arrays, places, strict=True):
            np.moveaxis(whole, axis, 0)[slots] = np.moveaxis(array, axis, 0)
        return whole

    def each(field: str, axis: int) -> dict[str, NDArray]:  # type: ignore[type-arg]
        return {
            t: join([getattr(p, field)[t] for p in parts], axis) for t in getattr(parts[0], field)
        }

    return Predictions(
        rows,
        join([p.present for p in parts]),
        join([p.kept for p in parts], axis=1),
        each("labels", 0),
        each("values", 1),
        each("steps", 1),
        parts[0].step_names,
    )
