"""Threat: which modalities an attack may move, how far is measured, and within what range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mmfuse.errors import ConfigError, UnknownModalityError

Norm = Literal["l2", "linf"]
Budget = Literal["joint", "each"]
On = Literal["inputs", "tokens"]


@dataclass(frozen=True)
class Threat:
    """What an attack is allowed to do; how much of it is the budget's to say.

    With d_m what is added to modality m and u_m its unit, a budget eps allows::

        joint:  || (d_1 / u_1, d_2 / u_2, ...) || <= eps      one ball over all modalities
        each:   || d_m / u_m || <= eps                        a ball for each of them

    which are the same for l_inf. Of a row only the modalities that it has are moved, and the
    absent ones spend nothing.

    Args:
        modalities: which ones are moved.
        norm: ``l2`` or ``linf``.
        budget: one ball over all modalities, or one for each.
        on: ``inputs``, as the encoder reads them: in training deviations where the data are
            standardised, else in units of the raw input; or ``tokens``, the encoder's result.
        units: for each modality the size that counts as 1; 1 where not named. Set them where
            modalities are of unlike scale, as one ball over them has no other meaning.
        valid: for each modality the lowest and highest value of its raw input, to which moved
            inputs are clipped. What is outside from the start may stay where it is.

    Raises:
        ConfigError: no modality, an unknown word, a unit that is not above zero, an empty range,
            or a range for tokens.

    Example:
        >>> Threat(("image", "audio"), units={"audio": 0.5}).name
        'image + audio'
    """

    modalities: tuple[str, ...]
    norm: Norm = "l2"
    budget: Budget = "joint"
    on: On = "inputs"
    units: Mapping[str, float] = field(default_factory=dict)
    valid: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.modalities:
            raise ConfigError("An attack needs a modality to move; found none.")
        for what, found, known in (
            ("norm", self.norm, ("l2", "linf")),
            ("budget", self.budget, ("joint", "each")),
            ("on", self.on, ("inputs", "tokens")),
        ):
            if found not in known:
                raise ConfigError(f"{what} is {found!r}; expected {' or '.join(map(repr, known))}.")
        for m, unit in self.units.items():
            if not 0 < unit < math.inf:
                raise ConfigError(
                    f"Modality {m!r}: the unit of attacks is {unit}; expected a number above 0. "
                    "To leave a modality alone do not name it among those that are moved."
                )
        for m, (low, high) in self.valid.items():
            if not low < high:
                raise ConfigError(f"Modality {m!r}: the valid range {low} to {high} is empty.")
        if self.valid and self.on == "tokens":
            raise ConfigError("Tokens have no valid range. Leave `valid` out, or attack inputs.")

    @property
    def name(self) -> str:
        """The moved modalities in one word."""
        return " + ".join(self.modalities)

    def check(self, modalities: Sequence[str]) -> None:
        """Refuses a model that lacks what is to be moved.

        Raises:
            UnknownModalityError: naming it.
        """
        named = {*self.modalities, *self.units, *self.valid}
        if unknown := named - set(modalities):
            raise UnknownModalityError(
                f"The attack names {sorted(unknown)}; the model knows {list(modalities)}."
            )


def checked_budgets(budgets: Sequence[float]) -> tuple[float, ...]:
    """Budgets in ascending order, each once.

    Raises:
        ConfigError: none, or one that is negative or not finite.
    """
    found = tuple(sorted({float(b) for b in budgets}))
    if not found or not all(0 <= b < math.inf for b in found):
        raise ConfigError(f"Budgets are {list(budgets)}; expected finite numbers of 0 or more.")
    return found
