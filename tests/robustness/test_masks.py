"""Masks take a bit a modality, and come back as they were."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mmfuse.missing import MCAR
from mmfuse.robustness import Condition
from mmfuse.robustness.masks import masks_table, pack, unpack


@pytest.mark.parametrize(
    ("count", "kind"),
    [(1, "uint8"), (8, "uint8"), (9, "uint16"), (20, "uint32"), (64, "uint64"), (70, "object")],
)
def test_masks_come_back_as_they_were(count: int, kind: str, tmp_path):
    kept = np.random.default_rng(0).random((50, count)) < 0.5
    kept[0], kept[1] = True, False
    packed = pack(kept)
    assert packed.dtype == kind
    assert np.array_equal(unpack(packed, count), kept)
    table = masks_table([Condition("x", "own", math.nan, MCAR(0.5))], np.arange(50), kept[None])
    table.to_parquet(tmp_path / "masks.parquet")
    again = pd.read_parquet(tmp_path / "masks.parquet")["x"].to_numpy()
    assert np.array_equal(unpack(again, count), kept)


def test_bit_m_is_modality_m():
    assert pack(np.array([[True, False, True], [False, True, False]])).tolist() == [5, 2]


def test_no_rows_have_no_masks():
    for count in (3, 70):
        assert unpack(pack(np.zeros((0, count), bool)), count).shape == (0, count)


def test_a_hundred_conditions_of_many_rows_stay_small():
    conditions = [Condition(f"c{i}", "own", 0.5, None) for i in range(100)]
    kept = np.ones((100, 2000, 6), bool)
    table = masks_table(conditions, np.arange(2000), kept)
    assert table.memory_usage(index=False).sum() == 2000 * (8 + 100)
