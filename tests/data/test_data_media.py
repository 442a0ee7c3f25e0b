"""Pictures, sounds and videos as columns: every form they come in, and what cannot be read."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from PIL import Image
from torch import Tensor

from mmfuse.baselines.features import Features
from mmfuse.batch import Batch
from mmfuse.data import ArrayData, FusionDataModule, HFData, TableData
from mmfuse.data.groups import ColumnGroup
from mmfuse.data.media import MediaColumn
from mmfuse.errors import ConfigError, DataError
from mmfuse.media import Sound, Video
from mmfuse.missing import MCAR, ValueMNAR
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9), (200, 100, 50), (1, 2, 3)]
PART = ["train", "train", "train", "train", "val", "test"]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def picture(i: int) -> Image.Image:
    return Image.new("RGB", (4 + i, 5), COLOURS[i])


def png(i: int) -> bytes:
    content = io.BytesIO()
    picture(i).save(content, "PNG")
    return content.getvalue()


def sound(i: int, rate: int = 8000) -> Sound:
    samples = np.random.default_rng(i).uniform(-1, 1, (1, 20 + i)).astype(np.float32)
    return Sound(samples, rate)


def wav(i: int, rate: int = 8000) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, sound(i).samples.T, rate, format="WAV", subtype="FLOAT")
    return content.getvalue()


def files(folder: Path, make: Callable[[int], bytes], ending: str) -> list[str]:
    """Six files in a folder of their own, and their names from ``folder``."""
    (folder / "files").mkdir(exist_ok=True)
    names = [f"files/{i}.{ending}" for i in range(6)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(make(i))
    return names


# What stands for an encoder's preprocess.


def colours(pictures: list[Image.Image]) -> Tensor:
    """Each picture's width and its first pixel."""
    return torch.tensor([[float(p.width), *p.getpixel((0, 0))] for p in pictures])


def lengths(sounds: list[Sound]) -> Tokens:
    """Each sound's samples, padded."""
    longest = max(s.samples.shape[1] for s in sounds)
    values = torch.zeros(len(sounds), longest, 1)
    mask = torch.zeros(len(sounds), longest, dtype=torch.bool)
    for i, s in enumerate(sounds):
        values[i, : s.samples.shape[1], 0] = torch.from_numpy(s.samples[0])
        mask[i, : s.samples.shape[1]] = True
    return Tokens(values, mask)


def whole(data: FusionDataModule, rows: Any = range(6), **preprocess: Any) -> Batch:
    """The rows as one batch, through stand-ins of encoders."""
    data.attach(preprocess or {"x": colours})
    return data.dataset("train").__getitems__(list(rows))


def expected(absent: int | None = None) -> list[list[float]]:
    return [[0.0] * 4 if i == absent else [4.0 + i, *map(float, COLOURS[i])] for i in range(6)]


def with_gap(rows: list[Any], gap: Any = None) -> list[Any]:
    return [gap if i == 2 else row for i, row in enumerate(rows)]


# Forms.


def memory_pictures(folder: Path) -> dict[str, list[Any]]:
    names = files(folder, png, "png")
    return {
        "pictures": [picture(i) for i in range(6)],
        "bytes": [png(i) for i in range(6)],
        "paths": [folder / n for n in names],
        "strings": [str(folder / n) for n in names],
        "mixed": [picture(0), png(1), None, folder / names[3], str(folder / names[4]), png(5)],
    }


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


def saved(folder: Path, columns: dict[str, Any], **features: Any) -> str:
    made = datasets.Dataset.from_dict({**columns, "part": PART})
    for name, feature in features.items():
        made = made.cast_column(name, feature)
    made.save_to_disk(folder / "saved")
    return str(folder / "saved")


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


# Rows that cannot be read.


def broken() -> list[Any]:
    """Six pictures; row 1 is cut short, row 4 is no picture."""
    rows = [png(i) for i in range(6)]
    return [rows[0], rows[1][:40], rows[2], rows[3], b"no picture", rows[5]]


