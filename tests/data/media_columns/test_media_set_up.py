"""Columns of media at set-up: nothing decoded, doubles found, lists of any kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from media_column_samples import (
    broken,
    colours,
    files,
    make,
    picture,
    png,
    saved,
)

from mmfuse.baselines.features import Features
from mmfuse.data import ArrayData, HFData
from mmfuse.data.media import MediaColumn
from mmfuse.errors import ConfigError, DataError
from mmfuse.missing import MCAR, ValueMNAR
from mmfuse.spec import ModalitySpec


def test_set_up_decodes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("mmfuse.data.media.decode_image", never)
    make(broken(), missing=MCAR(0.5)).setup()
    read: list[Path] = []
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda p: read.append(p) or real(p))
    names = files(tmp_path, png, "png")
    make([tmp_path / n for n in names]).setup()
    # All colours compress to one of few sizes; whoever has a size of its own is not read.
    assert len(read) < 6


def test_doubles_are_told_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (tmp_path / "b.png").write_bytes(png(0))
    other = bytearray(png(0))
    other[-20] ^= 1  # of the same size
    rows = [tmp_path / "a.png", bytes(other), png(2), png(3), png(4), tmp_path / "b.png"]
    with pytest.raises(DataError, match=r"1 row.*train row 0 = test row 5"):
        make(rows).setup()
    assert make(rows, on_duplicates="drop").rows("train").tolist() == [1, 2, 3]
    rows[0], rows[1] = rows[1], rows[0]
    assert make(rows, on_duplicates="drop").rows("train").tolist() == [0, 2, 3]


def test_files_of_one_size_and_of_two_contents_are_no_doubles() -> None:
    # The second of the test rows is the double; the first has the size alone.
    rows = [b"aaaa", b"bbbb", b"cc", b"dddd", b"aaaa"]
    data = ArrayData(
        {"x": rows},
        kinds={"x": "image"},
        split=["train", "train", "train", "test", "test"],
        val=0,
        on_duplicates="drop",
    )
    assert data.rows("train").tolist() == [1, 2]


def test_a_file_that_is_not_there_is_no_double(tmp_path: Path) -> None:
    make([tmp_path / f"{i}.png" for i in range(6)]).setup()
    with pytest.raises(DataError, match="train row 0 = val row 4"):
        make([tmp_path / f"{i % 4}.png" for i in range(5)] + [png(0)]).setup()


def test_absence_may_depend_on_the_size_of_a_file() -> None:
    rows = [bytes(n) for n in (100, 10, 50, 70, 30, 90)]
    value = make(rows, missing=ValueMNAR(0.5)).facts("train").value[:, 0]
    assert value.argsort().tolist() == [1, 2, 3, 0]


def test_a_modality_of_nobody_keeps_its_kind_for_a_trained_model() -> None:
    spec = make([picture(i) for i in range(6)]).spec
    data = ArrayData({"x": [None] * 6}, kinds={"x": "image"}, test=1)
    data.adopt(spec)
    data.attach({"x": colours})
    batch = data.dataset("test").__getitems__([0, 5])
    assert not batch.present.any()


def test_the_settings_tell_other_pictures() -> None:
    one, other = make([picture(i) for i in range(6)]), make([picture(5 - i) for i in range(6)])
    assert one.settings() == make([picture(i) for i in range(6)]).settings()
    assert one.settings() != other.settings()


def test_a_saved_data_set_is_not_loaded_at_set_up(tmp_path: Path) -> None:
    rows = [{"bytes": bytes(1_000_000 + i), "path": None} for i in range(5)]
    path = saved(tmp_path, {"x": [*rows, None]}, x=datasets.Image())
    before = pa.total_allocated_bytes()
    data = HFData(path, {"x": "x"}, split="part", missing=MCAR(0.5))
    data.setup()
    assert data.dataset("train").columns["x"].sizes.tolist() == [
        1_000_000 + i for i in range(5)
    ] + [0]
    assert pa.total_allocated_bytes() - before < 100_000


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float32(), 2),
        pa.large_list(pa.list_(pa.float32())),
        pa.list_(pa.list_(pa.float32(), 2), 2),
    ],
)
def test_samples_lie_in_lists_of_any_kind(kind: pa.DataType) -> None:
    channels = [[0.25, 0.5], [0.75, 1.0]] if pa.types.is_nested(kind.value_type) else [0.25, 0.5]
    struct = pa.struct({"samples": kind, "rate": pa.int32()})
    array = pa.array([None, *[{"samples": channels, "rate": 8000}] * 3, None], struct)
    # Slices have an offset into their buffers, which a reader may forget.
    column = MediaColumn(pa.chunked_array([array[2:], array[:2]]), ModalitySpec("audio"))
    assert column.present.tolist() == [True, True, False, False, True]
    assert column.sizes.tolist() == [n * np.size(channels) for n in (1, 1, 0, 0, 1)]
    for row in (0, 1, 4):
        assert column.read(row).samples.tolist() == np.atleast_2d(channels).tolist()
        assert column.content(row) == column.content(0)


def test_a_baseline_reads_no_raw_media() -> None:
    data = make([picture(i) for i in range(6)])
    with pytest.raises(ConfigError, match="'x' is raw image, which no baseline reads"):
        Features(data)
