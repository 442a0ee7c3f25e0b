"""Estimators on encoded rows: which rows each reads, and what it leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from mmfuse.robustness.interactions.encodings import Encoded, Told
from mmfuse.robustness.interactions.estimators import Estimates
from mmfuse.robustness.interactions.neural import NeuralSettings
from mmfuse.spec import TargetSpec

QUICK = NeuralSettings(epochs=10, align_epochs=3, batch_size=64, rate=3e-3)


def gate(rows: int = 1200, seed: int = 0) -> Told:
    """Two fair bits of which the label is the AND."""
    draw = np.random.default_rng(seed)
    bits = draw.integers(0, 2, (2, rows))
    everyone = np.ones(rows, dtype=bool)
    values = {m: b[:, None].astype(float) for m, b in zip("ab", bits, strict=True)}
    encoded = Encoded(
        np.arange(rows) + 1000, values, {m: everyone.copy() for m in "ab"}, {"y": bits.prod(0)}
    )
    return Told(encoded, bits.prod(0))


def parts(table) -> dict[str, float]:
    return dict(zip(table["part"], table["bits"], strict=True))


def test_bounds_hold_without_a_row_that_has_both_and_a_label():
    told = gate()
    third = np.arange(1200) % 3
    told.rows.present["a"][third == 1] = False
    told.rows.present["b"][third == 0] = False
    told.classes[third == 2] = -1
    for m in "ab":
        told.rows.values[m][~told.rows.present[m]] = np.nan  # what is absent is not read
    estimates = Estimates(told)
    table = estimates.of("a", "b", "bounds")["bounds"]
    assert table[["rows_first", "rows_second", "rows_both"]].iloc[0].tolist() == [400] * 3
    found = parts(table)
    assert found["redundancy"] == pytest.approx(0.311, abs=0.06)
    assert found["lower_margins"] <= 0.5 + 0.06
    assert found["lower_redundancy"] == pytest.approx(0.311, abs=0.06)
    assert found["upper"] >= 0.5 - 0.06
    assert (table["chance"] < 0.05).sum() >= 6  # but for the upper bound
    assert "only 0 rows have both" in estimates.of("a", "b", "clusters")


def test_bounds_of_complete_rows_hold_for_their_clusters():
    told = gate()
    estimates = Estimates(told, bootstrap=0)
    clusters = parts(estimates.of("a", "b", "clusters")["pid"])
    found = parts(estimates.of("a", "b", "bounds")["bounds"])
    for part in ("redundancy", "unique1", "unique2"):
        assert found[part] == pytest.approx(clusters[part], abs=1e-5)
    lower = max(value for part, value in found.items() if part.startswith("lower"))
    assert lower - 1e-6 <= clusters["synergy"] <= found["upper"] + 1e-6


def test_a_class_that_only_rows_of_one_modality_have_is_left_out_of_bounds():
    told = gate()
    told.classes[:100] = 2
    told.rows.present["b"][:100] = False
    table = Estimates(told).of("a", "b", "bounds")["bounds"]
    assert table[["rows_first", "rows_second", "rows_both"]].iloc[0].tolist() == [1100] * 3


def test_rows_are_told_by_their_numbers_in_the_data():
    told = gate(300)
    told.rows.present["a"][::2] = False
    rows = Estimates(told, bootstrap=0).of("a", "b", "clusters")["rows"]
    assert rows["row"].tolist() == list(range(1001, 1300, 2))


def test_networks_are_chosen_by_validation_rows_or_by_a_part_of_training():
    fit, choose, read = gate(400, 1), gate(100, 2), gate(200, 3)
    for chosen in (choose, None):
        estimates = Estimates(read, fit, chosen, bootstrap=20, settings=QUICK)
        table = estimates.of("a", "b", "neural")["pid"]
        found = parts(table)
        assert sum(found.values()) > 0.5
        assert (table["low"] <= table["high"]).all()
        assert table["chance"].isna().all()
    few = Estimates(read, gate(30, 1), None, settings=QUICK)
    assert "only 24 rows of training" in few.of("a", "b", "neural")
    assert "there are none" in Estimates(read).of("a", "b", "neural")


def test_values_are_cut_where_those_of_the_rows_studied_are():
    def rows(label) -> Encoded:
        label = np.asarray(label, dtype=float)
        return Encoded(np.arange(len(label)), {}, {}, {"y": label})

    spec = TargetSpec("regression", mean=(0.0,), std=(1.0,))
    read, fit = rows([0, 1, 2, 3, 4, 5, 6, 7, np.nan]), rows([-9.0, 2.5, 99.0])
    assert read.told("y", spec, read).classes.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, -1]
    assert fit.told("y", spec, read).classes.tolist() == [0, 1, 3]
    assert rows(np.zeros((3, 2))).told("y", spec, rows(np.zeros((3, 2)))) is None
