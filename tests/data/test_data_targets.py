"""Targets: labels and values become tensors, by what the training rows hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.data import ArrayData
from mmfuse.errors import DataError
from mmfuse.spec import DataSpec

ROWS = 10
GRID = np.random.default_rng(0).normal(size=(ROWS, 2))
SPLIT = ["train"] * 8 + ["val", "test"]
NAN = float("nan")


def data_of(target: Any, kind: Any = None, **options: Any) -> ArrayData:
    kinds = None if kind is None else {"y": kind}
    return ArrayData({"a": GRID}, target, target_kinds=kinds, split=SPLIT, **options)


def values_of(data: ArrayData) -> torch.Tensor:
    target = data.dataset("train").__getitems__(range(ROWS)).target
    assert isinstance(target, dict)
    return target["y"]


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (["no", "yes"] * 5, "binary"),
        ([True, False] * 5, "binary"),
        ([1.0, 0.0] * 5, "binary"),
        ([0, 1, 2, 0, 1] * 2, "multiclass"),
        ([0.5, 1.0] * 5, "regression"),
        ([[0, 1]] * ROWS, "multilabel"),
        (GRID, "regression"),
    ],
)
def test_values_tell_the_kind(target: Any, kind: str) -> None:
    assert data_of(target).spec.targets["y"].kind == kind


def test_classes_are_sorted_and_coded() -> None:
    data = data_of(["pear", "apple", "fig", "fig", "apple"] * 2)
    assert data.spec.targets["y"].classes == ("apple", "fig", "pear")
    assert values_of(data).tolist() == [2, 0, 1, 1, 0] * 2


def test_a_target_knows_the_shares_of_classes_among_labelled_training_rows() -> None:
    found = data_of(["b", "a", "a", "a", None, "b", "a", "a", "b", "b"]).spec.targets["y"]
    assert found.shares == pytest.approx((5 / 7, 2 / 7))
    other = data_of(["a", "b"] * 5).spec.targets["y"]
    assert other.shares != found.shares
    assert other == found  # which rows there were is not what the target is


def test_numbers_are_sorted_as_numbers() -> None:
    assert data_of([2, 10, 9, 2, 10] * 2).spec.targets["y"].classes == ("2", "9", "10")


@pytest.mark.parametrize(
    "target",
    [
        [1, 0, None, 1, 0] * 2,
        [1.0, 0.0, NAN, 1.0, 0.0] * 2,
        [1, 0, -1, 1, 0] * 2,
        pd.Series([1, 0, None, 1, 0] * 2, dtype="Int64"),
        ["b", "a", None, "b", "a"] * 2,
    ],
)
def test_an_unknown_label_is_minus_one(target: Any) -> None:
    data = data_of(target)
    assert len(data.spec.targets["y"].classes) == 2
    assert values_of(data).tolist() == [1, 0, -1, 1, 0] * 2


def test_an_unknown_value_is_nan_and_counts_in_no_statistic() -> None:
    data = data_of([1.5, NAN, 2.5, None, 1.5, 2.5, 1.5, 2.5, 99.0, 99.0])
    found = data.spec.targets["y"]
    assert (found.mean, found.std) == ((2.0,), (0.5,))
    assert values_of(data).isnan().tolist() == [i in (1, 3) for i in range(ROWS)]


def test_several_labels_keep_their_names() -> None:
    frame = pd.DataFrame({"old": [0, 1] * 5, "new": [1, 1] * 5})
    data = data_of(frame)
    assert data.spec.targets["y"].classes == ("old", "new")
    assert values_of(data).tolist() == [[0, 1], [1, 1]] * 5


def test_several_targets_go_side_by_side() -> None:
    data = ArrayData({"a": GRID}, {"sick": [0, 1] * 5, "age": np.arange(ROWS) / 2}, split=SPLIT)
    target = data.dataset("train").__getitems__([3]).target
    assert {t: v.tolist() for t, v in target.items()} == {"sick": [1], "age": [1.5]}


def test_classes_weigh_by_the_inverse_of_their_training_frequency() -> None:
    labels = ["a"] * 6 + ["b"] * 2 + ["b", "b"]  # six and two among the training rows
    found = data_of(labels, is_class_weighted=True).spec.targets["y"]
    assert found.weights == pytest.approx((8 / (2 * 6), 8 / (2 * 2)))


def test_labels_weigh_their_positives_by_negatives_over_positives() -> None:
    labels = np.array([[1, 0]] * 6 + [[0, 1]] * 2 + [[0, 1]] * 2)
    found = data_of(labels, is_class_weighted=True).spec.targets["y"]
    assert found.weights == pytest.approx((2 / 6, 6 / 2))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["x", "y", "z", None]), min_size=6, max_size=20))
def test_codes_read_back_as_the_labels(labels: list[str | None]) -> None:
    labels = [*labels, "x", "y"]
    grid = np.arange(len(labels))[:, None]
    data = ArrayData({"a": grid}, labels, split=["train"] * len(labels), val=0)
    classes = data.spec.targets["y"].classes
    codes = data.dataset("train").__getitems__(range(len(labels))).target["y"].tolist()
    assert [None if c == -1 else classes[c] for c in codes] == labels


# A model trained before: its classes, levels and statistics hold for new rows.


def trained() -> DataSpec:
    frame = pd.DataFrame({"size": np.arange(ROWS), "town": ["Ulm", "Bern"] * 5})
    target = ["a", "b", "c", "a", "b"] * 2
    return ArrayData({"facts": frame}, target, split=SPLIT, on_duplicates="allow").spec


def new(sizes: list[Any], towns: list[Any], target: Any = None, **options: Any) -> ArrayData:
    frame = pd.DataFrame({"size": sizes, "town": towns})
    data = ArrayData({"facts": frame}, target, test=1, on_duplicates="allow", **options)
    data.adopt(trained())
    return data


def test_new_rows_take_the_codes_of_training() -> None:
    data = new([1, 2, 3], ["Ulm", "Bern", "Rome"], ["c", "b", None])
    batch = data.dataset("test").__getitems__([0, 1, 2])
    assert batch.inputs["facts"].tolist() == [[1, 2], [2, 1], [3, 0]]  # Rome was never seen
    assert batch.target["y"].tolist() == [2, 1, -1]


def test_new_rows_change_neither_statistics_nor_classes() -> None:
    assert new([1e6, 2e6], ["Ulm", "Rome"], ["a", "a"]).spec == trained()


def test_new_rows_need_no_labels() -> None:
    data = new([1, 2], ["Ulm", "Bern"])
    batch = next(iter(data.test_dataloader()))
    assert batch.target is None
    assert data.facts("test").group.tolist() == [-1, -1]


def test_a_gap_in_new_rows_takes_the_mean_of_training() -> None:
    data = new([1.0, None, 1e6], ["Ulm", "Ulm", "Ulm"], missing_cells="mean")
    shown = data.dataset("test").__getitems__([1]).inputs["facts"]
    assert shown[0, 0].item() == pytest.approx(np.arange(8).mean())


def test_a_modality_may_be_absent_from_all_new_rows() -> None:
    data = new([None, None], [None, None])
    batch = data.dataset("test").__getitems__([0, 1])
    assert not batch.present.any()
    assert batch.inputs["facts"].shape == (2, 2)


@pytest.mark.parametrize("rows", [np.ones((6, 2)), np.ones((6, 3, 2)), ["a b"] * 6])
def test_a_modality_of_any_kind_may_be_absent_from_all_new_rows(rows: Any) -> None:
    options: dict[str, Any] = {"on_duplicates": "allow"}
    spec = ArrayData({"a": rows}, split=["train"] * 6, val=0, **options).spec
    data = ArrayData({"a": [None] * 3}, test=1)
    data.adopt(spec)
    batch = next(iter(data.test_dataloader()))
    assert not batch.present.any()
    spec.check(batch)


def test_a_column_in_another_role_is_refused() -> None:
    with pytest.raises(DataError, match=r"numbers \['size'\] and categories \['town'\], the data"):
        new([1, 2], [None, None]).setup()
    data = new([1, 2], [None, None], categorical={"facts": ["town"]})
    assert data.dataset("test").__getitems__([1]).inputs["facts"].tolist() == [[2, 0]]


def test_a_new_label_is_refused() -> None:
    with pytest.raises(DataError, match=r"'y' holds \['d'\].*\['a', 'b', 'c'\]"):
        new([1, 2], ["Ulm", "Bern"], ["a", "d"]).setup()


def test_another_number_of_values_is_refused() -> None:
    spec = data_of(GRID).spec
    data = ArrayData({"a": GRID}, GRID[:, 0], test=1)
    data.adopt(spec)
    with pytest.raises(DataError, match=r"'y' has 1 values a row, the model 2"):
        data.setup()


def test_levels_are_those_of_present_training_rows() -> None:
    frame = pd.DataFrame({"town": ["Ulm", "Bern"] * 4 + ["Rome", "Oslo"]})
    data = ArrayData({"a": frame}, split=SPLIT, on_duplicates="allow")
    found = data.spec.modalities["a"]
    assert (found.levels, found.categories) == ((("Bern", "Ulm"),), (3,))
    shown = data.dataset("train").__getitems__(range(ROWS)).inputs["a"]
    assert shown.squeeze(1).tolist() == [2, 1] * 4 + [0, 0]


def test_numbers_declared_categorical_are_coded_by_level() -> None:
    data = ArrayData(
        {"a": pd.DataFrame({"code": [30.0, 7.0, None, 30.0, 7.0] * 2, "size": np.arange(ROWS)})},
        categorical={"a": ["code"]},
        split=SPLIT,
    )
    found = data.spec.modalities["a"]
    assert (found.columns, found.levels) == (("size", "code"), (("30", "7"),))
    shown = data.dataset("train").__getitems__([0, 1, 2]).inputs["a"]
    assert shown.tolist() == [[0, 1], [1, 2], [2, 0]]
