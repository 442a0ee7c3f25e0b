"""Transfer: attacks made on one aligned model, tried on others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from mmfuse.batch import Batch, RawInput
from mmfuse.errors import ConfigError
from mmfuse.model import Towers
from mmfuse.retrieval.ranks import TIE
from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.set_guided import SetGuidedAttack
from mmfuse.robustness.attacks.strike import added, attackable
from mmfuse.robustness.attacks.surface import PartsAlone, in_raw_units, input_part
from mmfuse.robustness.attacks.threat import Threat
from mmfuse.unit import unit

#: What may move inputs: the attack, or noise of the whole budget, its control.
ATTACK, NOISE = "attack", "noise"
#: A modality that searches, and one that is searched.
Direction = tuple[str, str]


@dataclass(frozen=True)
class Try:
    """What one model found of rows that were moved against another.

    Args:
        source: the model that was attacked.
        target: the model that is asked.
        moved: the modalities that were moved.
        by: ``attack`` or ``noise``.
        direction: who searches what.
        asks: ``(N,)`` bool, the queries that have an item of their group to find.
        right: ``(N,)`` bool, the queries that found an item of their group before.
        after: ``(N,)`` bool, those that find one now.
    """

    source: str
    target: str
    moved: str
    by: str
    direction: Direction
    asks: Tensor
    right: Tensor
    after: Tensor


def transfer_table(
    models: Mapping[str, Towers],
    batch: Batch,
    attack: SetGuidedAttack,
    query: str,
    item: str,
    group: Tensor | None = None,
    at: int = 1,
) -> pd.DataFrame:
    """How often an attack made on each model makes each model lose what it had found.

    Among rows whose query found an item of its group within the first ``at``, the share that finds
    none once inputs are moved, those of queries and of items: each modality of the attack alone,
    and all of them. An item that is no nearer than others is not found.

    Args:
        models: by name; all read the same inputs.
        batch: queries and items, on the models' device.
        attack: what is done on each source.
        query: the modality that searches.
        item: the modality that is searched.
        group: ``(B,)`` which rows belong together; None makes each row a group of its own.
        at: how many items are looked at.

    Returns:
        one line for each ``source``, ``target``, ``moved`` and ``by`` (``attack``, or ``noise`` of
        the whole budget, the control), with the ``queries`` that were right before and the share
        ``success`` of them that is wrong after; NaN where none was right.

    Raises:
        ConfigError: no model, or an input that cannot be moved.
        UnknownModalityError: a modality that a model lacks.
    """
    if not models:
        raise ConfigError("A transfer table needs a model to attack; found none.")
    rows = {name: [batch] for name in models}
    lines = []
    for t in tries(models, rows, attack, [(query, item)], group, at):
        count = int(t.right.sum())
        lost = float((t.right & ~t.after).sum()) / count if count else float("nan")
        lines.append((t.source, t.target, t.moved, t.by, count, lost))
    columns = ["source", "target", "moved", "by", "queries", "success"]
    return pd.DataFrame(lines, columns=columns)


def tries(
    models: Mapping[str, Towers],
    rows: Mapping[str, Sequence[Batch]],
    attack: SetGuidedAttack,
    directions: Sequence[Direction],
    group: Tensor | None = None,
    at: int = 1,
    sources: Sequence[str] | None = None,
) -> Iterator[Try]:
    """Moves the rows on each model, and asks every model.

    Args:
        models: by name.
        rows: the same rows in batches for each model, as it reads them; what is moved is read
            alike by all.
        attack: what is done on each source, a batch at a time.
        directions: which searches are tried.
        group: ``(N,)`` which rows belong together; an attack sees partners in its batch alone.
        at: how many items are looked at.
        sources: the models to attack; None for all.
    """
    device = {n: next(m.parameters()).device for n, m in models.items()}
    rows = {n: [b.to(device[n]) for b in batches] for n, batches in rows.items()}
    total = sum(map(len, next(iter(rows.values()))))
    group = torch.arange(total) if group is None else group.cpu()
    present = {n: _present(batches) for n, batches in rows.items()}
    clean = {
        n: vectors_of(models[n], batches, list(models[n].modalities)) for n, batches in rows.items()
    }
    right = {(n, d): finds(clean[n], present[n], d, group, at) for n in models for d in directions}
    for source in models if sources is None else sources:
        model, mine = models[source], rows[source]
        for names, by in _ways(attack):
            some = replace(attack, eps={m: attack.eps[m] for m in names})
            parts = group.split([len(b) for b in mine])
            moved = [
                _noisy(model, b, some)
                if by == NOISE
                else some.search(model, b, g.to(device[source]))
                for b, g in zip(mine, parts, strict=True)
            ]
            for target, theirs in rows.items():
                given = [_with(b, m, names) for b, m in zip(theirs, moved, strict=True)]
                vectors = clean[target] | vectors_of(models[target], given, names)
                for d in directions:
                    after = finds(vectors, present[target], d, group, at)
                    asks = askers(present[target], d, group)
                    was = right[target, d]
                    yield Try(source, target, " + ".join(names), by, d, asks, was, after)


def _ways(attack: SetGuidedAttack) -> list[tuple[list[str], str]]:
    """Each modality alone and all together, by the attack and by noise."""
    sets = [[m] for m in attack.eps] + ([list(attack.eps)] if len(attack.eps) > 1 else [])
    return [(names, by) for by in (ATTACK, NOISE) for names in sets]


def _with(batch: Batch, moved: Batch, names: Sequence[str]) -> Batch:
    """A model's own rows with inputs that were moved on another."""
    device = batch.present.device
    inputs = {m: moved.inputs[m].to(device) for m in names if m in moved.inputs}
    return replace(batch, inputs={**batch.inputs, **inputs})


