"""Conditions under which items lose modalities."""

from __future__ import annotations

from collections.abc import Sequence

from mmfuse.robustness import Condition, standard_conditions
from mmfuse.robustness.conditions import MCAR_RATES


def item_conditions(
    modalities: Sequence[str], seed: int = 0, mcar_rates: Sequence[float] = MCAR_RATES
) -> list[Condition]:
    """The conditions of ``standard_conditions``, for items.

    An item's group is its popularity (see ``RecommendationData``), so that MNAR takes modalities
    from popular items, and its flip from rare ones. Simulators may take all that an item has: its
    id and its place in graphs are left, and a new item can lack everything.

    Args:
        modalities: of the items.
        seed: of every simulator.
        mcar_rates: rates missing completely at random.

    Example:
        >>> [c.name for c in item_conditions(["image"], mcar_rates=[0.5])][:5]
        ['complete', 'only image', 'nothing', 'mcar 0.5', 'mnar 0.8']
    """
    return standard_conditions(modalities, [1], seed, mcar_rates, keep_one=False)