def make(rows: list[Any], **options: Any) -> ArrayData:
    return ArrayData({"x": rows}, kinds={"x": "image"}, split=PART, **options)


def test_a_bad_row_is_named_when_it_is_fetched() -> None:
    data = make(broken())
    data.setup()
    assert whole(data, [0, 2, 3]).present.all()
    with pytest.raises(DataError, match=r"Modality 'x', row 4: the embedded file cannot be"):
        whole(data, [0, 4, 2])


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    data = make([tmp_path / f"{i}.png" for i in range(6)])
    with pytest.raises(DataError, match=rf"'x', row 3: .*{tmp_path}/3.png"):
        whole(data, [3])


def test_a_bad_row_may_count_as_absent() -> None:
    data = make(broken(), on_error="absent")
    batch = whole(data, [5, 4, 0, 1])
    assert batch.present[:, 0].tolist() == [True, False, True, False]
    assert batch.present_rows["x"].tolist() == [0, 2]
    assert [(p.row, p.modality) for p in batch.problems] == [(4, "x"), (1, "x")]
    assert "cannot be decoded" in batch.problems[0].reason
    assert batch.inputs["x"].tolist() == [expected()[5], [0.0] * 4, expected()[0], [0.0] * 4]
    assert pickle.loads(pickle.dumps(batch)).problems == batch.problems


def test_a_batch_of_bad_rows_has_nobody() -> None:
    batch = whole(make(broken(), on_error="absent"), [1, 4])
    assert not batch.present.any()
    assert "x" not in batch.inputs
    assert len(batch.problems) == 2


def refusing(pictures: list[Image.Image]) -> Tensor:
    """An encoder that refuses wide pictures, and whose result depends on the batch."""
    if max(p.width for p in pictures) > 7:
        raise DataError("A picture is too wide.")
    return colours(pictures) + len(pictures)


def test_a_row_that_the_encoder_refuses_is_found_among_the_good() -> None:
    rows = [picture(i) for i in range(6)]
    with pytest.raises(DataError, match="'x', row 4: A picture is too wide"):
        whole(make(rows), [2, 4, 5, 0], x=refusing)
    batch = whole(make(rows, on_error="absent"), [2, 4, 5, 0], x=refusing)
    alone = whole(make(rows), [2, 0], x=refusing)
    assert [(p.row, p.reason) for p in batch.problems] == [
        (4, "A picture is too wide."),
        (5, "A picture is too wide."),
    ]
    assert batch.inputs["x"][[0, 3]].equal(alone.inputs["x"])


def test_undecodable_and_refused_rows_meet_in_one_batch() -> None:
    batch = whole(make(broken(), on_error="absent"), [5, 4, 0, 1, 2], x=refusing)
    assert [p.row for p in batch.problems] == [5, 4, 1]
    assert batch.present[:, 0].tolist() == [False, False, True, False, True]


def test_what_is_wrong_with_a_batch_alone_is_an_error() -> None:
    def never_two(pictures: list[Image.Image]) -> Tensor:
        if len(pictures) > 1:
            raise DataError("One at a time.")
        return colours(pictures)

    with pytest.raises(DataError, match="One at a time"):
        whole(make([picture(i) for i in range(6)], on_error="absent"), x=never_two)


def test_refused_arrays_and_texts_count_as_absent_too() -> None:
    def positive(x: Tensor) -> Tensor:
        if (x < 0).any():
            raise DataError("A row is negative.")
        return x * 2

    def wordy(texts: list[str]) -> Tensor:
        if not all(t.strip() for t in texts):
            raise DataError("A text is empty.")
        return torch.tensor([[float(len(t))] for t in texts])

    numbers = [[1.0], [-1.0], None, [4.0], [5.0], [6.0]]
    texts = ["one", "two", " ", None, "five", "six"]
    data = ArrayData({"n": numbers, "t": texts}, split=PART, on_error="absent")
    batch = whole(data, n=positive, t=wordy)
    assert [(p.row, p.modality) for p in batch.problems] == [(1, "n"), (2, "t")]
    assert batch.present.tolist() == [
        [True, True],
        [False, True],
        [False, False],
        [True, False],
        [True, True],
        [True, True],
    ]
    assert batch.inputs["n"].tolist() == [[2], [0], [0], [8], [10], [12]]