def _noisy(model: Towers, batch: Batch, attack: SetGuidedAttack) -> Batch:
    """Random moves of the attack's whole budget."""
    moved: dict[str, RawInput] = dict(batch.inputs)
    for m, eps in attack.eps.items():
        if m not in batch.inputs or not len(batch.present_rows[m]):
            continue
        valid = {m: attack.valid[m]} if m in attack.valid else {}
        threat = Threat((m,), attack.norm, valid=valid)
        with attackable(model), torch.no_grad():
            part = input_part(model, m, batch, model.present(batch), threat)
        full = part.values.new_full((len(batch),), eps)
        ball = Ball(PartsAlone({m: part}, batch.index), threat, full)
        moves = ball.random(attack.seed, "sga control", on_sphere=True)[m]
        moved[m] = added(batch.inputs[m], in_raw_units(model, m, moves))
    return replace(batch, inputs=moved)


def _present(batches: Sequence[Batch]) -> dict[str, Tensor]:
    """For each modality ``(N,)`` bool, who has it."""
    names = batches[0].modalities
    whole = torch.cat([b.present.cpu() for b in batches])
    return dict(zip(names, whole.unbind(dim=1), strict=True))


def vectors_of(
    model: Towers, batches: Sequence[Batch], modalities: Sequence[str]
) -> dict[str, Tensor]:
    """For each modality that some row has ``(N, D)`` vectors of unit length, zero where absent."""
    parts: dict[str, list[Tensor | None]] = {m: [] for m in modalities}
    with attackable(model), torch.no_grad():
        for batch in batches:
            inputs = {m: x for m, x in batch.inputs.items() if m in parts}
            tokens = model.encode(replace(batch, inputs=inputs))
            for m, found in parts.items():
                found.append(unit(tokens[m].pooled()).float().cpu() if m in tokens else None)
    joined = {}
    for m, found in parts.items():
        like = next((v for v in found if v is not None), None)
        if like is not None:
            blank = like.new_zeros(1, like.shape[1])
            joined[m] = torch.cat(
                [
                    blank.expand(len(b), -1) if v is None else v
                    for b, v in zip(batches, found, strict=True)
                ]
            )
    return joined


def finds(
    vectors: Mapping[str, Tensor],
    present: Mapping[str, Tensor],
    direction: Direction,
    group: Tensor,
    at: int,
) -> Tensor:
    """``(N,)`` whether each row's query finds an item of its group among the first ``at``.

    Items of other groups that are as near as the nearest of its own count as nearer.
    """
    asks, query, item = askers(present, direction, group), *direction
    if not asks.any():
        return asks
    scores = vectors[query] @ vectors[item].T
    own, offers = group.unsqueeze(0) == group.unsqueeze(1), present[item]
    best = scores.masked_fill(~(own & offers), -torch.inf).amax(dim=1, keepdim=True)
    nearer = ((scores >= best - TIE) & ~own & offers).sum(dim=1)
    return asks & (nearer < at)


def askers(present: Mapping[str, Tensor], direction: Direction, group: Tensor) -> Tensor:
    """``(N,)`` whether a row has a query, and its group an item."""
    query, item = direction
    nobody = torch.zeros_like(group, dtype=torch.bool)
    asks, offers = present.get(query, nobody), present.get(item, nobody)
    return asks & torch.isin(group, group[offers])
