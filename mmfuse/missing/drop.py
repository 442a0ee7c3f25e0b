"""What the simulators share: checks of their arguments, and the draw itself."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.missing.base import RowFacts
from mmfuse.missing.hashing import uniform


def checked_rate(rate: float, name: str = "rate") -> float:
    """``rate`` itself, if it is a probability.

    Raises:
        ConfigError: it is not between 0 and 1.
    """
    if not 0 <= rate <= 1:
        raise ConfigError(f"{name} is {rate!r}; expected a probability between 0 and 1.")
    return float(rate)


def columns(names: Iterable[str] | None, facts: RowFacts, who: str) -> list[int]:
    """Positions of the named modalities; of all for None.

    Raises:
        UnknownModalityError: a name that the rows do not have.
    """
    names = facts.modalities if names is None else tuple(names)
    if unknown := sorted(set(names) - set(facts.modalities)):
        raise UnknownModalityError(
            f"{who} names {unknown}; the data has {list(facts.modalities)}. "
            "Correct the name in the simulator's arguments."
        )
    return [facts.modalities.index(name) for name in names]


def require_some(at_risk: Tensor, who: str) -> None:
    """Refuses rows of which none could lose anything, ``(B, M)`` bool.

    Raises:
        DataError: nothing is True.
    """
    if not at_risk.any():
        raise DataError(
            f"{who} cannot be calibrated: none of the {len(at_risk)} rows has a modality that it "
            "takes away. Give the facts of rows that do, such as the training rows."
        )


def draws(seed: int, of: Tensor, modalities: Iterable[str], *stream: int | str) -> Tensor:
    """One uniform number for each modality of each row or cluster.

    Args:
        seed: the simulator's seed.
        of: numbers of rows or clusters.
        modalities: their names.
        stream: words that set this draw apart from others of the same seed.

    Shape:
        of (B,) -> (B, M)
    """
    return torch.stack([uniform(seed, of, m, *stream) for m in modalities], dim=1)


def thin(
    facts: RowFacts,
    number: Tensor,
    probability: Tensor,
    keep_one: bool,
    tie: Tensor | None = None,
) -> Tensor:
    """Takes each modality away whose number lies below its probability.

    What a lower probability takes away a higher one takes away too, so that conditions that
    differ in the rate alone can be compared row by row.

    Args:
        facts: the rows.
        number: each modality's uniform number, the same whatever the probability.
        probability: of each modality of each row.
        keep_one: give a row that lost everything one of its modalities back.
        tie: for modalities that share their number, numbers that choose between them.

    Shape:
        number, probability (B, M) in [0, 1] -> (B, M) bool
    """
    probability = probability.to(number)
    keep = number >= probability
    if not keep_one:
        return keep
    # Given that a modality is lost, its number over its probability is uniform on [0, 1):
    # the largest of these ratios picks one at random, and picks the same at every rate.
    ratio = (number / probability).masked_fill(~facts.present, -1)
    if tie is not None:
        is_first = ratio == ratio.amax(dim=1, keepdim=True)
        ratio = tie.masked_fill(~is_first, -1)
    last = torch.nn.functional.one_hot(ratio.argmax(dim=1), len(facts.modalities)).bool()
    lost = ~(keep & facts.present).any(dim=1, keepdim=True)
    return keep | (last & lost)


def drop(
    facts: RowFacts, probability: Tensor, seed: int, keep_one: bool, *stream: int | str
) -> Tensor:
    """Takes each modality away with its probability, independently of the others.

    Args:
        facts: the rows.
        probability: of each modality of each row.
        seed: the simulator's seed.
        keep_one: give a row that lost everything one of its modalities back, each with the
            same chance.
        stream: words that set this draw apart from others of the same seed.

    Shape:
        probability (B, M) in [0, 1] -> (B, M) bool
    """
    number = draws(seed, facts.index, facts.modalities, *stream)
    return thin(facts, number, probability, keep_one)
