"""Attacks: accuracy as single modalities, and all of them, are moved against the model."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel
from mmfuse.robustness.attacks import PGD, AttackCurves, AutoPGD, attack_curves
from mmfuse.robustness.attacks.movable import movable, typical_lengths
from mmfuse.robustness.attacks.strike import class_target
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
        on = self.on or ("tokens" if any(movable(model, batches).values()) else "inputs")
        setting.tell(f"attacks on {on}", len(batches) * len(self.norms))
        parts, units = [], {}
        for norm in self.norms:
            units[norm] = typical_lengths(model, batches, Threat(model.modalities, norm, on=on))
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
