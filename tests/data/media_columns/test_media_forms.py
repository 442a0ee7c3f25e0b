"""Pictures, sounds and videos as columns: every form they come in."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from media_column_samples import (
    PART,
    colours,
    expected,
    files,
    lengths,
    memory_pictures,
    picture,
    png,
    saved,
    sound,
    wav,
    whole,
    with_gap,
)
from PIL import Image

from mmfuse.data import ArrayData, HFData, TableData
from mmfuse.data.groups import ColumnGroup
from mmfuse.errors import ConfigError, DataError
from mmfuse.media import Sound, Video
from mmfuse.spec import ModalitySpec


@pytest.mark.parametrize("form", ["pictures", "bytes", "paths", "strings", "mixed"])
def test_pictures_in_memory_come_in_any_form(form: str, tmp_path: Path) -> None:
    rows = with_gap(memory_pictures(tmp_path)[form])
    data = ArrayData({"x": rows}, kinds={"x": "image"}, split=PART)
    assert data.spec.modalities["x"] == ModalitySpec("image")
    batch = whole(data)
    assert batch.present[:, 0].tolist() == [True, True, False, True, True, True]
    assert batch.inputs["x"].tolist() == expected(absent=2)
    assert not batch.problems


def test_pil_pictures_and_sounds_and_videos_need_no_kind() -> None:
    inputs = {
        "picture": [picture(i) for i in range(6)],
        "sound": [None, *(sound(i) for i in range(1, 6))],
        "video": [Video(b"a film"), Video("a.mp4"), *[None] * 4],
    }
    data = ArrayData(inputs, split=PART)
    kinds = {m: s.kind for m, s in data.spec.modalities.items()}
    assert kinds == {"picture": "image", "sound": "audio", "video": "video"}
    videos = data.dataset("train").columns["video"].take(np.arange(3))
    assert [getattr(v, "source", None) for v in videos] == [b"a film", Path("a.mp4"), None]


def test_a_transparent_picture_in_memory_lies_on_white() -> None:
    clear = [Image.new("RGBA", (3, 3), (0, 0, 0, 0)) for _ in range(6)]
    data = ArrayData({"x": clear}, split=PART, on_duplicates="allow")
    assert whole(data, [1]).inputs["x"].tolist() == [[3, 255, 255, 255]]
    assert clear[0].mode == "RGBA"


def test_sounds_in_memory_keep_channels_rate_and_samples() -> None:
    stereo = Sound(np.arange(6, dtype=np.float32).reshape(2, 3) / 10, 16000)
    rows = [sound(0), stereo, None, sound(3), sound(4), sound(5)]
    column = ArrayData({"x": rows}, split=PART).dataset("train").columns["x"]
    for given, found in zip(rows, column.take(np.arange(6)), strict=True):
        if given is None:
            assert found is None
            continue
        assert found.rate == given.rate
        assert np.array_equal(found.samples, given.samples)
    assert column.sizes.tolist() == [20, 6, 0, 23, 24, 25]


@pytest.mark.parametrize("root", [None, "elsewhere"])
def test_paths_of_a_csv_start_from_its_folder_or_from_root(
    root: str | None, tmp_path: Path
) -> None:
    home = tmp_path / (root or "table")
    home.mkdir(exist_ok=True)
    names = with_gap(files(home, png, "png"), "")
    table = tmp_path / "table" / "rows.csv"
    table.parent.mkdir(exist_ok=True)
    pd.DataFrame({"file": names, "part": PART}).to_csv(table, index=False)
    data = TableData(
        str(table),
        {"x": ColumnGroup("file", kind="image")},
        split="part",
        root=root and str(tmp_path / root),
    )
    batch = whole(data)
    assert batch.present[:, 0].tolist() == [True, True, False, True, True, True]
    assert batch.inputs["x"].tolist() == expected(absent=2)


def test_parquet_holds_files_paths_and_samples(tmp_path: Path) -> None:
    names = files(tmp_path, png, "png")
    int16 = [(sound(i).samples[0] * 32767).astype(np.int16) for i in range(6)]
    table = pa.table(
        {
            "content": with_gap([png(i) for i in range(6)]),
            "both": [
                {"bytes": png(0), "path": "gone.png"},
                {"bytes": None, "path": names[1]},
                {"bytes": None, "path": None},
                *({"bytes": png(i), "path": None} for i in (3, 4, 5)),
            ],
            "wave": with_gap([{"samples": s, "rate": 8000} for s in int16]),
            "part": PART,
        }
    )
    pq.write_table(table, tmp_path / "rows.parquet")
    data = TableData(
        str(tmp_path / "rows.parquet"),
        {
            "content": ColumnGroup("content", kind="image"),
            "both": ColumnGroup("both", kind="image"),
            "wave": ColumnGroup("wave", kind="audio", rate=8000),
        },
        split="part",
    )
    assert data.spec.modalities["wave"] == ModalitySpec("audio", rate=8000)
    batch = whole(data, content=colours, both=colours, wave=lengths)
    assert (~batch.present).nonzero().tolist() == [[2, 0], [2, 1], [2, 2]]
    assert batch.inputs["content"].tolist() == batch.inputs["both"].tolist() == expected(absent=2)
    wave = batch.inputs["wave"]
    assert wave.mask.sum(1).tolist() == [20, 21, 0, 23, 24, 25]
    assert torch.equal(
        wave.values[3, :23, 0], torch.from_numpy(int16[3].astype(np.float32) / 32768)
    )


def test_hugging_face_images_and_audio_are_recognised(tmp_path: Path) -> None:
    pictures = files(tmp_path, png, "png")
    sounds = files(tmp_path, wav, "wav")
    absolute = with_gap([str(tmp_path / n) for n in pictures])
    columns = {
        "picture": absolute,
        "sound": [{"bytes": (tmp_path / n).read_bytes(), "path": None} for n in sounds[:5]]
        + [None],
    }
    path = saved(tmp_path, columns, picture=datasets.Image(), sound=datasets.Audio())
    for name in pictures:  # saving put the content of files into the data set
        (tmp_path / name).unlink()
    data = HFData(path, {"picture": "picture", "sound": "sound"}, split="part")
    assert {m: s.kind for m, s in data.spec.modalities.items()} == {
        "picture": "image",
        "sound": "audio",
    }
    batch = whole(data, picture=colours, sound=lengths)
    assert (~batch.present).nonzero().tolist() == [[2, 0], [5, 1]]
    assert batch.inputs["picture"].tolist() == expected(absent=2)
    for i in range(5):
        found = batch.inputs["sound"].values[i, : 20 + i, 0]
        assert torch.equal(found, torch.from_numpy(sound(i).samples[0]))


def test_hugging_face_strings_are_paths_when_they_are_said_to_be(tmp_path: Path) -> None:
    path = saved(tmp_path, {"x": with_gap([f"files/{i}.png" for i in range(6)])})
    files(Path(path), png, "png")
    picture_of = {"x": ColumnGroup("x", kind="image")}
    batch = whole(HFData(path, picture_of, split="part"))
    assert batch.inputs["x"].tolist() == expected(absent=2)
    elsewhere = HFData(path, picture_of, split="part", root=str(tmp_path))
    with pytest.raises(DataError, match=r"'x', row 0: .*No such file"):
        whole(elsewhere)


def test_hugging_face_videos_are_recognised(tmp_path: Path) -> None:
    rows = [{"bytes": bytes([i]), "path": None} for i in range(6)]
    path = saved(tmp_path, {"x": rows}, x=datasets.Video(decode=False))
    column = HFData(path, {"x": "x"}, split="part").dataset("train").columns["x"]
    assert [v.source for v in column.take(np.array([5, 0]))] == [b"\x05", b"\x00"]


def test_bytes_without_a_kind_are_refused(tmp_path: Path) -> None:
    columns = {"x": [png(i) for i in range(6)]}
    for data in (
        ArrayData({"x": columns["x"]}, split=PART),
        HFData(saved(tmp_path, columns), {"x": "x"}, split="part"),
    ):
        with pytest.raises(DataError, match=r"'x' holds files.*image, audio, video"):
            data.setup()


def test_numbers_are_no_sound() -> None:
    for rows in (np.ones((6, 30)), [np.ones(30)] * 6):
        with pytest.raises(DataError, match=r"'x' is audio, and a row is a ndarray.*Sound"):
            ArrayData({"x": rows}, kinds={"x": "audio"}, split=PART).setup()


def test_a_row_of_another_type_is_named() -> None:
    with pytest.raises(DataError, match="'x' is image, and row 1 is a int"):
        ArrayData({"x": [picture(0), 3]}).setup()
    with pytest.raises(DataError, match="'x': row 1 is no Sound"):
        ArrayData({"x": [sound(0), "a.wav"]}).setup()


def test_several_columns_of_files_are_no_modality(tmp_path: Path) -> None:
    pd.DataFrame({"a": ["1"] * 6, "b": ["2"] * 6}).to_csv(tmp_path / "t.csv", index=False)
    data = TableData(str(tmp_path / "t.csv"), {"x": ColumnGroup(["a", "b"], kind="image")})
    with pytest.raises(ConfigError, match="'x' is image and names 2 columns"):
        data.setup()


def test_arrays_of_pixels_are_still_images() -> None:
    data = ArrayData({"x": np.random.default_rng(0).random((6, 3, 4, 5))}, split=PART)
    assert data.spec.modalities["x"].shape == (3, 4, 5)
    listed = [np.zeros((3, 4, 5)) + i for i in range(6)]
    data = ArrayData({"x": listed}, kinds={"x": "image"}, split=PART, standardise=False)
    assert data.spec.modalities["x"] == ModalitySpec("image", (3, 4, 5))
