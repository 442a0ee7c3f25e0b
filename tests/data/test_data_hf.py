"""Hugging Face data sets saved to disk, read where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest

from mmfuse.data import ArrayData, HFData
from mmfuse.data.columns import NumberColumn
from mmfuse.data.groups import ColumnGroup
from mmfuse.errors import ConfigError, DataError, MissingFileError

COLUMNS: dict[str, list[Any]] = {
    "vector": [[1.0, 2.0], None, [3.0, 4.5], [5.0, 6.0], [7.0, 8.0], [9.0, 1.0]],
    "walk": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]], None, [[5.0, 6.0]], [[1.0, 1.0]], None],
    "note": ["well", None, "ill", "ill again", None, "well"],
    "age": [31.0, 42.0, 53.0, None, 75.0, 86.0],
    "town": ["Ulm", "Bern", "Ulm", None, "Bern", "Ulm"],
    "label": ["no", "yes", "no", "yes", "no", "yes"],
    "part": ["train", "train", "train", "train", "val", "test"],
}
MODALITIES = {"vector": "vector", "walk": "walk", "note": "note", "person": ["age", "town"]}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def save(folder: Path, columns: dict[str, Any] | None = None) -> str:
    path = str(folder / "saved")
    datasets.Dataset.from_dict(columns or COLUMNS).save_to_disk(path)
    return path


def test_a_null_is_an_absence(tmp_path: Path) -> None:
    data = HFData(save(tmp_path), MODALITIES, "label", split="part")
    batch = data.dataset("train").__getitems__(range(6))
    expected = [
        [COLUMNS[m][i] is not None for m in ("vector", "walk", "note")]
        + [COLUMNS["age"][i] is not None or COLUMNS["town"][i] is not None]
        for i in range(6)
    ]
    assert batch.present.tolist() == expected
    assert batch.inputs["vector"][[0, 2]].tolist() == [[1.0, 2.0], [3.0, 4.5]]
    assert batch.inputs["walk"].mask.sum(1).tolist() == [1, 2, 0, 1, 1, 0]
    assert batch.inputs["person"][[0, 1]].tolist() == [[31, 2], [42, 1]]
    assert batch.target["label"].tolist() == [0, 1] * 3


def test_it_reads_as_the_same_values_in_memory(tmp_path: Path) -> None:
    saved = HFData(save(tmp_path), {"vector": "vector", "walk": "walk"}, split="part")
    arrays = ArrayData({m: COLUMNS[m] for m in ("vector", "walk")}, split=COLUMNS["part"])
    assert saved.spec.modalities == arrays.spec.modalities
    one, other = (d.dataset("train").__getitems__([3, 0]) for d in (saved, arrays))
    assert one.inputs["vector"].equal(other.inputs["vector"])
    assert one.inputs["walk"].values.equal(other.inputs["walk"].values)


def test_the_parts_of_a_dict_give_the_split(tmp_path: Path) -> None:
    parts = {"train": slice(0, 3), "validation": slice(3, 4), "test": slice(4, 6)}
    made = {
        name: datasets.Dataset.from_dict({k: v[rows] for k, v in COLUMNS.items()})
        for name, rows in parts.items()
    }
    datasets.DatasetDict(made).save_to_disk(tmp_path / "saved")
    data = HFData(str(tmp_path / "saved"), {"vector": "vector"}, val=0)
    assert [data.rows(s).tolist() for s in ("train", "val", "test")] == [[0, 1, 2], [3], [4, 5]]
    shown = data.dataset("train").__getitems__([5, 0, 3]).inputs["vector"]
    assert shown.tolist() == [COLUMNS["vector"][i] for i in (5, 0, 3)]


def test_groups_come_from_a_column(tmp_path: Path) -> None:
    columns = {"x": [[float(i)] for i in range(40)], "who": [f"p{i // 4}" for i in range(40)]}
    data = HFData(save(tmp_path, columns), {"x": "x"}, groups="who")
    homes = [{columns["who"][r] for r in data.rows(s)} for s in ("train", "val", "test")]
    assert sum(map(len, homes)) == 10


@pytest.mark.parametrize("width", [None, 2])
def test_chunks_are_one_column(width: int | None) -> None:
    kind = pa.list_(pa.float64()) if width is None else pa.list_(pa.float64(), width)
    rows = [[float(i), i + 0.5] if i % 3 else None for i in range(20)]
    # Slices have an offset into their buffers, which a reader may forget.
    whole = pa.array(rows, kind)
    column = NumberColumn(
        pa.chunked_array([whole[:7], whole[7:7], whole[7:8], whole[8:]]), (2,), "a"
    )
    order = np.array([19, 1, 7, 8, 0, 13, 4])
    present = column.present[order]
    assert present.tolist() == [i % 3 != 0 for i in order]
    assert column.take(order)[present].tolist() == [rows[i] for i in order if i % 3]


def test_a_row_of_another_length_is_named() -> None:
    column = pa.chunked_array([pa.array([[1.0, 2.0], None, [3.0]], pa.list_(pa.float32()))])
    with pytest.raises(DataError, match=r"'a': row 2 has 1 numbers, expected 2"):
        NumberColumn(column, (2,), "a")


def test_vectors_agree_in_width(tmp_path: Path) -> None:
    columns = {"a": [[1.0, 2.0], [1.0], None, [3.0, 4.0]]}
    group = ColumnGroup("a", kind="vector")
    with pytest.raises(DataError, match=r"'a': vectors of unequal length: \[1, 2\]"):
        HFData(save(tmp_path, columns), {"a": group}, val=0, test=0.25).setup()


def test_steps_agree_in_width(tmp_path: Path) -> None:
    columns = {"a": [[[1.0, 2.0]], [[1.0]], None]}
    with pytest.raises(DataError, match="'a': steps hold"):
        HFData(save(tmp_path, columns), {"a": "a"}).setup()


def test_a_modality_absent_everywhere_is_named(tmp_path: Path) -> None:
    data = {"a": [[1.0], [2.0], [3.0]], "b": [None, None, [1.0]]}
    saved = HFData(save(tmp_path, data), {"a": "a", "b": "b"}, val=0, test=0.34, seed=1)
    rows = saved.read()
    assert rows.modalities["b"].shape == (1,)
    split = {**data, "part": ["train", "train", "test"]}
    with pytest.raises(DataError, match="'b' is absent from all 2 training rows"):
        HFData(save(tmp_path / "x", split), {"a": "a", "b": "b"}, split="part", val=0).setup()


def test_nan_within_a_row_is_named(tmp_path: Path) -> None:
    columns = {"a": [[1.0, 2.0], [1.0, float("nan")], [3.0, 4.0]]}
    with pytest.raises(DataError, match="'a': row 1 counts as present but holds nan"):
        HFData(save(tmp_path, columns), {"a": "a"}).setup()


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'notes'.*Did you mean 'note'\?"):
        HFData(save(tmp_path), {"note": "notes"}).setup()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nowhere"):
        HFData(str(tmp_path / "nowhere"), MODALITIES).setup()


def test_a_folder_of_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read as a saved data set"):
        HFData(str(tmp_path), MODALITIES).setup()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = Path(save(tmp_path))
    next(path.glob("*.arrow")).write_bytes(b"nothing of use")
    with pytest.raises(DataError, match="saved cannot be read"):
        HFData(str(path), MODALITIES).setup()


def test_an_unknown_part_is_named(tmp_path: Path) -> None:
    part = datasets.Dataset.from_dict(COLUMNS)
    datasets.DatasetDict({"train": part, "holdout": part}).save_to_disk(tmp_path / "saved")
    with pytest.raises(ConfigError, match=r"parts \['holdout'\]"):
        HFData(str(tmp_path / "saved"), MODALITIES).setup()


def test_the_settings_tell_other_content_at_the_same_place(tmp_path: Path) -> None:
    data = HFData(save(tmp_path), MODALITIES, "label", split="part")
    first = data.settings()
    assert first == data.settings()
    save(tmp_path, COLUMNS | {"age": [1.0] * 6})
    assert first != data.settings()
