"""The model says whether steps have a number of their own; a few new rows do not tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.data import ArrayData, HFData, TableData
from mmfuse.data.datamodule import FusionDataModule
from mmfuse.data.modalities import to_column
from mmfuse.errors import DataError
from mmfuse.spec import DataSpec
from mmfuse.tokens import Tokens


def walk(*lengths: int | None, width: int | None = 2) -> list[Any]:
    """Rows of so many steps, each counting from its own number."""
    tails = () if width is None else (width,)
    return [
        None if n is None else (100 * i + np.arange(n * (width or 1))).reshape(n, *tails).tolist()
        for i, n in enumerate(lengths)
    ]


def in_memory(rows: list[Any], folder: Path, **options: Any) -> FusionDataModule:
    given = [None if row is None else np.array(row) for row in rows]
    return ArrayData({"walk": given}, **options)


def in_parquet(rows: list[Any], folder: Path, **options: Any) -> FusionDataModule:
    path = folder / f"{len(list(folder.iterdir()))}.parquet"
    pd.DataFrame({"walk": rows}).to_parquet(path)
    return TableData(str(path), {"walk": "walk"}, **options)


def saved(rows: list[Any], folder: Path, **options: Any) -> FusionDataModule:
    path = str(folder / str(len(list(folder.iterdir()))))
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"walk": rows}).save_to_disk(path)
    return HFData(path, {"walk": "walk"}, **options)


Make = Callable[..., FusionDataModule]
every_source = pytest.mark.parametrize("make", [in_memory, in_parquet, saved])


def trained(make: Make, rows: list[Any], folder: Path) -> DataSpec:
    return make(rows, folder, val=0, test=0, on_duplicates="allow").spec


def read(make: Make, rows: list[Any], folder: Path, spec: DataSpec) -> Any:
    data = make(rows, folder, test=1)
    data.adopt(spec)
    assert data.spec == spec
    batch = next(iter(data.test_dataloader()))
    spec.check(batch)
    return batch


@every_source
@pytest.mark.parametrize("width", [2, 1, None], ids=["two channels", "one channel", "flat"])
def test_new_rows_of_equal_length_are_still_a_series(
    make: Make, width: int | None, tmp_path: Path
) -> None:
    spec = trained(make, walk(1, 3, 2, None, 4, 2, width=width), tmp_path)
    assert spec.modalities["walk"].shape == (None, width or 1)
    rows = walk(3, None, 3, width=width)

    batch = read(make, rows, tmp_path, spec)

    assert batch.present.squeeze(1).tolist() == [True, False, True]
    found = batch.inputs["walk"]
    assert isinstance(found, Tokens)
    assert found.mask.tolist() == [[True] * 3, [False] * 3, [True] * 3]
    for i in (0, 2):
        expected = torch.tensor(rows[i], dtype=torch.float32).view(3, width or 1)
        assert torch.equal(found.values[i], expected)


@every_source
def test_a_single_new_row_gives_the_same_content_as_among_others(
    make: Make, tmp_path: Path
) -> None:
    rows = walk(2, 3, 1, 4)
    spec = trained(make, rows, tmp_path)
    whole = read(make, rows, tmp_path, spec).inputs["walk"]
    for i, row in enumerate(rows):
        alone = read(make, [row], tmp_path, spec).inputs["walk"]
        assert torch.equal(alone.values[0], whole.values[i][whole.mask[i]])


@pytest.mark.parametrize("make", [in_memory, saved])
def test_a_model_of_so_many_steps_reads_them_however_they_are_stored(
    make: Make, tmp_path: Path
) -> None:
    spec = trained(in_memory, walk(3, 3, None, 3, 3), tmp_path)
    assert spec.modalities["walk"].shape == (3, 2)
    rows = walk(3, None, 3)
    found = read(make, rows, tmp_path, spec).inputs["walk"]
    assert found.shape == (3, 3, 2)
    assert found[2].tolist() == rows[2]


def test_a_slice_of_saved_rows_keeps_its_place(tmp_path: Path) -> None:
    spec = trained(in_memory, walk(3, 3, 3, 3), tmp_path)
    rows = walk(3, 3, None, 3)
    parts = {"train": rows[:1], "test": rows[1:]}
    frame = {name: datasets.Dataset.from_dict({"walk": part}) for name, part in parts.items()}
    datasets.disable_progress_bars()
    datasets.DatasetDict(frame).save_to_disk(str(tmp_path / "parts"))
    data = HFData(str(tmp_path / "parts"), {"walk": "walk"}, val=0)
    data.adopt(spec)
    found = data.dataset("test").__getitems__([1, 3]).inputs["walk"]
    assert found.tolist() == [rows[1], rows[3]]


@every_source
def test_another_number_of_steps_than_the_model_has_is_refused(make: Make, tmp_path: Path) -> None:
    spec = trained(in_memory, walk(3, 3, 3, 3), tmp_path)
    for rows in (walk(4, 4), walk(3, 2)):
        data = make(rows, tmp_path, test=1)
        data.adopt(spec)
        with pytest.raises(DataError, match=r"'walk'.*shape \(3, 2\)"):
            data.setup()


@every_source
def test_another_number_of_channels_than_the_model_has_is_refused(
    make: Make, tmp_path: Path
) -> None:
    spec = trained(make, walk(1, 2, 3, 4), tmp_path)
    for rows in (walk(3, 3, width=3), walk(3, 3, width=None), walk(1, 2, width=3)):
        data = make(rows, tmp_path, test=1)
        data.adopt(spec)
        with pytest.raises(DataError, match=r"'walk'.*shape \(None, 2\)"):
            data.setup()


def test_columns_of_a_table_are_no_steps(tmp_path: Path) -> None:
    spec = trained(in_memory, walk(1, 2, 3, 4, width=None), tmp_path)
    data = ArrayData({"walk": pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})}, test=1)
    data.adopt(spec)
    with pytest.raises(DataError, match=r"expects series.*hold vector"):
        data.setup()


def test_a_text_is_no_series(tmp_path: Path) -> None:
    spec = trained(in_memory, walk(1, 2, 3, 4), tmp_path)
    data = ArrayData({"walk": ["far", "near"]}, test=1)
    data.adopt(spec)
    with pytest.raises(DataError, match=r"expects series.*hold text"):
        data.setup()


@pytest.mark.parametrize(
    "nothing", [np.zeros((0, 3)), torch.zeros(0, 4, 2), [], pd.DataFrame({"a": []})]
)
def test_no_rows_at_all_are_refused(nothing: Any) -> None:
    with pytest.raises(DataError, match="'walk' has 0 rows"):
        to_column("walk", nothing)
    with pytest.raises(DataError, match="'walk' has 0 rows"):
        ArrayData({"walk": nothing}).setup()
