"""Items that follow one another: what a user takes next depends on its last item alone."""

from __future__ import annotations

import numpy as np

from mmfuse.data import ArrayData
from mmfuse.recommend import InteractionArrays, LeaveOneOut, RecommendationData


def chain_rows(users=200, items=40, each=10, loyalty=0.9, seed=0):
    """User, item and time of each row, shuffled: mostly each item's one successor, else any.

    ``each`` is how many items a user takes, or all users, one after the other and then again.
    """
    rng = np.random.default_rng(seed)
    follows = np.roll(np.arange(items), 1)[rng.permutation(items)]
    rows = []
    for user, count in enumerate(np.resize(each, users)):
        taken = [rng.integers(items)]
        while len(taken) < count:
            follower = follows[taken[-1]]
            is_loyal = rng.random() < loyalty and follower not in taken
            taken.append(
                follower if is_loyal else rng.choice(np.setdiff1d(np.arange(items), taken))
            )
        rows += [(user, item, time) for time, item in enumerate(taken)]
    return rng.permutation(rows).T


def chain_features(items=40, absent=0.2, seed=0):
    """For each modality ``(I, w)``: who an item is, in two noisy ways; NaN where it lacks one."""
    rng, found = np.random.default_rng(seed + 1), {}
    for m, width in {"image": 12, "sound": 8}.items():
        x = rng.normal(size=(items, width)).astype(np.float32)
        x[rng.random(items) < absent] = np.nan
        found[m] = x
    found["image"][-1] = found["sound"][-1] = np.nan
    return found


def chained(content=False, seed=0, users=200, items=40, each=10, **options):
    """Data whose last two items of each user are held out."""
    source = InteractionArrays(*chain_rows(users, items, each, seed=seed))
    rows = ArrayData(chain_features(items, seed=seed)) if content else None
    settings = {"split": LeaveOneOut(), "batch_size": 32, "seed": seed}
    return RecommendationData(source, rows, **settings | options)
