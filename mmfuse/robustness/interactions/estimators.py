"""Estimators: how many bits two modalities' encodings tell of a target, each in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from mmfuse.errors import DataError
from mmfuse.robustness.interactions.bounds import synergy_bounds
from mmfuse.robustness.interactions.discrete import PARTS, cluster_codes, discretised_pid
from mmfuse.robustness.interactions.encodings import Told
from mmfuse.robustness.interactions.neural import NeuralSettings, Rows, held_out_pid

#: ``clusters``: counts of k-means' clusters; ``neural``: networks fitted to other rows;
#: ``bounds``: of synergy, from rows that may lack a label or a modality.
Estimator = Literal["clusters", "neural", "bounds"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)
#: What is bounded, in the order of ``SynergyBounds``.
BOUNDED = (*PARTS[:3], "lower_redundancy", "lower_margins", "lower_disagreement", "upper")

# With fewer rows than this a cluster, the decomposition is mostly chance.
_ROWS_A_CLUSTER = 10
# Networks need some rows to learn from, and to be chosen and read by.
_FITTED, _OTHERS = 40, 10
_CHOOSE = 0.2
_SHUFFLES = 5


@dataclass(frozen=True)
class Estimates:
    """How two modalities are decomposed, and on which rows.

    Args:
        read: the rows that are told of.
        fit: rows of training for networks; None for none.
        choose: rows of validation, which choose among epochs; None for a part of ``fit``.
        clusters: of each modality, fewer where rows are few.
        bootstrap: resamples behind each interval.
        seed: of everything that is drawn.
        settings: of networks.
    """

    read: Told
    fit: Told | None = None
    choose: Told | None = None
    clusters: int = 20
    bootstrap: int = 100
    seed: int = 0
    settings: NeuralSettings = field(default_factory=NeuralSettings)

    def of(self, first: str, second: str, estimator: Estimator) -> dict[str, pd.DataFrame] | str:
        """Tables as in ``InteractionResult``, without the target; or why there are none."""
        by = {"clusters": self._by_clusters, "neural": self._by_networks, "bounds": self._by_bounds}
        found = by[estimator](first, second)
        if isinstance(found, str):
            return found
        return {name: table.assign(first=first, second=second) for name, table in found.items()}

    def _by_clusters(self, first: str, second: str) -> dict[str, pd.DataFrame] | str:
        rows = self.read.both(first, second)
        count = min(self.clusters, len(rows) // _ROWS_A_CLUSTER)
        if count < 2:
            return f"as only {len(rows)} rows have both"
        found = discretised_pid(
            self.read.rows.values[first][rows],
            self.read.rows.values[second][rows],
            self.read.classes[rows],
            count,
            bootstrap=self.bootstrap,
            seed=self.seed,
        )
        parts = {
            "bits": found.pid.parts, "low": found.low, "high": found.high, "chance": found.chance,
        }  # fmt: skip
        return self._parts("clusters", rows, parts, found.per_row())

    def _by_networks(self, first: str, second: str) -> dict[str, pd.DataFrame] | str:
        if self.fit is None:
            return "as networks are read on rows that they are not fitted to, and there are none"
        known = self.fit.both(first, second)
        chosen = self.choose
        picked = np.array([], dtype=np.int64)
        if chosen is not None:
            picked = chosen.both(first, second)
        if len(picked) < _OTHERS:
            known = np.random.default_rng(self.seed).permutation(known)
            chosen, cut = self.fit, int(len(known) * (1 - _CHOOSE))
            known, picked = known[:cut], known[cut:]
        assert chosen is not None
        read = self.read.both(first, second)
        if len(known) < _FITTED or len(picked) < _OTHERS or len(read) < _OTHERS:
            return (
                f"as only {len(known)} rows of training and {len(read)} of those studied have both"
            )
        found = held_out_pid(
            _tensors(self.fit, known, first, second),
            _tensors(chosen, picked, first, second),
            _tensors(self.read, read, first, second),
            self.settings,
            bootstrap=self.bootstrap,
            seed=self.seed,
        )
        parts = {"bits": found.pid.parts, "low": found.low, "high": found.high, "chance": np.nan}
        return self._parts("neural", read, parts, found.rows)

    def _by_bounds(self, first: str, second: str) -> dict[str, pd.DataFrame] | str:
        rows, classes = self.read.rows, self.read.classes
        names = (first, second)
        there = [rows.present[m] for m in names]
        # A class that one of the modalities lacks cannot be bounded.
        seen = [np.unique(classes[t & (classes >= 0)]) for t in there]
        shared = np.intersect1d(seen[0], seen[1])
        labelled = [t & np.isin(classes, shared) for t in there]
        met = there[0] & there[1]
        fewest = min(int(labelled[0].sum()), int(labelled[1].sum()), int(met.sum()))
        count = min(self.clusters, fewest // _ROWS_A_CLUSTER)
        if count < 2 or len(shared) < 2:
            return f"as only {fewest} rows have one of them and a label, or both"
        codes = [np.full(len(rows.row), -1) for _ in names]
        for code, m, t, known in zip(codes, names, there, labelled, strict=True):
            code[t] = cluster_codes(rows.values[m][t], count, seed=self.seed)
            # Nothing is known of a cluster without a label; the others are numbered anew.
            own = np.unique(code[known])
            code[:] = np.where(np.isin(code, own), np.searchsorted(own, code), -1)
        met &= (codes[0] >= 0) & (codes[1] >= 0)
        sizes = [int(code.max()) + 1 for code in codes]
        pairs = _counts(codes[0][met], codes[1][met], (sizes[0], sizes[1]))

        def bits(y: NDArray[np.int64]) -> list[float]:
            one, other = (
                _counts(code[known], y[known], (size, len(shared)))
                for code, known, size in zip(codes, labelled, sizes, strict=True)
            )
            found = synergy_bounds(one, other, pairs)
            return [float(getattr(found, part)) for part in BOUNDED]

        y, every = np.searchsorted(shared, classes), np.flatnonzero(labelled[0] | labelled[1])
        draw = np.random.default_rng(self.seed)
        try:
            found, anew = bits(y), []
            for _ in range(_SHUFFLES):
                dealt = y.copy()
                dealt[every] = draw.permutation(y[every])
                anew.append(bits(dealt))
        except DataError as error:
            return f"for bounds: {error}".rstrip(".")
        lines = pd.DataFrame({"part": BOUNDED, "bits": found, "chance": np.mean(anew, axis=0)})
        rows_of = zip(("first", "second", "both"), (*labelled, met), strict=True)
        counts = {f"rows_{of}": int(some.sum()) for of, some in rows_of}
        return {"bounds": lines.assign(**counts)}

    def _parts(
        self,
        estimator: Estimator,
        rows: NDArray[np.int64],
        parts: Mapping[str, object],
        each: NDArray[np.float64],
    ) -> dict[str, pd.DataFrame]:
        lines = pd.DataFrame({"part": PARTS, **parts}).assign(estimator=estimator, rows=len(rows))
        shares = pd.DataFrame(each, columns=list(PARTS)).assign(estimator=estimator)
        return {"pid": lines, "rows": shares.assign(row=self.read.rows.row[rows])}


def _tensors(told: Told, rows: NDArray[np.int64], first: str, second: str) -> Rows:
    one, two = (torch.from_numpy(told.rows.values[m][rows]).float() for m in (first, second))
    return one, two, torch.from_numpy(told.classes[rows])


def _counts(
    one: NDArray[np.int64], other: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int64]:
    """How often each two codes meet."""
    place = np.ravel_multi_index((one, other), shape)
    return np.bincount(place, minlength=shape[0] * shape[1]).reshape(shape)
