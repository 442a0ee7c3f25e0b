"""The decomposition of continuous modalities through clusters, with intervals and controls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from mmfuse.errors import ConfigError, DataError
from mmfuse.robustness.interactions.exact import PID, pid, pointwise
from mmfuse.robustness.interactions.information import Table

PARTS = ("redundancy", "unique1", "unique2", "synergy")
# Bits: resamples differ by far more.
_ROUGH = 1e-4


@dataclass(frozen=True)
class DiscretisedPID:
    """A decomposition of rows through clusters.

    Args:
        pid: of the shares of the rows as they are.
        low: lower ends of the 95 % intervals of R, U1, U2 and S; NaN without bootstrap.
        high: upper ends.
        chance: the same parts, their means, once labels are dealt out anew: what the number of
            clusters and rows makes of modalities that say nothing. NaN without shuffles.
        joint: ``(C1, C2, K)`` counts of rows.
        codes1: ``(N,)`` each row's cluster in the first modality.
        codes2: ``(N,)`` in the second.
        labels: ``(N,)`` each row's class, by its place among the sorted ones.
    """

    pid: PID
    low: tuple[float, ...]
    high: tuple[float, ...]
    chance: tuple[float, ...]
    joint: NDArray[np.int64]
    codes1: NDArray[np.int64]
    codes2: NDArray[np.int64]
    labels: NDArray[np.int64]

    def per_row(self) -> Table:
        """``(N, 4)``: what each row adds to R, U1, U2 and S, in bits; see ``pointwise``."""
        return pointwise(self.joint)[:, self.codes1, self.codes2, self.labels].T


def discretised_pid(
    x1: ArrayLike,
    x2: ArrayLike,
    y: ArrayLike,
    clusters: int = 20,
    components: int = 5,
    bootstrap: int = 200,
    shuffles: int = 5,
    seed: int = 0,
) -> DiscretisedPID:
    """Redundancy, unique parts and synergy of two modalities of any width, in bits.

    Each modality is projected on its first principal components and cut into clusters by
    k-means (one with no more distinct rows than clusters keeps them), and the counts of
    (cluster, cluster, class) are decomposed. Counts of few rows look informative: with N rows
    and C1 C2 pairs, I(X1, X2; Y) is too high by about (C1 C2 - 1)(K - 1) / (2 N ln 2) bits, most
    of which is called synergy. ``chance`` shows how much, and the interval has the
    percentiles of resampled rows less what resampling adds to the estimate, which is about that
    bias: it may lie below the estimate. Read all of it on rows that trained nothing.

    Args:
        x1: ``(N, D1)`` or ``(N,)``, without gaps: rows with both modalities.
        x2: ``(N, D2)`` or ``(N,)``.
        y: ``(N,)`` classes.
        clusters: of each modality.
        components: principal components kept.
        bootstrap: resamples of rows; 0 for no interval. Clusters stay as they are.
        shuffles: of labels, behind ``chance``; 0 for none.
        seed: of all of it.

    Raises:
        ConfigError: fewer than one cluster or component.
        DataError: lengths that differ, no rows, NaN, or labels that are no classes.

    Reference: Liang et al., "Quantifying & modeling multimodal interactions", NeurIPS 2023,
    arXiv:2302.12247, estimator CVX. Departs from the authors' code: seeded, empty cells left
    out, interval and control.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> x1, x2 = draw.integers(0, 2, (2, 400))
        >>> found = discretised_pid(x1, x2, x1 ^ x2)
        >>> found.pid.synergy > 0.97, max(found.chance) < 0.03
        (True, True)
    """
    if clusters < 1 or components < 1:
        raise ConfigError(f"Found {clusters} clusters and {components} components; expected 1 up.")
    first, second, label = _rows(x1, "x1"), _rows(x2, "x2"), _classes(y)
    if not len(first) == len(second) == len(label):
        raise DataError(
            f"x1 has {len(first)} rows, x2 {len(second)} and y {len(label)}. Give the rows that "
            "have both modalities and a label."
        )
    codes1, codes2 = (cluster_codes(x, clusters, components, seed) for x in (first, second))
    shape = (codes1.max() + 1, codes2.max() + 1, label.max() + 1)
    joint = _counts(codes1, codes2, label, shape)
    found = pid(joint)
    draw = np.random.default_rng(seed)
    rows = len(label)
    share = joint / rows
    resampled = [
        pid(draw.multinomial(rows, share.ravel()).reshape(shape), _ROUGH).parts
        for _ in range(bootstrap)
    ]
    shuffled = [
        pid(_counts(codes1, codes2, draw.permutation(label), shape), _ROUGH).parts
        for _ in range(shuffles)
    ]
    nothing = (np.nan,) * 4
    low, high = nothing, nothing
    if resampled:
        bias = np.mean(resampled, axis=0) - found.parts
        ends = np.quantile(resampled, [0.025, 0.975], axis=0) - bias
        low, high = (tuple(np.maximum(end, 0.0).tolist()) for end in ends)
    chance = tuple(np.mean(shuffled, axis=0).tolist()) if shuffled else nothing
    return DiscretisedPID(found, low, high, chance, joint, codes1, codes2, label)


def cluster_sweep(
    x1: ArrayLike,
    x2: ArrayLike,
    y: ArrayLike,
    clusters: Iterable[int] = (10, 20, 50),
    components: int = 5,
    bootstrap: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """``discretised_pid`` at several numbers of clusters: what changes with them is no finding.

    Args:
        x1: as there.
        x2: as there.
        y: as there.
        clusters: the numbers.
        components: as there.
        bootstrap: as there.
        seed: as there.

    Returns:
        One line for each number and part, with ``clusters``, ``part``, ``bits``, ``low``,
        ``high`` and ``chance``.

    Raises:
        ConfigError: as there.
        DataError: as there.
    """
    lines = []
    for count in clusters:
        found = discretised_pid(x1, x2, y, count, components, bootstrap, seed=seed)
        columns = zip(PARTS, found.pid.parts, found.low, found.high, found.chance, strict=True)
        lines += [(count, *column) for column in columns]
    return pd.DataFrame(lines, columns=["clusters", "part", "bits", "low", "high", "chance"])


def _rows(x: ArrayLike, name: str) -> Table:
    found = np.asarray(x, dtype=np.float64)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or not found.size or not np.isfinite(found).all():
        raise DataError(
            f"{name} of shape {found.shape} has no rows, more than two axes, or NaN. Give "
            "features (N, D) of rows that have the modality."
        )
    return found


def _classes(y: ArrayLike) -> NDArray[np.int64]:
    found = np.asarray(y)
    whole = found.dtype.kind != "f" or bool((np.isfinite(found) & (found == found // 1)).all())
    if found.ndim != 1 or not whole:
        raise DataError(
            f"Labels of shape {found.shape} and type {found.dtype} are no classes. Give one "
            "class a row; cut values into classes first."
        )
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def cluster_codes(x: Table, clusters: int, components: int = 5, seed: int = 0) -> NDArray[np.int64]:
    """Each row's cluster, ``(N, D) -> (N,)``; arguments as ``discretised_pid``."""
    distinct, codes = np.unique(x, axis=0, return_inverse=True)
    if len(distinct) <= clusters:
        return codes.reshape(-1).astype(np.int64)
    kept = min(components, *x.shape)
    plain = PCA(kept, random_state=seed).fit_transform(x)
    # Rows that differ only in what was projected away may leave fewer than ``clusters``.
    count = min(clusters, len(np.unique(plain, axis=0)))
    found = KMeans(count, n_init=4, random_state=seed).fit_predict(plain)
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def _counts(
    codes1: NDArray[np.int64],
    codes2: NDArray[np.int64],
    label: NDArray[np.int64],
    shape: tuple[int, ...],
) -> NDArray[np.int64]:
    place = np.ravel_multi_index((codes1, codes2, label), shape)
    return np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)
