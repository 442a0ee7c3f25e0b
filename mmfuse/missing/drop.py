"""What the simulators share: checks of their arguments, and the draw itself."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mmfuse.errors import ConfigError, UnknownModalityError
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


def drop(
    facts: RowFacts, probability: Tensor, seed: int, keep_one: bool, *stream: int | str
) -> Tensor:
    """Takes each modality away with its probability.

    Each modality of each row has one uniform number, the same whatever the probability.
    So what a lower rate takes away a higher one takes away too, and conditions that differ
    in the rate alone can be compared row by row.

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
    draws = [uniform(seed, facts.index, m, *stream) for m in facts.modalities]
    number = torch.stack(draws, dim=1)
    probability = probability.to(number)
    keep = number >= probability
    if not keep_one:
        return keep
    # Given that a modality is lost, its number over its probability is uniform on [0, 1):
    # the largest of these ratios picks one at random, and picks the same at every rate.
    ratio = (number / probability).masked_fill(~facts.present, -1)
    last = torch.nn.functional.one_hot(ratio.argmax(dim=1), len(facts.modalities)).bool()
    lost = ~(keep & facts.present).any(dim=1, keepdim=True)
    return keep | (last & lost)
