"""Shapley values and interactions from the scores of subsets: exact, or from sampled orders."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Subset = frozenset[str]
#: One number a subset, or an array of them (a score of each row), all of one shape.
Value = float | NDArray[np.float64]
Terms = Iterator[NDArray[np.float64]]


def is_exact(value: Mapping[Subset, Value], modalities: Sequence[str]) -> bool:
    """Whether every subset has a score."""
    return len(value) >= 2 ** len(modalities)


def shapley_terms(
    value: Mapping[Subset, Value], modalities: Sequence[str], orders: Sequence[Sequence[str]] = ()
) -> Terms:
    """Arrays ``(M, ...)`` whose mean is the Shapley value of each modality.

    With v(S) the score when the modalities S are present::

        phi_m = sum_{S without m}  |S|! (M - |S| - 1)! / M!  (v(S + m) - v(S))

    One array where every subset has a score. Otherwise one for each of ``orders`` whose every
    prefix has one, with what each modality brings when it joins: an estimate.

    Args:
        value: scores of subsets, the empty one included.
        modalities: their names.
        orders: sampled permutations of them.

    Reference: Shapley, "A value for n-person games", 1953; the estimate: Castro, Gomez and
    Tejada, "Polynomial calculation of the Shapley value based on sampling", 2009.

    Example:
        >>> value = {frozenset(s): float(len(s)) for s in ("", "a", "b", "ab")}
        >>> next(shapley_terms(value, "ab"))
        array([1., 1.])
    """
    if is_exact(value, modalities):
        yield np.stack([_joining(value, {m}, frozenset(modalities)) for m in modalities])
        return
    place = {m: i for i, m in enumerate(modalities)}
    for order in orders:
        chain = [frozenset(order[:k]) for k in range(len(order) + 1)]
        if all(subset in value for subset in chain):
            gains = {m: value[chain[k + 1]] - value[chain[k]] for k, m in enumerate(order)}
            yield np.stack([np.asarray(gains[m]) for m in sorted(gains, key=place.__getitem__)])


def interaction_terms(
    value: Mapping[Subset, Value], modalities: Sequence[str], orders: Sequence[Sequence[str]] = ()
) -> Terms:
    """Arrays ``(P, ...)``, a line for each of ``pairs``, whose mean is their interaction::

        I_ij = sum_{S without i, j}  |S|! (M - |S| - 2)! / (M - 1)!
               (v(S + i + j) - v(S + i) - v(S + j) + v(S))

    Above zero where the two bring more together than apart (synergy), below where each makes up
    for the other (redundancy). One array where every subset has a score. Otherwise one for each
    of ``orders``, in which only pairs that join one after the other have a term, the others NaN;
    it takes the scores of ``prefixes`` and ``detours``.

    Args:
        value: scores of subsets, the empty one included.
        modalities: their names.
        orders: sampled permutations of them.

    Reference: Grabisch and Roubens, "An axiomatic approach to the concept of interaction among
    players in cooperative games", 1999.

    Example:
        >>> value = {frozenset(s): float(s == "ab") for s in ("", "a", "b", "ab")}
        >>> next(interaction_terms(value, "ab"))
        array([1.])
    """
    found = pairs(modalities)
    if is_exact(value, modalities) and found:
        yield np.stack([_joining(value, set(pair), frozenset(modalities)) for pair in found])
        return
    place = {frozenset(pair): i for i, pair in enumerate(found)}
    nothing = np.full(np.shape(value[frozenset()]), np.nan)
    for order in orders:
        term = [nothing] * len(found)
        for k in range(len(order) - 1):
            here, pair = frozenset(order[:k]), frozenset(order[k : k + 2])
            if all(here | set(part) in value for part in _parts(pair)):
                term[place[pair]] = _change(value, here, pair)
        if term:
            yield np.stack(term)


def pairs(modalities: Sequence[str]) -> list[tuple[str, str]]:
    """Every two modalities, in the usual order."""
    return list(itertools.combinations(modalities, 2))


def prefixes(order: Sequence[str], modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """The non-empty subsets that joining in ``order`` passes, each in the usual order."""
    return [tuple(m for m in modalities if m in order[:size]) for size in range(1, len(order) + 1)]


def detours(order: Sequence[str], modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Its prefixes with the last but one left out, which interactions need besides."""
    return [
        tuple(m for m in modalities if m in order[: size - 2] or m == order[size - 1])
        for size in range(2, len(order) + 1)
    ]


def _joining(value: Mapping[Subset, Value], group: set[str], full: Subset) -> NDArray[np.float64]:
    """What the group brings beyond its own parts, averaged over who is there before."""
    rest = len(full) - len(group)
    return np.asarray(
        sum(
            # 1 / ((rest + 1) C(rest, |S|)) is the weight without large factorials.
            _change(value, subset, frozenset(group)) / ((rest + 1) * math.comb(rest, len(subset)))
            for subset in value
            if not subset & group
        )
    )


def _change(value: Mapping[Subset, Value], here: Subset, group: Subset) -> NDArray[np.float64]:
    """``sum over T within the group of (-1)^(|group| - |T|) v(here + T)``."""
    return np.asarray(
        sum((-1) ** (len(group) - len(part)) * value[here | set(part)] for part in _parts(group))
    )


def _parts(group: Subset) -> list[tuple[str, ...]]:
    return [t for size in range(len(group) + 1) for t in itertools.combinations(group, size)]
