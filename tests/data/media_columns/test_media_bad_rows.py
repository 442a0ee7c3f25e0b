"""Pictures and sounds that cannot be read: named, or counted as absent."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from media_column_samples import (
    PART,
    broken,
    colours,
    expected,
    lengths,
    make,
    picture,
    refusing,
    saved,
    sound,
    whole,
)
from PIL import Image
from torch import Tensor

from mmfuse.data import ArrayData, HFData
from mmfuse.data.groups import ColumnGroup
from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec


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
