"""Attack curves: a model, rows, attacks and budgets -> accuracy by budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.attacks.auto_pgd import AutoPGD
from mmfuse.robustness.attacks.base import Attack
from mmfuse.robustness.attacks.curve_result import AttackCurves, Run, tabled
from mmfuse.robustness.attacks.losses import LOSSES
from mmfuse.robustness.attacks.one_step import Noise
from mmfuse.robustness.attacks.pgd import PGD
from mmfuse.robustness.attacks.strike import attackable, class_target, struck
from mmfuse.robustness.attacks.surface import surface_of
from mmfuse.robustness.attacks.threat import Budget, Norm, On, Threat, checked_budgets

Budgets = Sequence[float] | Mapping[Norm, Sequence[float]]
# What a run is known by: its threat's place, the attack's name, the loss.
_Key = tuple[int, str, str]


@dataclass(frozen=True)
class _Found:
    """What one batch gave: rows with labels alone."""

    row: Tensor
    label: Tensor
    wrong: Tensor
    present: Tensor
    fooled: dict[_Key, Tensor]


def attack_curves(
    model: FusionModel,
    batches: Iterable[Batch],
    budgets: Budgets,
    attacks: Sequence[Attack] = (PGD(), AutoPGD()),
    modalities: Sequence[Sequence[str]] | None = None,
    *,
    shared: Budget = "joint",
    on: On = "inputs",
    units: Mapping[str, float] | None = None,
    valid: Mapping[str, tuple[float, float]] | None = None,
    target: str | None = None,
    device: torch.device | str | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> AttackCurves:
    """Accuracy under attack for each set of modalities, norm, attack, loss and budget.

    Every attack runs on cross-entropy and on the margin, as each alone may flatter a model, and
    noise of the same size stands beside them. Rows that the model gets wrong by itself, and
    those alone, are lost at budget 0.

    Args:
        model: read in eval mode; its mode is restored.
        batches: the rows, with labels; those without are left out.
        budgets: how far, for l2; or a list for each norm. 0 is added.
        attacks: how to search; the loss that each names does not matter.
        modalities: the sets to move; None for each alone and all together.
        shared: one ball over a set (``joint``), or one of this size for each of it (``each``).
        on: ``inputs`` or ``tokens``; see ``Threat`` for the units that budgets are in.
        units: for each modality the size that counts as 1.
        valid: for each modality the lowest and highest value of its raw input.
        target: which of the model's targets; None where one alone has classes.
        device: where to compute; the model moves there. None leaves it where it is.
        bootstrap: resamples of rows behind each 95 % interval; 0 for no intervals.
        seed: of the bootstrap; attacks have their own.
        progress: called after each batch with the number of batches done.

    Raises:
        ConfigError: no attack, two of one name, no target with classes, an input that cannot be
            moved, or an encoder without a gradient.
        UnknownModalityError: a modality that the model lacks.
        DataError: no row with a label.
    """
    target = class_target(model, target)
    _check(attacks)
    by_norm = cast(
        Mapping[Norm, Sequence[float]], budgets if isinstance(budgets, Mapping) else {"l2": budgets}
    )
    reach = {norm: checked_budgets([0.0, *some]) for norm, some in by_norm.items()}
    sets = _sets(model.modalities) if modalities is None else [tuple(s) for s in modalities]
    threats = [
        Threat(s, norm, shared, on, _of(units, s), _of(valid, s)) for norm in reach for s in sets
    ]
    for threat in threats:
        threat.check(model.modalities)
    if device is not None:
        model.to(device)
    where = next(model.parameters()).device
    plan: list[tuple[Attack, str]] = [(Noise(), "none")]
    plan += [(a.climbing(loss), loss) for a in attacks for loss in LOSSES]
    found = []
    for done, batch in enumerate(batches, start=1):
        with attackable(model):
            found.append(_one_batch(model, batch.to(where), target, threats, reach, plan))
        if progress is not None:
            progress(done)
    if not sum(len(f.row) for f in found):
        raise DataError("There is no row with a label to attack. Give labelled rows.")
    runs = _runs(found, threats, reach, plan, model.modalities)
    table, worst = tabled(runs, bootstrap, seed)
    meta = {
        "modalities": list(model.modalities),
        "target": target,
        "on": on,
        "shared": shared,
        "units": dict(units or {}),
        "attacks": [repr(a) for a in attacks],
        "bootstrap": bootstrap,
        "seed": seed,
    }
    return AttackCurves(table, _row_table(found, worst, reach), meta)


def _check(attacks: Sequence[Attack]) -> None:
    names = [a.name for a in attacks]
    if not names or len(set(names)) < len(names) or "Noise" in names:
        raise ConfigError(
            f"Attack curves need attacks of different names, and draw noise themselves; found "
            f"{names}."
        )


def _sets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    each: list[tuple[str, ...]] = [(m,) for m in modalities]
    return each if len(each) == 1 else [*each, tuple(modalities)]


def _of(values: Mapping[str, Any] | None, modalities: Sequence[str]) -> dict[str, Any]:
    return {m: v for m, v in (values or {}).items() if m in modalities}


def _one_batch(
    model: FusionModel,
    batch: Batch,
    target: str,
    threats: Sequence[Threat],
    reach: Mapping[Norm, tuple[float, ...]],
    plan: Sequence[tuple[Attack, str]],
) -> _Found:
    label = targets_of(batch, model)[target]
    known = (label >= 0).nonzero().squeeze(1)
    batch, label = batch.rows(known), label[known]
    if not len(batch):
        nothing = batch.present.new_zeros(0)
        return _Found(batch.index.cpu(), label.cpu(), nothing, batch.present.cpu(), {})
    with torch.no_grad():
        logits = model(batch).logits[target]
    wrong = model.spec.targets[target].class_scores(logits).argmax(dim=1) != label
    right = (~wrong).nonzero().squeeze(1)
    fooled: dict[_Key, Tensor] = {}
    for place, threat in enumerate(threats):
        surface = surface_of(model, batch.rows(right), threat, target)
        budgets = reach[threat.norm][1:]
        for attack, loss in plan:
            lost = wrong.expand(len(budgets) + 1, -1).clone()
            if budgets and len(right) and surface.parts:
                struck_rows = struck(surface, label[right], attack, threat, budgets).fooled
                lost[1:, right] = struck_rows
            fooled[place, attack.name, loss] = lost.cpu()
    return _Found(batch.index.cpu(), label.cpu(), wrong.cpu(), model.present(batch).cpu(), fooled)


def _runs(
    found: Sequence[_Found],
    threats: Sequence[Threat],
    reach: Mapping[Norm, tuple[float, ...]],
    plan: Sequence[tuple[Attack, str]],
    modalities: Sequence[str],
) -> list[Run]:
    """All batches in one."""
    found = [f for f in found if len(f.row)]
    present = torch.cat([f.present for f in found])
    runs = []
    for place, threat in enumerate(threats):
        columns = [modalities.index(m) for m in threat.modalities]
        exposed = present[:, columns].any(dim=1).numpy()
        for attack, loss in plan:
            fooled = torch.cat([f.fooled[place, attack.name, loss] for f in found], dim=1)
            runs.append(
                Run(
                    threat.modalities,
                    threat.norm,
                    attack.name,
                    loss,
                    reach[threat.norm],
                    fooled.numpy(),
                    exposed,
                )
            )
    return runs


def _row_table(
    found: Sequence[_Found], worst: Mapping[Any, Any], reach: Mapping[Norm, tuple[float, ...]]
) -> pd.DataFrame:
    """The smallest budget at which each row fell."""
    row = torch.cat([f.row for f in found]).numpy()
    label = torch.cat([f.label for f in found]).numpy()
    parts = []
    for (attacked, norm), lost in worst.items():
        ends = np.array([*reach[norm], np.inf])
        first = np.where(lost.any(axis=0), lost.argmax(axis=0), len(lost))
        parts.append(
            pd.DataFrame(
                {
                    "row": row,
                    "label": label,
                    "attacked": " + ".join(attacked),
                    "norm": norm,
                    "broken_at": ends[first],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