def test_the_encoder_never_sees_what_stands_in_an_absent_row_of_an_array() -> None:
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(x.tolist())
        return x

    batch = whole(
        ArrayData({"x": [[1.0], None, [3.0]]}, split=[*PART[:2], "test"], val=0), range(3), x=look
    )
    assert seen == [[[1.0], [3.0]]]
    assert batch.inputs["x"][[0, 2]].tolist() == [[1.0], [3.0]]


def test_a_sound_of_another_rate_is_a_bad_row(tmp_path: Path) -> None:
    rows = [{"samples": sound(i).samples[0].tolist(), "rate": 8000 + (i == 3)} for i in range(6)]
    path = saved(tmp_path, {"x": rows})
    groups = {"x": ColumnGroup("x", kind="audio", rate=8000)}
    with pytest.raises(
        DataError, match=r"row 3: the sound has 8001 samples a second, expected 8000"
    ):
        whole(HFData(path, groups, split="part"), x=lengths)
    batch = whole(HFData(path, groups, split="part", on_error="absent"), x=lengths)
    assert [p.row for p in batch.problems] == [3]
    # A trained model keeps the rate that it was trained with.
    spec = HFData(path, groups, split="part").spec
    anyone = HFData(path, {"x": ColumnGroup("x", kind="audio")}, split="part")
    assert whole(anyone, x=lengths).present.all()
    anyone.adopt(spec)
    with pytest.raises(DataError, match="expected 8000"):
        whole(anyone, x=lengths)


@pytest.mark.parametrize(
    "sample",
    [
        {"samples": [], "rate": 8000},
        {"samples": [float("nan")], "rate": 8000},
        {"samples": [None, 1.0], "rate": 8000},
        {"samples": [0.5], "rate": None},
        {"samples": [0.5], "rate": -1},
    ],
)
def test_samples_that_are_no_sound_are_a_bad_row(sample: dict[str, Any]) -> None:
    rows = [{"samples": [0.1 * i], "rate": 8000} for i in range(5)] + [sample]
    data = ArrayData({"x": rows}, kinds={"x": "audio"}, split=PART, on_error="absent")
    assert [p.row for p in whole(data, x=lengths).problems] == [5]


def test_a_rate_is_for_sounds_alone() -> None:
    with pytest.raises(DataError, match="image modality has the rate 8000"):
        ModalitySpec("image", rate=8000)


def test_the_policy_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match="on_error is 'skip'; expected raise or absent"):
        make(broken(), on_error="skip")


@pytest.mark.parametrize("on_error", ["raise", "absent"])
def test_workers_change_nothing(on_error: str) -> None:
    rows = broken() if on_error == "absent" else [picture(i) for i in range(6)]
    found = []
    for workers in (0, 2):
        data = make(rows, on_error=on_error, workers=workers, batch_size=2)
        data.attach({"x": colours})
        found.append(list(data.train_dataloader()))
    assert len(found[0]) == 2
    for one, other in zip(*found, strict=True):
        assert one.problems == other.problems
        assert one.index.equal(other.index)
        assert one.present.equal(other.present)
        assert one.inputs["x"].equal(other.inputs["x"])
    if on_error == "absent":
        assert sum(len(b.problems) for b in found[0]) == 1


def test_a_bad_row_is_an_error_in_a_worker_too() -> None:
    data = make(broken(), workers=1, batch_size=4)
    data.attach({"x": colours})
    with pytest.raises(DataError, match="'x', row 1"):
        list(data.train_dataloader())


# Set-up.


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
