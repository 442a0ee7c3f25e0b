"""Complete conditions: the standard ones, and absence with a structure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from mmfuse.missing import (
    MAR,
    MCAR,
    BlockMCAR,
    Bursts,
    ClusterMCAR,
    OneLost,
    RowFacts,
    ValueMNAR,
    imbalanced_rates,
)
from mmfuse.robustness.conditions import Condition, standard_conditions


def complete_conditions(
    modalities: Sequence[str],
    facts: RowFacts | None = None,
    groups: list[int] | None = None,
    seed: int = 0,
    *,
    one_lost_rates: Sequence[float] = (0.5, 1.0),
    rest_rate: float = 0.5,
    mean_rate: float = 0.5,
    spread: float = 0.4,
    blocks: list[list[str]] | None = None,
    block_rate: float = 0.5,
    correlations: Sequence[float] = (0.5, 1.0),
    burst_rates: Sequence[float] = (0.3, 0.6),
    burst_length: float = 20.0,
    cluster_rates: Sequence[float] = (0.3, 0.6),
    keep_one: bool = True,
    **standard: Any,
) -> list[Condition]:
    """The conditions of a study of absence that leaves nothing out.

    Those of ``standard_conditions``, and by family:

    - ``mar``, besides: each modality lost by what all the others say together (three or more).
    - ``one_lost``: a share of the rows loses exactly one modality, any or always the same.
    - ``imbalanced_mcar``: unequal rates, each modality once the rarest; ``mcar`` at the mean
      rate is what to compare with.
    - ``block``: modalities lost together, at each correlation; ``mcar`` at the same rate is
      correlation 0.
    - ``bursts``: modalities fail in runs of rows.
    - ``cluster``: whole sites, users or speakers lose a modality, where the data names them.

    Where simulators keep one modality in every row, what they really took is less than their
    rate: see ``realised_rate``.

    Args:
        modalities: their names.
        facts: of training rows, by which MAR and MNAR on the value are calibrated; whether
            these rows have clusters decides about ``cluster``. None for uniform quantiles
            and no clusters.
        groups: label groups that lose modalities, see ``standard_conditions``.
        seed: of every simulator, and of the sample of subsets.
        one_lost_rates: shares of the rows that lose one modality, with equal weights and, at
            the first of them, each modality by itself.
        rest_rate: rate at which a modality is lost by what the others say.
        mean_rate: the mean of imbalanced rates.
        spread: how far their ends lie from it.
        blocks: see ``BlockMCAR``; None for one block of all.
        block_rate: rate of blocks.
        correlations: of the modalities of a block, each in a condition of its own.
        burst_rates: rates of bursts.
        burst_length: mean length of a burst in rows.
        cluster_rates: rates at which clusters lose a modality.
        keep_one: whether a row never loses its last modality to a simulator.
        standard: further arguments of ``standard_conditions``.

    Raises:
        ConfigError: a rate or length out of range.
        DataError: ``facts`` of rows that have nothing to lose.
    """
    found = standard_conditions(modalities, groups, seed, keep_one=keep_one, **standard)
    if len(modalities) > 1:
        found += _by_the_rest(modalities, rest_rate, seed, keep_one)
        for rate in one_lost_rates:
            any_one = OneLost(rate, seed=seed, keep_one=keep_one)
            found.append(Condition(f"one lost {rate:g}", "one_lost", rate, any_one))
        for m in modalities if one_lost_rates else ():
            rate = one_lost_rates[0]
            always = OneLost(rate, {m: 1.0}, seed, keep_one)
            found.append(Condition(f"{m} lost {rate:g}", "one_lost", rate, always))
        for m, rates in imbalanced_rates(modalities, mean_rate, spread).items():
            name = f"imbalanced {mean_rate:g}, most of {m}"
            missing = MCAR(rates, seed, keep_one)
            found.append(Condition(name, "imbalanced_mcar", mean_rate, missing))
        for c in correlations:
            together = BlockMCAR(block_rate, blocks, c, seed, keep_one)
            name = f"block {block_rate:g}, correlation {c:g}"
            found.append(Condition(name, "block", block_rate, together))
    if len(modalities) > 1 or not keep_one:
        for rate in burst_rates:
            bursts = Bursts(rate, burst_length, seed=seed, keep_one=keep_one)
            found.append(Condition(f"bursts {rate:g}", "bursts", rate, bursts))
        for rate in cluster_rates if facts is not None and facts.cluster is not None else ():
            clusters = ClusterMCAR(rate, seed, keep_one)
            found.append(Condition(f"cluster {rate:g}", "cluster", rate, clusters))
    return found if facts is None else [_calibrated(c, facts) for c in found]


def _by_the_rest(
    modalities: Sequence[str], rate: float, seed: int, keep_one: bool
) -> Iterator[Condition]:
    if len(modalities) < 3:  # with two, the rest is one driver, which the standard has
        return
    for m in modalities:
        rest = {other: 1.0 for other in modalities if other != m}
        name = f"mar {rate:g} of {m} by the rest"
        yield Condition(name, "mar", rate, MAR(rate, rest, seed=seed, keep_one=keep_one))


def _calibrated(condition: Condition, facts: RowFacts) -> Condition:
    missing = condition.missing
    if isinstance(missing, MAR | ValueMNAR):
        return replace(condition, missing=missing.calibrated(facts))
    return condition
