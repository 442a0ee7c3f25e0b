"""Conditions: who is absent in each evaluation of a robustness study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mmfuse.errors import ConfigError
from mmfuse.missing import MAR, MCAR, FixedPattern, LabelMNAR, Missingness, ValueMNAR, subsets
from mmfuse.robustness.importance import sampled_orders
from mmfuse.robustness.shapley import prefixes
from mmfuse.spec import DataSpec

MCAR_RATES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


@dataclass(frozen=True)
class Condition:
    """One missingness condition.

    Args:
        name: what tables call it; unique in a study.
        family: the group it belongs to, see ``RobustnessResult``.
        rate: the nominal rate, NaN where there is none.
        missing: what takes modalities away; None leaves the data as they are.
    """

    name: str
    family: str
    rate: float
    missing: Missingness | None

    @property
    def kept(self) -> tuple[str, ...] | None:
        """The modalities that a fixed pattern keeps; None for other conditions."""
        return tuple(self.missing.present) if isinstance(self.missing, FixedPattern) else None


def complete() -> Condition:
    """The data as they are, gaps of their own included."""
    return Condition("complete", "complete", 0.0, None)


def label_groups(spec: DataSpec) -> list[int]:
    """The groups that lose modalities under MNAR: the upper half of the first target's classes.

    Group 1 where the label has two groups: binary, regression, several labels at once. None
    where there is no target.
    """
    first = next(iter(spec.targets.values()), None)
    if first is None:
        return []
    if first.kind != "multiclass":
        return [1]
    return list(range(math.ceil(len(first.classes) / 2), len(first.classes)))


def standard_conditions(
    modalities: Sequence[str],
    groups: list[int] | None = None,
    seed: int = 0,
    mcar_rates: Sequence[float] = MCAR_RATES,
    mar_rates: Sequence[float] = (0.3, 0.6),
    drivers: Sequence[str] | None = None,
    label_rate: float = 0.8,
    value_rate: float = 0.5,
    limit: int = 8,
    keep_one: bool = True,
) -> list[Condition]:
    """The conditions of a full study.

    The data as they are; every subset of modalities and none at all; missing completely at
    random at each rate; at random, driven by one modality; not at random, driven by the
    label or by the lost value, each with its flip. Where simulators keep one modality in every
    row, what they really took is less than their rate: see ``realised_rate``.

    Args:
        modalities: their names.
        groups: label groups that lose modalities, see ``label_groups``; None is group 1, and an
            empty list leaves out what the label drives.
        seed: of every simulator, and of the sample of subsets.
        mcar_rates: rates missing completely at random.
        mar_rates: rates missing at random.
        drivers: modalities that decide there, each in its own conditions; None for all.
        label_rate: rate in ``groups`` for MNAR on the label.
        value_rate: mean rate for MNAR on the value.
        limit: above this many modalities not all subsets are taken, but the single ones,
            those that leave one out, the full one, and what a Shapley estimate needs.
        keep_one: whether a row never loses its last modality to a simulator.
    """
    found = [complete()]
    for kept in _subsets(modalities, limit, seed):
        found.append(
            Condition(f"only {' + '.join(kept)}", "subset", math.nan, FixedPattern(list(kept)))
        )
    found.append(Condition("nothing", "empty", 1.0, FixedPattern([])))
    if len(modalities) == 1 and keep_one:
        return found  # a simulator that keeps one modality would take nothing
    found += [Condition(f"mcar {r:g}", "mcar", r, MCAR(r, seed, keep_one)) for r in mcar_rates]
    if len(modalities) > 1:  # the driver itself stays
        found += [
            Condition(f"mar {r:g} by {d}", "mar", r, MAR(r, d, seed=seed, keep_one=keep_one))
            for d in (modalities if drivers is None else drivers)
            for r in mar_rates
        ]
    if groups is None or groups:
        label = LabelMNAR(label_rate, groups=groups, seed=seed, keep_one=keep_one)
        found += [
            Condition(f"mnar {label_rate:g}", "mnar", label_rate, label),
            Condition(f"mnar {label_rate:g} flipped", "mnar_flipped", label_rate, label.flipped()),
        ]
    value = ValueMNAR(value_rate, seed=seed, keep_one=keep_one)
    found += [
        Condition(f"value mnar {value_rate:g}", "value_mnar", value_rate, value),
        Condition(
            f"value mnar {value_rate:g} flipped",
            "value_mnar_flipped",
            value_rate,
            value.flipped(),
        ),
    ]
    return found


def _subsets(modalities: Sequence[str], limit: int, seed: int) -> list[tuple[str, ...]]:
    chosen = set(subsets(modalities, limit, sample=0))
    if len(modalities) > limit:
        for order in sampled_orders(modalities, seed=seed):
            chosen.update(prefixes(order, modalities))
    place = {m: i for i, m in enumerate(modalities)}
    return sorted(chosen, key=lambda s: (len(s), [place[m] for m in s]))


def check_names(conditions: Sequence[Condition]) -> None:
    """Refuses a study in which two conditions share a name, or that has none.

    ``row`` is no name of a condition but of the column of rows in the table of masks.

    Raises:
        ConfigError: naming what is wrong.
    """
    names = [c.name for c in conditions]
    if not names or len(set(names)) < len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise ConfigError(
            f"A study needs conditions with names of their own; found {twice or 'none'}."
        )
    if "row" in names:
        raise ConfigError('A condition is called "row", as a column of the masks is; rename it.')
