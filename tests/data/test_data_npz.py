"""NumPy archives: keys that are modalities, whole or in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmfuse.data import NpzData
from mmfuse.errors import DataError, MissingFileError

RNG = np.random.default_rng(0)
SOUND = RNG.normal(size=(10, 3))
SOUND[4] = np.nan
ARRAYS: dict[str, Any] = {
    "sound": SOUND,
    "walk": RNG.normal(size=(10, 5, 2)),
    "label": np.arange(10) % 2,
    "part": np.array(["train"] * 7 + ["val"] + ["test"] * 2),
    "who": np.repeat(np.arange(5), 2),
}


def write(folder: Path, **arrays: Any) -> str:
    path = folder / "rows.npz"
    np.savez_compressed(path, **(arrays or ARRAYS))
    return str(path)


def test_a_row_of_nan_is_absent_and_axes_tell_the_kind(tmp_path: Path) -> None:
    data = NpzData(write(tmp_path), ["sound", "walk"], "label", split="part")
    assert data.spec.modalities["walk"].kind == "series"
    batch = data.dataset("train").__getitems__(range(10))
    assert batch.present.tolist() == [[i != 4, True] for i in range(10)]
    assert batch.target["label"].tolist() == [0, 1] * 5
    assert data.rows("test").tolist() == [8, 9]


def test_modalities_and_targets_may_have_names_of_their_own(tmp_path: Path) -> None:
    data = NpzData(write(tmp_path), {"ear": "sound"}, {"ill": "label"}, split="part")
    assert list(data.spec.modalities) == ["ear"]
    assert list(data.spec.targets) == ["ill"]


def test_parts_give_the_split(tmp_path: Path) -> None:
    sizes = {"train": 6, "val": 2, "test": 3}
    parts = {
        f"x_{s}": np.full((n, 1), i) + RNG.random((n, 1)) for i, (s, n) in enumerate(sizes.items())
    }
    labels = {f"y_{s}": np.arange(n) % 2 for s, n in sizes.items()}
    data = NpzData(write(tmp_path, **parts, **labels), ["x"], "y")
    assert {s: len(data.rows(s)) for s in sizes} == sizes
    for i, s in enumerate(sizes):
        shown = data.dataset(s).__getitems__(data.rows(s)).inputs["x"]
        assert (shown.long() == i).all()


def test_a_key_gives_the_groups(tmp_path: Path) -> None:
    data = NpzData(write(tmp_path), ["walk"], groups="who")
    homes = [set(ARRAYS["who"][data.rows(s).numpy()]) for s in ("train", "val", "test")]
    assert sum(map(len, homes)) == 5


def test_a_kind_may_be_declared(tmp_path: Path) -> None:
    data = NpzData(write(tmp_path), ["walk"], kinds={"walk": "tokens"}, split="part")
    assert data.spec.modalities["walk"].kind == "tokens"


# What is refused.


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.npz"):
        NpzData(str(tmp_path / "nowhere.npz"), ["sound"]).setup()


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'sounds'.*Did you mean 'sound'\?.*walk"):
        NpzData(write(tmp_path), ["sounds"]).setup()


def test_lengths_that_disagree_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'x': 4, 'y': 5"):
        NpzData(write(tmp_path, x=np.ones((4, 2)), y=np.arange(5)), ["x"], "y").setup()


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    objects = np.array([{"not": "plain"}] * 3, dtype=object)
    with pytest.raises(DataError, match=r"rows\.npz cannot be read.*plain arrays"):
        NpzData(write(tmp_path, x=objects), ["x"]).setup()


def test_a_single_array_is_no_archive(tmp_path: Path) -> None:
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, SOUND)
    with pytest.raises(DataError, match=r"one\.npz cannot be read"):
        NpzData(str(tmp_path / "one.npz"), ["sound"]).setup()


def test_damaged_bytes_never_raise_a_stranger(tmp_path: Path) -> None:
    path = Path(write(tmp_path))
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[RNG.integers(len(whole))] ^= 1 << int(RNG.integers(8))
        path.write_bytes(damaged[: RNG.integers(len(whole))] if RNG.random() < 0.2 else damaged)
        try:
            NpzData(str(path), ["sound"], "label", split="part").read()
        except DataError:
            refused += 1
    assert refused > 50


def test_the_settings_tell_other_content_at_the_same_place(tmp_path: Path) -> None:
    data = NpzData(write(tmp_path), ["sound"], "label", split="part")
    first = data.settings()
    assert first == data.settings()
    write(tmp_path, **ARRAYS | {"sound": SOUND + 1})
    assert first != data.settings()
