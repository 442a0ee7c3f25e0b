"""Data scaled by the range of the training rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from mmfuse import FusionModel
from mmfuse.data import ArrayData
from mmfuse.fusion import ConcatFusion
from mmfuse_encoders import IdentityEncoder

SPLIT = ["train"] * 6 + ["val", "test"]
DRAW = np.random.default_rng(0)


def ranges(values: object, **options: object) -> tuple[ArrayData, list[float], list[float]]:
    data = ArrayData({"a": values}, split=SPLIT, scale="range", **options)  # type: ignore[arg-type]
    spec = data.spec.modalities["a"]
    return data, list(spec.mean), list(spec.std)


def test_present_training_rows_come_out_from_zero_to_one() -> None:
    values = DRAW.normal(3, 5, (8, 4))
    values[2] = np.nan  # an absent row counts for nothing
    values[7] = 1000  # nor does a test row
    data, _, _ = ranges(values)
    encoders = {"a": IdentityEncoder(data.spec.modalities["a"])}
    model = FusionModel(data.spec, encoders, ConcatFusion({"a": 4}))
    train = model.encode(data.dataset("train").__getitems__([0, 1, 3, 4, 5]))["a"].values[:, 0]
    torch.testing.assert_close(train.min(dim=0).values, torch.zeros(4))
    torch.testing.assert_close(train.max(dim=0).values, torch.ones(4))
    assert model.encode(data.dataset("test").__getitems__([7]))["a"].values.min() > 1


def test_a_constant_feature_is_left_at_zero() -> None:
    values = DRAW.normal(size=(8, 2))
    values[:, 1] = 7
    _, low, span = ranges(values)
    assert low[1] == 7
    assert span[1] == 1


def test_images_have_a_range_for_each_channel_and_series_for_each_feature() -> None:
    images = DRAW.normal(size=(8, 2, 3, 3)).astype(np.float32)
    _, low, span = ranges(images)
    np.testing.assert_allclose(low, images[:6].min(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(span, np.ptp(images[:6], axis=(0, 2, 3)), rtol=1e-6)
    series = [DRAW.normal(size=(steps, 3)).astype(np.float32) for steps in range(2, 10)]
    _, low, span = ranges(series)
    joined = np.concatenate(series[:6])
    np.testing.assert_allclose(low, joined.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(span, np.ptp(joined, axis=0), rtol=1e-6)


def test_category_codes_and_missing_cells_have_no_part_in_it() -> None:
    frame = pd.DataFrame({"age": [3.0, 9, None, 5, 4, 8, 100, 0], "town": list("abcabcab")})
    data, low, span = ranges(frame, missing_cells="keep")
    assert data.spec.modalities["a"].categories
    assert (low, span) == ([3.0], [6.0])
