"""Arrays in memory become batches with a mask of who is there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mmfuse.data import ArrayData
from mmfuse.tokens import Tokens

ROWS = 8
SPLIT = ["train"] * 6 + ["val", "test"]
GRID = np.arange(ROWS * 3, dtype=np.float32).reshape(ROWS, 3)
EVERYONE = list(range(ROWS))


def batch_of(data: ArrayData):
    return data.dataset("train").__getitems__(EVERYONE)


def test_none_among_the_rows_is_absent() -> None:
    rows = [None if i in (1, 6) else GRID[i] for i in range(ROWS)]
    batch = batch_of(ArrayData({"a": rows}, split=SPLIT))
    assert batch.present[:, 0].tolist() == [i not in (1, 6) for i in range(ROWS)]


def test_a_row_of_nothing_but_nan_is_absent() -> None:
    values = GRID.copy()
    values[[0, 7]] = np.nan
    batch = batch_of(ArrayData({"a": torch.from_numpy(values)}, split=SPLIT))
    assert batch.present[:, 0].tolist() == [i not in (0, 7) for i in range(ROWS)]


def test_an_empty_row_of_a_frame_is_absent() -> None:
    frame = pd.DataFrame({"age": [20.0, None] * 4, "town": ["Ulm", None] * 4})
    batch = batch_of(ArrayData({"a": frame}, split=SPLIT, on_duplicates="allow"))
    assert batch.present[:, 0].tolist() == [True, False] * 4


def test_texts_may_be_absent_and_wait_for_their_encoder() -> None:
    data = ArrayData({"words": ["one two", None] * 4}, split=SPLIT, on_duplicates="allow")
    assert "words" not in batch_of(data).inputs
    data.attach({"words": lambda texts: torch.tensor([[len(t)] for t in texts])})
    batch = batch_of(data)
    assert batch.present[:, 0].tolist() == [True, False] * 4
    assert batch.inputs["words"][batch.present[:, 0]].tolist() == [[7]] * 4


@pytest.mark.parametrize(
    ("rows", "kind", "shape"),
    [
        (np.ones((ROWS, 4)), "vector", (4,)),
        (np.ones((ROWS, 5, 2)), "series", (5, 2)),
        (np.ones((ROWS, 3, 4, 4)), "image", (3, 4, 4)),
        ([np.ones((1 + i, 2)) for i in range(ROWS)], "series", (None, 2)),
        (["a", "b"] * 4, "text", ()),
        (pd.DataFrame({"n": [1.0, 2.0] * 4, "c": ["x", "y"] * 4}), "table", (2,)),
    ],
)
def test_axes_tell_the_kind(rows: object, kind: str, shape: tuple[int | None, ...]) -> None:
    data = ArrayData({"a": rows}, split=SPLIT, on_duplicates="allow")
    found = data.spec.modalities["a"]
    assert (found.kind, found.shape) == (kind, shape)


def test_series_of_unequal_length_are_padded_to_the_batch() -> None:
    rows = [np.full((1 + i, 2), i, np.float32) for i in range(ROWS)]
    rows[2] = None
    data = ArrayData({"a": rows}, split=SPLIT)
    batch = data.dataset("train").__getitems__([0, 2, 3])
    tokens = batch.inputs["a"]
    assert isinstance(tokens, Tokens)
    assert tokens.mask.sum(1).tolist() == [1, 0, 4]
    assert torch.equal(tokens.values[2], torch.full((4, 2), 3.0))


@settings(max_examples=50, deadline=None)
@given(present=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=3, max_size=12))
def test_any_pattern_of_absence_reaches_the_batch(present: list[tuple[bool, bool]]) -> None:
    # One row of each side must be there, or set-up rightly refuses.
    mask = np.array([*present, (True, True)])
    grid = np.arange(len(mask) * 2, dtype=np.float32).reshape(-1, 2)
    data = ArrayData(
        {
            "array": np.where(mask[:, :1], grid, np.nan),
            "list": [row if here else None for row, here in zip(grid, mask[:, 1], strict=True)],
        },
        split=["train"] * len(mask),
        val=0,
    )
    batch = data.dataset("train").__getitems__(range(len(mask)))
    assert batch.present.tolist() == mask.tolist()
    for i, name in enumerate(batch.modalities):
        shown = batch.inputs[name]
        assert isinstance(shown, Tensor)
        assert torch.equal(shown[mask[:, i]], torch.from_numpy(grid[mask[:, i]]))


@pytest.mark.parametrize("missing_cells", ["error", "mean"])
def test_nothing_depends_on_how_an_absence_was_written(missing_cells: str) -> None:
    as_none = [None if i == 3 else GRID[i] for i in range(ROWS)]
    as_nan = GRID.copy()
    as_nan[3] = np.nan
    as_frame = pd.DataFrame(as_nan)
    made = [
        ArrayData({"a": rows}, split=SPLIT, missing_cells=missing_cells)
        for rows in (as_none, as_nan, as_frame)
    ]
    first = batch_of(made[0])
    for data in made[1:]:
        batch = batch_of(data)
        here = batch.present[:, 0]
        assert torch.equal(batch.present, first.present)
        assert torch.equal(batch.inputs["a"][here], first.inputs["a"][here])
        assert data.spec.modalities["a"].mean == made[0].spec.modalities["a"].mean
        assert torch.equal(data.facts("train").value, made[0].facts("train").value)


def test_rows_are_fetched_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    data = ArrayData({"a": GRID, "b": GRID[:, :2]}, split=["train"] * ROWS, val=0, batch_size=4)
    loader = data.train_dataloader()
    asked: list[int] = []
    for column in loader.dataset.columns.values():
        fetch = column.fetch
        monkeypatch.setattr(
            column, "fetch", lambda rows, f=fetch: asked.append(len(rows)) or f(rows)
        )
    batches = list(loader)
    assert asked == [4] * 4  # two batches of two modalities
    assert sorted(torch.cat([b.index for b in batches]).tolist()) == EVERYONE


def test_the_index_joins_a_batch_to_its_rows() -> None:
    batch = ArrayData({"a": GRID}, split=SPLIT).dataset("train").__getitems__([5, 2])
    assert batch.index.tolist() == [5, 2]
    assert torch.equal(batch.inputs["a"], torch.from_numpy(GRID[[5, 2]]))


def test_means_and_deviations_are_those_of_present_training_rows() -> None:
    values = GRID.copy() ** 2
    values[1] = np.nan
    values[6:] *= 1e6
    found = ArrayData({"a": values}, split=SPLIT).spec.modalities["a"]
    there = values[[0, 2, 3, 4, 5]].astype(np.float64)
    np.testing.assert_allclose(found.mean, there.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.std, there.std(0), rtol=1e-6)


def test_statistics_of_many_blocks_are_those_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1e4, 1.0, (9001, 2)).astype(np.float32)
    found = ArrayData({"a": values}, split=["train"] * 9001, val=0).spec.modalities["a"]
    np.testing.assert_allclose(found.mean, values.astype(np.float64).mean(0), rtol=1e-9)
    np.testing.assert_allclose(found.std, values.astype(np.float64).std(0), rtol=1e-6)


def test_images_have_statistics_per_channel() -> None:
    images = np.random.default_rng(0).normal([[[[1.0]], [[5.0]]]], 1.0, (ROWS, 2, 3, 3))
    found = ArrayData({"a": images}, split=["train"] * ROWS, val=0).spec.modalities["a"]
    np.testing.assert_allclose(found.mean, images.mean((0, 2, 3)), rtol=1e-5)


def test_a_constant_feature_has_deviation_one() -> None:
    values = GRID.copy()
    values[:, 1] = 7
    assert ArrayData({"a": values}, split=SPLIT).spec.modalities["a"].std[1] == 1


def test_no_statistics_unless_wanted() -> None:
    found = ArrayData({"a": GRID}, split=SPLIT, standardise=False).spec.modalities["a"]
    assert found.mean == found.std == ()


def test_single_gaps_take_the_training_mean() -> None:
    values = GRID.copy()
    values[0, 1] = values[7, 1] = np.nan
    data = ArrayData({"a": values}, split=SPLIT, missing_cells="mean")
    batch = batch_of(data)
    mean = np.nanmean(values[:6, 1])
    assert batch.present.all()
    assert batch.inputs["a"][[0, 7], 1].tolist() == pytest.approx([mean, mean])
    assert torch.equal(batch.inputs["a"][1:7], torch.from_numpy(values[1:7]))


def test_the_digest_of_the_settings_follows_the_content() -> None:
    def digest(values: np.ndarray) -> str:
        return str(ArrayData({"a": values}, split=SPLIT).settings()["sha256"])

    other = GRID.copy()
    other[4, 2] += 1
    assert digest(GRID) == digest(GRID.copy()) != digest(other)
