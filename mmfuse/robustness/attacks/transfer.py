"""Transfer: attacks made on one aligned model, tried on others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pandas as pd
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import Towers
from mmfuse.robustness.attacks.ball import Ball
from mmfuse.robustness.attacks.set_guided import SetGuidedAttack
from mmfuse.robustness.attacks.strike import added, attackable
from mmfuse.robustness.attacks.surface import PartsAlone, in_raw_units, input_part
from mmfuse.robustness.attacks.threat import Threat
from mmfuse.unit import unit


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
    none once inputs are moved: each modality of the attack alone, all of them, and all of them by
    random noise of the whole budget, the control.

    Args:
        models: by name; all read the same inputs.
        batch: queries and items, on the models' device.
        attack: what is done on each source.
        query: the modality that searches.
        item: the modality that is searched.
        group: ``(B,)`` which rows belong together; None makes each row a group of its own.
        at: how many items are looked at.

    Returns:
        one line for each ``source``, ``target`` and ``moved``, with the ``queries`` that were right
        before and the share ``success`` of them that is wrong after; NaN where none was right.

    Raises:
        ConfigError: no model, or an input that cannot be moved.
        UnknownModalityError: a modality that a model lacks.
    """
    if not models:
        raise ConfigError("A transfer table needs a model to attack; found none.")
    if group is None:
        group = torch.arange(len(batch), device=batch.present.device)
    before = {n: _finds(m, batch, query, item, group, at) for n, m in models.items()}
    lines = []
    for source, model in models.items():
        for moved, rows in _moved(model, batch, attack, group).items():
            for target, right in before.items():
                after = _finds(models[target], rows, query, item, group, at)
                count = int(right.sum())
                lost = float((right & ~after).sum()) / count if count else float("nan")
                lines.append((source, target, moved, count, lost))
    return pd.DataFrame(lines, columns=["source", "target", "moved", "queries", "success"])


def _moved(model: Towers, batch: Batch, attack: SetGuidedAttack, group: Tensor) -> dict[str, Batch]:
    """The rows after each way to move them."""
    alone = {m: replace(attack, eps={m: e}) for m, e in attack.eps.items()}
    found = {m: a.search(model, batch, group) for m, a in alone.items()}
    if len(alone) > 1:
        found[" + ".join(alone)] = attack.search(model, batch, group)
    return {**found, "noise": _noisy(model, batch, attack)}


def _noisy(model: Towers, batch: Batch, attack: SetGuidedAttack) -> Batch:
    """Random moves of the attack's whole budget."""
    moved = dict(batch.inputs)
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


def _finds(model: Towers, batch: Batch, query: str, item: str, group: Tensor, at: int) -> Tensor:
    """``(B,)`` whether each row's query finds an item of its group among the first ``at``."""
    column = {m: batch.present[:, i] for i, m in enumerate(batch.modalities)}
    nobody = torch.zeros_like(group, dtype=torch.bool)
    asks, offers = column.get(query, nobody), column.get(item, nobody)
    if not (asks.any() and offers.any()):
        return nobody
    with attackable(model), torch.no_grad():
        tokens = model.encode(batch)
    scores = unit(tokens[query].pooled()) @ unit(tokens[item].pooled()).T
    scores = scores.masked_fill(~offers, -torch.inf)
    first = scores.topk(min(at, int(offers.sum())), dim=1).indices
    return (group[first] == group.unsqueeze(1)).any(dim=1) & asks
