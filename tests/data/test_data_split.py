"""Splits: who trains, who validates, who tests; and rows that occur twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.data import ArrayData
from mmfuse.data.split import split_rows
from mmfuse.errors import DataError

GRID = np.random.default_rng(0).normal(size=(100, 2))


def as_lists(parts: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: rows.tolist() for name, rows in parts.items()}


def test_a_given_split_is_kept() -> None:
    given = np.array(["test", "train", "val", "train"])
    assert as_lists(split_rows(4, given)) == {"train": [1, 3], "val": [2], "test": [0]}


def test_validation_rows_that_a_given_split_lacks_come_from_training_rows() -> None:
    parts = split_rows(50, np.array(["train"] * 40 + ["test"] * 10), val=0.25)
    assert len(parts["val"]) == 10
    assert parts["val"].max() < 40
    assert parts["test"].tolist() == list(range(40, 50))


@pytest.mark.parametrize(("val", "test"), [(0.2, 0.2), (0.1, 0.3), (0, 0.5), (0.25, 0), (0, 0)])
def test_drawn_splits_have_their_share_and_hold_every_row_once(val: float, test: float) -> None:
    parts = split_rows(200, val=val, test=test)
    assert len(parts["val"]) == round(200 * val)
    assert len(parts["test"]) == round(200 * test)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    assert all((np.diff(rows) > 0).all() for rows in parts.values())


def test_all_rows_may_test() -> None:
    assert as_lists(split_rows(3, test=1)) == {"train": [], "val": [], "test": [0, 1, 2]}


def test_draws_follow_the_seed() -> None:
    first, again, other = (as_lists(split_rows(80, seed=s)) for s in (3, 3, 4))
    assert first == again != other


def test_validation_rows_of_a_given_split_follow_the_seed() -> None:
    given = np.array(["train"] * 60 + ["test"] * 20)
    first, again, other = (split_rows(80, given, seed=s)["val"].tolist() for s in (3, 3, 4))
    assert first == again != other


def test_a_split_seed_keeps_the_split_while_the_order_of_batches_moves() -> None:
    rows = [[float(i)] for i in range(40)]
    made = [ArrayData({"a": rows}, [0, 1] * 20, seed=s, split_seed=5) for s in (1, 2)]
    first, second = ([d.rows(s).tolist() for s in ("train", "val", "test")] for d in made)
    assert first == second
    drawn = ArrayData({"a": rows}, [0, 1] * 20, seed=5)
    assert drawn.rows("test").tolist() == first[2]
    orders = [next(iter(d.loader("train", is_training=True))).index.tolist() for d in made]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_draws_are_stratified() -> None:
    labels = np.array([0] * 80 + [1] * 15 + [2] * 5)
    parts = split_rows(100, labels=labels)
    assert np.bincount(labels[parts["test"]]).tolist() == [16, 3, 1]
    assert np.bincount(labels[parts["val"]]).tolist() == [16, 3, 1]


def test_one_row_without_a_label_leaves_the_others_stratified() -> None:
    labels = np.array([0] * 90 + [1] * 10 + [-1])
    for seed in range(8):
        assert (labels[split_rows(101, labels=labels, seed=seed)["test"]] == 1).sum() == 2


def test_a_label_too_rare_to_stratify_by_is_no_error() -> None:
    labels = np.array([0] * 49 + [1])
    assert len(split_rows(50, labels=labels)["test"]) == 10


def test_regression_is_stratified_by_quantiles() -> None:
    target = np.arange(100.0) + 0.5
    data = ArrayData({"a": GRID}, target)
    bins = np.bincount(data.rows("test").numpy() // 20, minlength=5)
    assert bins.tolist() == [4] * 5


@settings(max_examples=40, deadline=None)
@given(
    groups=st.lists(st.integers(0, 8), min_size=12, max_size=60).filter(lambda g: len(set(g)) > 4),
    seed=st.integers(0, 1000),
    is_labelled=st.booleans(),
)
def test_no_group_is_ever_parted(groups: list[int], seed: int, is_labelled: bool) -> None:
    array = np.array(groups)
    labels = np.arange(len(array)) % 2 if is_labelled else None
    parts = split_rows(len(array), labels=labels, groups=array, seed=seed)
    homes = [set(array[rows]) for rows in parts.values()]
    assert sum(map(len, homes)) == len(set(groups))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(len(array)))
    assert as_lists(parts) == as_lists(
        split_rows(len(array), labels=labels, groups=array, seed=seed)
    )


def test_grouped_splits_are_stratified_too() -> None:
    groups = np.repeat(np.arange(50), 4)
    labels = np.repeat(np.arange(50) % 5 == 0, 4).astype(int)
    test = split_rows(200, labels=labels, groups=groups)["test"]
    assert np.bincount(labels[test]).tolist() == [32, 8]


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match="1 group"):
        split_rows(10, groups=np.zeros(10, int))


def test_groups_may_be_names() -> None:
    patients = [f"patient {i // 4}" for i in range(100)]
    data = ArrayData({"a": GRID}, groups=patients)
    homes = [{patients[r] for r in data.rows(name)} for name in ("train", "val", "test")]
    assert sum(map(len, homes)) == 25
    assert all(homes)


def test_a_saved_split_gives_the_same_rows_again(tmp_path: Path) -> None:
    data = ArrayData({"a": GRID}, seed=5)
    data.save(tmp_path)
    saved = pd.read_parquet(tmp_path / "rows.parquet")
    again = ArrayData({"a": GRID}, split=saved["split"], seed=99)
    for name in ("train", "val", "test"):
        assert again.rows(name).tolist() == data.rows(name).tolist()


def test_another_seed_is_another_split_of_the_same_data() -> None:
    data = ArrayData({"a": GRID}, seed=1)
    other = data.reseeded(2)
    assert data.rows("test").tolist() != other.rows("test").tolist()
    assert other.reseeded(1).rows("test").tolist() == data.rows("test").tolist()


# Rows that occur twice.

#: Row 0 and 1 are the same training row twice; 2 validates and 3 tests with the same content.
DOUBLES = np.array([[1, 2], [1, 2], [1, 2], [1, 2], [3, 4], [5, 6], [5, 6]], dtype=float)
HOMES = ["train", "train", "val", "test", "train", "train", "train"]


def test_doubles_between_splits_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"3 row\(s\).*train row 0 = val row 2.*on_duplicates"):
        ArrayData({"a": DOUBLES}, split=HOMES).setup()


def test_every_double_leaves_the_earlier_split() -> None:
    data = ArrayData({"a": DOUBLES}, split=HOMES, on_duplicates="drop")
    assert data.rows("train").tolist() == [4, 5, 6]  # doubles within one split stay
    assert data.rows("val").tolist() == []
    assert data.rows("test").tolist() == [3]


def test_dropped_rows_have_no_say_in_statistics(tmp_path: Path) -> None:
    data = ArrayData({"a": DOUBLES}, split=HOMES, on_duplicates="drop")
    assert data.spec.modalities["a"].mean == pytest.approx((13 / 3, 16 / 3))
    data.save(tmp_path)
    assert pd.read_parquet(tmp_path / "rows.parquet")["row"].tolist() == [3, 4, 5, 6]


def test_doubles_may_be_allowed() -> None:
    data = ArrayData({"a": DOUBLES}, split=HOMES, on_duplicates="allow")
    assert data.rows("train").tolist() == [0, 1, 4, 5, 6]


def test_a_double_agrees_in_every_modality_and_in_who_is_there() -> None:
    rows = {
        "a": [[1.0], [1.0], [1.0], [2.0]],
        "b": [[5.0], [6.0], None, [7.0]],
    }
    ArrayData(rows, split=["train", "val", "test", "train"]).setup()
    rows["b"][1] = [5.0]
    with pytest.raises(DataError, match=r"train row 0 = val row 1"):
        ArrayData(rows, split=["train", "val", "test", "train"]).setup()


def test_rows_with_nothing_present_are_no_doubles() -> None:
    rows = {"a": [[1.0], None, None, [2.0]]}
    ArrayData(rows, split=["train", "train", "test", "train"], val=0).setup()


def test_text_counts_as_content() -> None:
    rows = {"words": ["same", "other", "same"]}
    with pytest.raises(DataError, match=r"train row 0 = test row 2"):
        ArrayData(rows, split=["train", "train", "test"], val=0).setup()
