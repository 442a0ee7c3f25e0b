"""Models of a target that read who is absent: rows of one pattern are alike to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from mmfuse.baselines.models import LINEAR
from mmfuse.baselines.survival import fit_cox
from mmfuse.spec import TargetSpec

Array = NDArray[np.float64]

PATTERNS = "table of patterns"
MASK_MODELS = (LINEAR, PATTERNS)

# So many rows of the overall shares are added to each pattern's own.
_PRIOR = 5.0


def fit_mask(
    variant: str, spec: TargetSpec, patterns: Array, code: NDArray[np.int64], y: Array
) -> Array:
    """Fits one model to rows, and tells what it says of every pattern.

    Args:
        variant: ``LINEAR``, as ``fit_baseline`` has it, adds up what each modality's absence says;
            ``PATTERNS`` takes the shares, means or rates of the rows of the same pattern, with
            five rows of the overall ones added, and so sees who is absent together.
        spec: the target.
        patterns: ``(P, M)`` who is there, 0 or 1.
        code: each row's pattern, ``(N,)``.
        y: the labels or values of rows, as in ``Batch``; of several, NaN where unknown.

    Returns:
        probabilities ``(P, K)`` or values, as ``TargetSpec.predict`` gives them
    """
    if spec.kind == "survival":
        return _survival(variant, spec, patterns, code, y)
    if spec.kind in ("binary", "multiclass"):
        count = 2 if spec.kind == "binary" else len(spec.classes)
        return _classes(variant, patterns, code, y.astype(np.int64), count)
    columns = y.reshape(len(y), -1).T
    said = []
    for one in columns:
        known = np.isfinite(one)
        if spec.kind == "multilabel":
            label = one[known].astype(np.int64)
            said.append(_classes(variant, patterns, code[known], label, 2)[:, 1])
        else:
            said.append(_values(variant, patterns, code[known], one[known]))
    return np.stack(said, axis=1)


def _classes(
    variant: str, patterns: Array, code: NDArray[np.int64], y: NDArray[np.int64], count: int
) -> Array:
    size = len(patterns) * count
    rows = np.bincount(code * count + y, minlength=size).reshape(-1, count).astype(float)
    share = rows.sum(0) / rows.sum()
    if variant == PATTERNS:
        return np.asarray((rows + _PRIOR * share) / (rows.sum(1, keepdims=True) + _PRIOR))
    found = np.flatnonzero(share)
    shares = np.zeros((len(patterns), count))
    if len(found) < 2:
        shares[:, found] = 1.0
        return shares
    place, label = np.nonzero(rows)
    model = LogisticRegression(max_iter=5000)
    model.fit(patterns[place], label, sample_weight=rows[place, label])
    shares[:, found] = model.predict_proba(patterns)
    return shares


def _values(variant: str, patterns: Array, code: NDArray[np.int64], y: Array) -> Array:
    rows = np.bincount(code, minlength=len(patterns)).astype(float)
    total = np.bincount(code, y, minlength=len(patterns))
    if variant == PATTERNS:
        return np.asarray((total + _PRIOR * y.mean()) / (rows + _PRIOR))
    some = rows > 0
    model = Ridge().fit(patterns[some], total[some] / rows[some], sample_weight=rows[some])
    return np.asarray(model.predict(patterns), dtype=np.float64)


def _survival(
    variant: str, spec: TargetSpec, patterns: Array, code: NDArray[np.int64], y: Array
) -> Array:
    if variant == LINEAR:
        return np.asarray(fit_cox(spec, patterns[code], y)(patterns), dtype=np.float64)
    time, event = (np.bincount(code, column, minlength=len(patterns)) for column in y.T)
    # Events over time at risk, with five rows of the overall rate added.
    unit = y[:, 0].mean()
    rate = max(y[:, 1].sum(), 1.0) / y[:, 0].sum()
    hazard = (event + _PRIOR * rate * unit) / (time + _PRIOR * unit)
    curve = np.exp(-hazard[:, None] * np.asarray(spec.cuts)[None])
    return np.concatenate([np.log(hazard)[:, None], curve], axis=1)
