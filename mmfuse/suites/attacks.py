"""Attacks: accuracy as single modalities, and all of them, are moved against the model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.attacks import PGD, AttackCurves, AutoPGD, attack_curves
from mmfuse.robustness.attacks.strike import attackable, class_target
from mmfuse.robustness.attacks.surface import Part, surface_of
from mmfuse.robustness.attacks.threat import Norm, On, Threat, checked_budgets
from mmfuse.suites.base import Setting, Suite


class Attacks(Suite):
    """Moves each modality, and all together, a little way against the model.

    Projected gradient descent and AutoPGD climb cross-entropy and the margin; noise of the same
    length stands beside them. A budget is a share of the length of a typical row, so that 0.1
    means as much for a picture as for a table. With u_m the median length of modality m among the
    attacked rows, as the encoder reads it, and D_m how many numbers it has, a budget eps allows::

        l2:    || (d_1 / u_1, d_2 / u_2, ...) ||_2 <= eps
        linf:  |d_m| <= eps u_m / sqrt(D_m)  for every number of every m

    Args:
        budgets: shares; 0 is added.
        norms: ``l2``, ``linf``, or both.
        rows: at most so many rows are attacked, drawn by the seed.
        steps: of either attack.
        on: ``inputs``, or ``tokens`` for what encoders make of them; None for inputs where all
            can be moved, else tokens, as for texts.
        target: which of the model's targets; None where one alone has classes.

    Raises:
        ConfigError: no budget, no norm, no row, a budget that is negative, or an unknown norm or
            ``on``.
    """

    name = "attacks"

    def __init__(
        self,
        budgets: Sequence[float] = (0.05, 0.1, 0.2, 0.4),
        norms: Sequence[Norm] = ("l2", "linf"),
        rows: int = 500,
        steps: int = 20,
        on: On | None = None,
        target: str | None = None,
    ) -> None:
        if rows < 1 or not norms:
            raise ConfigError(
                f"Attacks: found {rows} rows and norms {list(norms)}; expected one each at least."
            )
        for norm in norms:
            Threat(("",), norm=norm, on=on or "inputs")  # which refuses what it does not know
        self.budgets, self.norms = checked_budgets(budgets), tuple(dict.fromkeys(norms))
        self.rows, self.on, self.target = rows, on, target
        self.attacks = (PGD(steps=steps), AutoPGD(steps=steps))

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses a model without classes.

        Raises:
            ConfigError: naming its targets.
        """
        class_target(model, self.target)

    def run(self, setting: Setting) -> AttackCurves:
        """Accuracy by budget, moved modalities, norm, attack and loss."""
        model, batches = setting.model.to(setting.device), setting.sample(self.rows)
        target = class_target(model, self.target)
        on = self.on or _movable(model, batches, target)
        setting.tell(f"attacks on {on}", len(batches) * len(self.norms))
        parts, units = [], {}
        for norm in self.norms:
            units[norm] = _typical(model, batches, target, on, norm)
            parts.append(
                attack_curves(
                    model,
                    batches,
                    {norm: self.budgets},
                    self.attacks,
                    on=on,
                    units=units[norm],
                    target=target,
                    device=setting.device,
                    bootstrap=setting.bootstrap,
                    seed=setting.seed,
                    progress=lambda done: setting.tell(None, None),
                )
            )
        tables, rows = (
            pd.concat([getattr(part, name) for part in parts], ignore_index=True)
            for name in ("table", "rows")
        )
        of_split = len(setting.data.rows(setting.split))
        return AttackCurves(
            tables, rows, {**parts[0].meta, "units": units, "rows_of_split": of_split}
        )


def _movable(model: FusionModel, batches: Sequence[Batch], target: str) -> On:
    """Inputs where an attack can follow the gradient to all of them, else tokens."""
    try:
        for batch in batches:
            with attackable(model):
                _probe(model, batch.to(next(model.parameters()).device), target)
    except ConfigError:
        return "tokens"
    return "inputs"


def _probe(model: FusionModel, batch: Batch, target: str) -> None:
    surface = surface_of(model, batch.rows(torch.arange(1)), Threat(model.modalities), target)
    moves = {m: torch.zeros_like(p.values).requires_grad_() for m, p in surface.parts.items()}
    surface.scores(moves)


def _typical(
    model: FusionModel, batches: Sequence[Batch], target: str, on: On, norm: Norm
) -> dict[str, float]:
    """The unit of each modality: the median length of a row, per number for l-infinity."""
    lengths: dict[str, list[Tensor]] = {}
    device = next(model.parameters()).device
    with attackable(model):
        for batch in batches:
            threat = Threat(model.modalities, on=on)
            for m, part in surface_of(model, batch.to(device), threat, target).parts.items():
                lengths.setdefault(m, []).append(_lengths(part, norm))
    found = {m: float(torch.cat(parts).median()) for m, parts in lengths.items()}
    # A modality of zeros has no length to take a share of; its own numbers are the measure.
    return {m: u if 0 < u < math.inf else 1.0 for m, u in found.items()}


def _lengths(part: Part, norm: Norm) -> Tensor:
    """The length of each row that has something to move, over the root of its size for linf."""
    free = part.free.flatten(1)
    some = free.any(dim=1)
    values = torch.where(free, part.values.flatten(1), 0)[some].float()
    length = values.norm(dim=1)
    return length / free[some].sum(dim=1).sqrt() if norm == "linf" else length
