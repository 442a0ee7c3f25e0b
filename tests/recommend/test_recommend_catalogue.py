"""Modalities of items: joined by id, absent where there are none, the same however read."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.data import ArrayData, TableData
from mmfuse.errors import DataError
from mmfuse.missing import MCAR, LabelMNAR
from mmfuse.recommend import InteractionArrays, RecommendationData

# Items 0 to 3 are taken in training, 4 in test alone, 5 and 6 by nobody.
USERS = [0, 0, 0, 1, 1, 2, 2]
ITEMS = [0, 1, 2, 0, 3, 0, 4]
SPLIT = ["train"] * 6 + ["test"]
NAN = np.nan
IMAGE = np.array([[1.0, 2], [3, 4], [NAN, NAN], [5, 6], [700, 800], [9, 10], [NAN, NAN]])
TEXT = np.arange(7.0)[:, None]


def make(items: ArrayData | None = None, **options: object) -> RecommendationData:
    source = InteractionArrays(USERS, ITEMS, split=SPLIT)
    return RecommendationData(source, items or arrays(), **options)


def arrays(**options: object) -> ArrayData:
    return ArrayData({"image": IMAGE, "text": TEXT}, **options)


def assert_same(one: Batch, other: Batch) -> None:
    """Equal in whatever has a meaning."""
    assert torch.equal(one.index, other.index)
    assert torch.equal(one.present, other.present)
    for m, rows in one.present_rows.items():
        if len(rows):
            assert torch.equal(one.inputs[m][rows], other.inputs[m][rows])


def test_row_i_is_item_i_where_ids_are_numbers() -> None:
    catalogue = make().catalogue
    batch = catalogue.batch()
    assert len(catalogue) == len(batch) == 7
    assert batch.index.tolist() == list(range(7))
    assert batch.present.tolist() == [[i not in (2, 6), True] for i in range(7)]
    assert torch.equal(batch.inputs["text"], torch.from_numpy(TEXT).float())
    features = catalogue.features()
    assert features["image"][[2, 6]].abs().sum() == 0
    assert features["image"][4].tolist() == [700, 800]


def test_statistics_are_those_of_items_in_training() -> None:
    spec = make().spec.modalities
    assert spec["image"].mean == (3, 4)  # the mean of items 0, 1 and 3
    assert spec["text"].mean == (1.5,)


def test_options_of_the_items_data_hold() -> None:
    assert not make(arrays(standardise=False)).spec.modalities["image"].mean
    scaled = make(arrays(scale="range")).spec.modalities["image"]
    assert (scaled.mean, scaled.std) == ((1, 2), (4, 4))
    assert list(make(arrays(only=["text"])).spec.modalities) == ["text"]


def test_items_in_training_are_counted() -> None:
    counts = make().counts
    assert (counts["items"], counts["items_without_training"]) == (7, 3)
    assert counts["items_without_modality"] == 0


@pytest.mark.parametrize("missing", [None, MCAR(0.5, seed=1), MCAR(0.9, keep_one=False)])
def test_resident_rows_are_those_that_are_read_each_time(missing: MCAR | None) -> None:
    kept = make(arrays(missing=missing, test_missing=MCAR(0.3, seed=5))).catalogue
    read = make(arrays(missing=missing, test_missing=MCAR(0.3, seed=5)), resident_limit=0).catalogue
    assert (kept.resident, read.resident) == (True, False)
    for split in ("train", "val", "test"):
        for items in (None, torch.tensor([6, 0, 0, 3])):
            assert_same(kept.batch(items, split), read.batch(items, split))
        assert torch.equal(kept.batch(None, split).present, kept.presence(split))


def test_simulated_absence_is_the_splits_own() -> None:
    nobody = MCAR({"image": 1.0}, keep_one=False)
    catalogue = make(arrays(test_missing=nobody)).catalogue
    assert torch.equal(catalogue.present, catalogue.presence("val"))
    assert not catalogue.presence("test")[:, 0].any()
    assert not catalogue.batch(missing=nobody).present[:, 0].any()
    assert torch.equal(catalogue.batch(split="test", missing=None).present, catalogue.present)


def test_the_group_of_an_item_is_whether_it_is_popular() -> None:
    popular = LabelMNAR(1.0, keep_one=False)
    shown = make(arrays(missing=popular)).catalogue.present
    assert shown.any(dim=1).tolist() == [False] + [True] * 6
    shown = make(arrays(missing=popular.flipped())).catalogue.present
    assert shown.any(dim=1).tolist() == [True] + [False] * 6


# Ids.


def named(folder: Path, ids: list[object], **options: object) -> RecommendationData:
    frame = pd.DataFrame({"asin": ids, "x": range(len(ids))})
    frame.to_parquet(folder / "items.parquet")
    items = TableData(str(folder / "items.parquet"), {"x": ["x"]})
    source = InteractionArrays(["ann", "ann", "bob", "bob"], ["q", "w", "e", "q"])
    return RecommendationData(source, items, item_id="asin", **options)


def test_a_column_names_the_rows(tmp_path: Path) -> None:
    data = named(tmp_path, ["z", "w", "q"])
    assert data.interactions.item_ids.tolist() == ["e", "q", "w", "z"]
    batch = data.catalogue.batch()
    assert batch.present[:, 0].tolist() == [False, True, True, True]
    assert batch.inputs["x"][1:, 0].tolist() == [2, 1, 0]
    assert data.catalogue.batch(torch.tensor([0])).present.tolist() == [[False]]
    assert data.counts["items_without_modality"] == 1
    pairs = data.interactions
    assert pairs.item_ids[pairs.item.numpy()].tolist() == ["q", "w", "e", "q"]


def test_rows_that_no_interaction_names_may_be_left_out(tmp_path: Path) -> None:
    data = named(tmp_path, ["z", "w", "q"], unseen="drop")
    assert data.interactions.item_ids.tolist() == ["e", "q", "w"]
    assert data.catalogue.batch().present[:, 0].tolist() == [False, True, True]


def test_an_item_that_was_ruled_out_does_not_come_back(tmp_path: Path) -> None:
    data = named(tmp_path, ["z", "w", "q", "e"], item_core=2)
    assert data.interactions.item_ids.tolist() == ["q", "z"]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["q", "w", "q"], "name several rows, such as 'q'"),
        (["q", None, "w"], "Rows of items: 1 row"),
        (["Q", "W", "E"], "None of 3 rows of the items' data has the id of an item"),
        ([1, 2, 3], "strings on one side, numbers on the other"),
    ],
)
def test_ids_that_do_not_fit_are_refused(tmp_path: Path, ids: list[object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        named(tmp_path, ids).setup()


def test_ids_may_be_a_list() -> None:
    source = InteractionArrays([1, 1, 2], ["b", "c", "c"])
    items = ArrayData({"x": [[1.0], [2.0], [3.0]]})
    data = RecommendationData(source, items, item_id=["c", "b", "a"])
    assert data.catalogue.batch().inputs["x"][:, 0].tolist() == [3, 2, 1]
    with pytest.raises(DataError, match="3 rows and 2 ids"):
        RecommendationData(source, items, item_id=["c", "b"]).setup()


# Without item_id: rows are named by their number.


def numbered(items: list[int] | list[str], rows: int, **options: object) -> RecommendationData:
    source = InteractionArrays([f"u{i % 5}" for i in range(len(items))], items)
    return RecommendationData(source, ArrayData({"x": np.eye(rows)}), **options)


@pytest.mark.parametrize(
    ("items", "rows", "words"),
    [
        # Seven rows beside items numbered to 57: 51 have no row.
        (list(range(58)), 7, r"here 0 to 6, and 51 of 58 items are numbered otherwise, such as 57"),
        (list(range(1, 31)), 30, "1 of 30 items .* as many rows as items: .* do not start at 0"),
        ([*range(50), 70], 51, "1 of 51 items .* as many rows as items: numbers have gaps"),
        ([-1, 0, 1, 2], 9, "1 of 4 items are numbered otherwise, such as -1"),
        (["b", "a", "c"], 3, "items are named by strings, such as 'a'.*with item_id"),
    ],
)
def test_items_that_are_no_numbers_of_rows_are_refused(
    items: list[int] | list[str], rows: int, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        numbered(items, rows).setup()
    listed = [*sorted(set(items)), *range(900, 900 + rows)][:rows]
    if isinstance(items[0], int):
        numbered(items, rows, item_id=listed).setup()


def test_a_few_items_beyond_the_rows_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="mmfuse"):
        data = numbered([*range(50), 103, 104], 100)
        present = data.catalogue.presence()
    assert present.any(dim=1).tolist() == [True] * 100 + [False] * 2
    assert "2 of 52 items are numbered otherwise, such as 104" in caplog.text
    caplog.clear()
    numbered(list(range(50)), 100).setup()
    assert not caplog.text


def test_a_core_that_leaves_few_items_does_not_look_like_gaps() -> None:
    source = InteractionArrays([0, 1, 0, 1, 2, 2], [0, 0, 9, 9, 4, 5])
    data = RecommendationData(source, ArrayData({"x": np.eye(10)}), item_core=2)
    assert data.catalogue.presence().any(dim=1).all()
    assert data.interactions.item_ids.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


# Modalities that are read and prepared in the workers.


def lengths(texts: list[str]) -> Tensor:
    return torch.tensor([[float(len(t))] for t in texts])


def test_texts_come_with_each_batch_as_their_encoder_takes_them() -> None:
    texts = ["a", "bb", None, "dddd", "eeeee", None, "g"]
    data = make(ArrayData({"title": texts}))
    data.attach({"title": lengths})
    assert not data.catalogue.resident
    assert data.catalogue.features() == {}
    batch = next(iter(data.train_dataloader()))
    content = batch.content
    assert torch.equal(content.index, batch.distinct_items())
    for row, item in enumerate(content.index.tolist()):
        assert bool(content.present[row, 0]) == (texts[item] is not None)
        if texts[item] is not None:
            assert content.inputs["title"][row].item() == len(texts[item])


def test_resident_items_are_read_once_and_travel_with_no_batch() -> None:
    data = make()
    assert next(iter(data.train_dataloader())).content is None
    assert data.catalogue.batch().inputs["text"] is data.catalogue.batch().inputs["text"]


def test_preprocessing_that_is_attached_later_holds_for_resident_items_too() -> None:
    data = make()
    assert data.catalogue.batch().inputs["text"][3].item() == 3
    data.attach({"text": lambda rows: rows + 100})
    assert data.catalogue.batch().inputs["text"][3].item() == 103


def test_statistics_of_a_trained_model_are_adopted() -> None:
    data = make()
    text = data.spec.modalities["text"]
    other = replace(data.spec, modalities={"text": replace(text, mean=(9.0,), std=(2.0,))})
    data.adopt(other)
    assert data.spec == other
    assert data.catalogue.batch().modalities == ("text",)
    again = make()
    again.adopt(other)  # before it is set up
    assert again.spec == other


def test_an_item_that_cannot_be_read_is_told_by_its_code() -> None:
    def read(texts: list[str]) -> Tensor:
        if "bad" in texts:
            raise DataError("This text is bad.")
        return lengths(texts)

    source = InteractionArrays(["x", "x", "y"], ["c", "a", "c"])
    items = ArrayData({"title": ["bad", "good", "fine"]}, on_error="absent")
    data = RecommendationData(source, items, item_id=["c", "b", "a"])
    data.attach({"title": read})
    batch = data.catalogue.batch()
    assert batch.present[:, 0].tolist() == [True, True, False]
    assert [(p.row, p.modality) for p in batch.problems] == [(2, "title")]
    assert batch.inputs["title"][:2, 0].tolist() == [4, 4]
