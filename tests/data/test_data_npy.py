"""NumPy files, one a modality; ids that name the rows of a source."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.data import ArrayData, FusionDataModule, HFData, NpyData, NpzData, TableData
from mmfuse.errors import ConfigError, DataError, MissingFileError

ROWS = np.arange(12).reshape(6, 2)
IDS = ["f", "e", "d", "c", "b", "a"]


def files(folder: Path, **arrays: np.ndarray) -> dict[str, str]:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return {name: str(folder / f"{name}.npy") for name in arrays}


def test_half_precision_becomes_float32_and_nan_is_absent(tmp_path: Path) -> None:
    half = ROWS.astype(np.float16)
    half[2] = np.nan
    data = NpyData(files(tmp_path, image=half, text=ROWS[:, :1]))
    batch = data.dataset("train", missing=None).__getitems__(range(6))
    assert batch.inputs["image"].dtype == torch.float32
    assert batch.inputs["image"][5].tolist() == [10, 11]
    assert batch.present.tolist() == [[i != 2, True] for i in range(6)]
    assert set(data.settings()["sha256"]) == {"image", "text"}


def test_a_file_that_is_not_there_or_no_array_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no\.npy"):
        NpyData({"a": str(tmp_path / "no.npy")}).setup()
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(DataError, match=r"text\.npy cannot be read"):
        NpyData({"a": str(tmp_path / "text.npy")}).setup()
    with pytest.raises(DataError, match="'a': 6, 'b': 5"):
        NpyData(files(tmp_path, a=ROWS, b=ROWS[1:])).setup()


def sources(folder: Path) -> list[FusionDataModule]:
    frame = pd.DataFrame(ROWS, columns=["x", "y"]).assign(id=IDS)
    frame.to_csv(folder / "rows.csv", index=False)
    frame.to_parquet(folder / "rows.parquet")
    np.savez(folder / "rows.npz", v=ROWS, id=np.array(IDS))
    datasets.Dataset.from_pandas(frame).save_to_disk(str(folder / "saved"))
    columns = {"v": ["x", "y"]}
    return [
        TableData(str(folder / "rows.csv"), columns),
        TableData(str(folder / "rows.parquet"), columns),
        HFData(str(folder / "saved"), columns),
        NpzData(str(folder / "rows.npz"), ["v"]),
    ]


def test_a_column_names_the_rows(tmp_path: Path) -> None:
    for data in sources(tmp_path):
        assert data.ids("id").tolist() == IDS
        with pytest.raises(DataError, match="'identity'"):
            data.ids("identity")


def test_arrays_have_no_column_of_ids() -> None:
    with pytest.raises(ConfigError, match="ArrayData has no column 'id'"):
        ArrayData({"a": ROWS}).ids("id")
