"""Data that does not fit is refused with the thing's name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.data import ArrayData
from mmfuse.errors import ConfigError, DataError, UnknownModalityError

ROWS = 20
SPLIT = ["train"] * 14 + ["val"] * 3 + ["test"] * 3
GRID = np.random.default_rng(0).normal(size=(ROWS, 3))
LABELS = [0, 1] * (ROWS // 2)


def with_cell(row: int, column: int, value: float) -> np.ndarray:
    values = GRID.copy()
    values[row, column] = value
    return values


def refusal(inputs: Any, target: Any = None, **options: Any) -> str:
    """What the data says when it is set up."""
    with pytest.raises(DataError) as caught:
        ArrayData(inputs, target, **{"split": SPLIT, **options}).setup()
    return str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_present_row_may_not_hold_nan_or_infinity(value: float) -> None:
    said = refusal({"a": with_cell(5, 1, value)})
    assert "'a'" in said
    assert "row 5" in said
    assert str(value) in said


def test_the_column_of_a_bad_cell_is_named() -> None:
    frame = pd.DataFrame(with_cell(5, 1, np.nan), columns=["height", "weight", "age"])
    assert "'weight'" in refusal({"a": frame})


def test_infinity_is_no_gap_that_a_mean_could_fill() -> None:
    assert "inf" in refusal({"a": with_cell(5, 1, np.inf)}, missing_cells="mean")


def test_a_gap_in_a_series_of_unequal_length_is_refused_even_where_means_fill() -> None:
    rows = [GRID[: 1 + i % 3].copy() for i in range(ROWS)]
    rows[4][0, 1] = np.nan
    said = refusal({"a": rows}, missing_cells="mean", on_duplicates="allow")
    assert "row 4" in said


def test_a_gap_is_refused_where_the_model_has_no_mean_to_fill_it() -> None:
    spec = ArrayData({"a": GRID}, split=SPLIT, standardise=False).spec
    data = ArrayData({"a": with_cell(0, 0, np.nan)}, test=1, missing_cells="mean")
    data.adopt(spec)
    with pytest.raises(DataError, match="row 0 counts as present"):
        data.setup()


def test_a_series_without_a_step_is_not_present() -> None:
    rows = [GRID[: 1 + i % 3] for i in range(ROWS)]
    rows[9] = np.zeros((0, 3))
    assert "row 9" in refusal({"a": rows}, on_duplicates="allow")


def test_vectors_agree_in_width() -> None:
    said = refusal({"a": [*GRID[:-1], GRID[0, :2]]}, kinds={"a": "vector"})
    assert "'a'" in said
    assert "[2, 3]" in said


def test_steps_agree_in_width() -> None:
    rows = [np.ones((2, 3)), *[np.ones((2, 4))] * (ROWS - 1)]
    said = refusal({"a": rows})
    assert "(2, 3)" in said
    assert "(2, 4)" in said


def test_a_row_is_numbers_or_text() -> None:
    assert "neither numbers nor a string" in refusal({"a": [object()] * ROWS})


@pytest.mark.parametrize("nothing", [[None] * ROWS, np.full((ROWS, 2), np.nan)])
def test_a_modality_absent_everywhere_is_refused(nothing: Any) -> None:
    said = refusal({"a": GRID, "gone": nothing})
    assert "'gone'" in said
    assert "absent" in said


def test_a_modality_absent_from_all_training_rows_is_refused() -> None:
    values = GRID.copy()
    values[:14] = np.nan
    said = refusal({"a": GRID, "b": values})
    assert "'b'" in said
    assert "14 training rows" in said


def test_one_class_is_nothing_to_learn() -> None:
    said = refusal({"a": GRID}, ["ill"] * ROWS)
    assert "'y'" in said
    assert "'ill'" in said


def test_one_value_is_nothing_to_learn() -> None:
    assert "one value only" in refusal({"a": GRID}, [2.5] * ROWS, target_kinds={"y": "regression"})


@pytest.mark.parametrize(("row", "split"), [(14, "val"), (19, "test")])
def test_a_class_that_training_lacks_is_refused(row: int, split: str) -> None:
    labels = [f"c{label}" for label in LABELS]
    labels[row] = "strange"
    said = refusal({"a": GRID}, labels)
    assert "'strange'" in said
    assert f"the {split} rows" in said


def test_a_class_whose_training_rows_are_all_empty_is_refused() -> None:
    values = GRID.copy()
    values[:14:2] = np.nan
    assert "'0'" in refusal({"a": values}, LABELS)


def test_no_label_at_all_is_refused() -> None:
    assert "0 class" in refusal({"a": GRID}, [None] * ROWS)
    assert "no training row has a value" in refusal(
        {"a": GRID}, [np.nan] * ROWS, target_kinds={"y": "regression"}
    )


@pytest.mark.parametrize(
    ("target", "kind", "said"),
    [
        ([0, 1, 2, 0, 1] * 4, "binary", "declared binary"),
        (np.tile([[0, 2]], (ROWS, 1)), "multilabel", "[2.0]"),
        (LABELS, "multilabel", "shape (20,)"),
        (["low", "high"] * 10, "regression", "'low'"),
        ([["low", "high"]] * ROWS, None, "'low'"),
    ],
)
def test_values_that_contradict_the_declared_kind_are_refused(
    target: Any, kind: Any, said: str
) -> None:
    options = {} if kind is None else {"target_kinds": {"y": kind}}
    found = refusal({"a": GRID}, target, **options)
    assert "Target 'y'" in found
    assert said in found


def test_a_class_for_every_row_is_refused() -> None:
    rows = 60
    said = refusal({"a": np.arange(rows)}, list(range(rows)), split=None)
    assert "60 different values" in said
    assert "regression" in said


def test_an_empty_training_split_is_refused() -> None:
    assert "train split is empty" in refusal({"a": GRID}, split=["test"] * ROWS)


def test_a_loader_of_an_empty_split_is_refused() -> None:
    data = ArrayData({"a": GRID}, split=["train"] * ROWS, val=0)
    assert data.val_dataloader() == []
    with pytest.raises(DataError, match="test split is empty"):
        data.test_dataloader()


def test_an_unknown_split_name_is_refused() -> None:
    assert "['holdout']" in refusal({"a": GRID}, split=["train"] * 19 + ["holdout"])
    assert "['None']" in refusal({"a": GRID}, split=["train"] * 19 + [None])


def test_too_few_rows_to_draw_from_are_refused() -> None:
    assert "too few" in refusal({"a": [[1.0], [2.0]]}, split=None, test=0.5, val=0.4)


@pytest.mark.parametrize("which", ["target", "split", "groups", "b"])
def test_lengths_agree(which: str) -> None:
    short = {"target": LABELS, "split": SPLIT, "groups": LABELS, "b": GRID}[which][:-1]
    inputs = {"a": GRID} | ({"b": short} if which == "b" else {})
    said = refusal(inputs, **({} if which == "b" else {which: short}))
    assert "19" in said
    assert "20" in said


def test_no_modality_is_refused() -> None:
    assert "at least one modality" in refusal({})


@pytest.mark.parametrize("option", ["kinds", "categorical", "target_kinds"])
def test_an_option_for_an_unknown_name_is_refused(option: str) -> None:
    value = {"kinds": "vector", "categorical": ["x"], "target_kinds": "binary"}[option]
    with pytest.raises(ConfigError, match=rf"{option} names \['audio'\]"):
        ArrayData({"a": GRID}, LABELS, split=SPLIT, **{option: {"audio": value}}).setup()


def test_an_unknown_categorical_column_is_refused() -> None:
    assert "no column ['town']" in refusal({"a": GRID}, categorical={"a": ["town"]})


@pytest.mark.parametrize(
    "option",
    [
        {"batch_size": 0},
        {"eval_batch_size": 0},
        {"workers": -1},
        {"val": -0.1},
        {"val": 1.0},
        {"test": 1.1},
        {"on_duplicates": "ignore"},
        {"missing_cells": "zero"},
        {"missing_cells": "mean", "standardise": False},
        {"missing_cells": "mean", "scale": "range"},
        {"scale": "minmax"},
    ],
)
def test_an_option_outside_its_range_is_refused_at_once(option: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(option))} is"):
        ArrayData({"a": GRID}, **option)


def test_new_data_must_have_every_modality_of_the_model() -> None:
    spec = ArrayData({"a": GRID, "b": GRID}, split=SPLIT).spec
    data = ArrayData({"a": GRID}, test=1)
    data.adopt(spec)
    with pytest.raises(UnknownModalityError, match=r"the data lack \['b'\]"):
        data.setup()


def test_new_data_must_have_the_width_of_the_model() -> None:
    spec = ArrayData({"a": GRID}, split=SPLIT).spec
    data = ArrayData({"a": GRID[:, :2]}, test=1)
    data.adopt(spec)
    with pytest.raises(DataError, match=r"'a'.*shape \(3,\).*shape \(2,\)"):
        data.setup()


def test_a_batch_with_a_modality_that_the_model_lacks_is_refused() -> None:
    spec = ArrayData({"a": GRID}, split=SPLIT).spec
    batch = ArrayData({"a": GRID, "b": GRID}, split=SPLIT).dataset("train").__getitems__([0, 1])
    with pytest.raises(UnknownModalityError, match="'b'"):
        spec.check(batch)


def test_a_batch_of_the_wrong_width_is_refused() -> None:
    spec = ArrayData({"a": GRID}, split=SPLIT).spec
    batch = ArrayData({"a": GRID[:, :2]}, split=SPLIT).dataset("train").__getitems__([0])
    with pytest.raises(DataError, match=r"'a'.*\(3,\).*\(2,\)"):
        spec.check(batch)
    assert torch.is_tensor(batch.inputs["a"])
