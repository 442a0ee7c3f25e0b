"""What a curve of a score over severities comes to: its area, what is left, and against another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmfuse.errors import DataError
from mmfuse.robustness.corruptions.base import SEVERITIES

if TYPE_CHECKING:
    from mmfuse.robustness.corruptions.result import CorruptionResult

Array = NDArray[np.float64]

#: Each measure, in the order of the tables.
MEASURES = ("clean", "mean", "area", "relative_area", "retained")
_KEYS = ["target", "metric", "modality", "corruption"]


def measures(curve: Array) -> dict[str, Array]:
    """Each measure of curves over the severities 0 to 5.

    ``clean`` is the score without corruption and ``mean`` that over the severities 1 to 5.
    ``area`` is the area under the curve by trapezoids, severity 5 being 1 (MultiBench's relative
    robustness); ``relative_area`` the same, and ``retained`` the score at severity 5, divided by
    the clean score, NaN where that is not above 0, as an R2 may be.

    Shape:
        (6, S) -> (S,) each
    """
    clean, width = curve[0], 1 / len(SEVERITIES)
    area = width * ((curve[1:] + curve[:-1]) / 2).sum(axis=0)
    whole = np.where(clean > 0, clean, np.nan)
    found = (clean, curve[1:].mean(axis=0), area, area / whole, curve[-1] / whole)
    return dict(zip(MEASURES, found, strict=True))


def effective_robustness(result: CorruptionResult, reference: CorruptionResult) -> pd.DataFrame:
    """How much more robust a model is than its clean score predicts, by a reference model.

    With f and r the scores of the model and of the reference (MultiBench takes a late fusion)
    on the same rows::

        effective = sum_s f(s) - (r(s) + f(0) - r(0)),   s from 0 to 5
        error_ratio = sum_s e_f(s) / sum_s e_r(s),       s from 1 to 5

    with e = 1 - score where higher is better, else the score itself: the corruption error of
    ImageNet-C, as a share of the reference's. Where lower is better ``effective`` changes its
    sign, so that positive is always more robust. Both are raw: nothing is scaled by the models
    that happen to be compared.

    Returns:
        One line for each target, metric, modality and corruption: ``effective``,
        ``error_ratio`` (below 1 is better than the reference), ``higher_is_better`` of the metric.

    Raises:
        DataError: the reference lacks a curve of the result, or saw another number of rows.

    Reference: Liang et al., "MultiBench: Multiscale Benchmarks for Multimodal Representation
        Learning", NeurIPS 2021, arXiv:2107.07502; Hendrycks and Dietterich, ICLR 2019.

    Departs from the authors' code: theirs scales both measures by the least and the greatest of
    the methods in a table of its own.
    """
    ours, theirs = _by_severity(result), _by_severity(reference)
    if missing := sorted(set(ours.index) - set(theirs.index)):
        raise DataError(
            f"The reference has no curve of {len(missing)} among {len(ours)}, such as "
            f"{missing[0]}. Evaluate it on the same rows with the same corruptions."
        )
    if (result.meta["rows"], result.meta["seed"]) != (
        reference.meta["rows"],
        reference.meta["seed"],
    ):
        raise DataError(
            f"The result is of {result.meta['rows']} rows with seed {result.meta['seed']}, the "
            f"reference of {reference.meta['rows']} with {reference.meta['seed']}. Evaluate both "
            "on the same rows with the same seed."
        )
    theirs = theirs.loc[ours.index]
    up = result.scores.drop_duplicates(_KEYS).set_index(_KEYS).loc[ours.index, "higher_is_better"]
    f, r, is_up = ours.to_numpy(float), theirs.to_numpy(float), up.to_numpy(bool)
    effective = (f - r - (f[:, :1] - r[:, :1])).sum(axis=1)
    ours_lost, theirs_lost = (np.where(is_up[:, None], 1 - v, v)[:, 1:].sum(axis=1) for v in (f, r))
    table = ours.index.to_frame(index=False)
    table["effective"] = np.where(is_up, effective, -effective)
    table["error_ratio"] = ours_lost / np.where(theirs_lost == 0, np.nan, theirs_lost)
    table["higher_is_better"] = is_up
    return table


def _by_severity(result: CorruptionResult) -> pd.DataFrame:
    """One line a curve, one column a severity."""
    wide = result.scores.pivot(index=_KEYS, columns="severity", values="value")
    lines = result.scores[_KEYS].drop_duplicates()
    return wide.loc[list(lines.itertuples(index=False, name=None))]
