"""Raw pictures and sounds under a task: default encoders, and rows that cannot be read."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from PIL import Image

from mmfuse.batch import Problem
from mmfuse.data import ArrayData
from mmfuse.errors import ConfigError, DataError
from mmfuse.media import Sound
from mmfuse.tasks import SupervisedTask
from mmfuse.tasks.unreadable import Unreadable
from mmfuse.trainer import Trainer

ROWS = 12


def png(i: int) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (16, 16), (20 * i, 0, 0)).save(content, "PNG")
    return content.getvalue()


def data(**options: object) -> ArrayData:
    """Row 1 and row 11 have a broken picture, row 2 has none."""
    draw = np.random.default_rng(0)
    pictures = [png(i) for i in range(ROWS)]
    pictures[1] = pictures[11] = b"broken"
    sounds = [Sound(draw.uniform(-1, 1, (1, 4000)).astype(np.float32), 16000) for _ in range(ROWS)]
    return ArrayData(
        {"photo": [*pictures[:2], None, *pictures[3:]], "voice": sounds},
        ["no", "yes"] * (ROWS // 2),
        kinds={"photo": "image"},
        split=["train"] * 8 + ["val"] * 2 + ["test"] * 2,
        batch_size=4,
        **options,
    )


def trainer() -> Trainer:
    return Trainer(
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        accelerator="cpu",
    )


def test_default_encoders_learn_from_raw_media_and_bad_rows_are_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows, task = data(on_error="absent"), SupervisedTask()
    with caplog.at_level(logging.WARNING, logger="mmfuse"):
        trainer().fit(task, datamodule=rows)
        (record,) = [r for r in caplog.records if r.name.startswith("mmfuse")]
        said = record.getMessage()
        assert said.startswith("1 input(s) could not be read and count as absent ('photo': 1): row")
        assert "row 1: the embedded file cannot be decoded as a picture" in said
        caplog.clear()
        trainer().test(task, datamodule=rows, verbose=False)
        (record,) = [r for r in caplog.records if r.name.startswith("mmfuse")]
        assert "row 11: the embedded file" in record.getMessage()
    kinds = {m: type(e).__name__ for m, e in task.model.encoders.items()}
    assert kinds == {"photo": "ImageCNNEncoder", "voice": "LogMelCNNEncoder"}


def test_bad_rows_stop_a_run_unless_they_may_count_as_absent() -> None:
    with pytest.raises(DataError, match="Modality 'photo', row 1: the embedded file"):
        trainer().fit(SupervisedTask(), datamodule=data())


def test_nothing_is_told_of_a_run_without_problems(caplog: pytest.LogCaptureFixture) -> None:
    Unreadable().tell()
    assert not caplog.records


def test_every_modality_is_counted_and_the_first_reasons_are_told() -> None:
    unreadable = Unreadable()
    unreadable.add([Problem(i, m, f"{m}{i}.") for i in range(3) for m in ("a", "b")])
    unreadable.add([Problem(0, "a", "a0.")])
    assert unreadable.sentence() == (
        "6 input(s) could not be read and count as absent ('a': 3, 'b': 3): "
        "row 0: a0. row 0: b0. row 1: a1."
    )


def test_an_encoder_for_texts_refuses_pictures() -> None:
    task = SupervisedTask({"photo": "HashedNgramEncoder", "voice": "LogMelCNNEncoder"})
    with pytest.raises(ConfigError, match="HashedNgramEncoder takes text, the modality is image"):
        trainer().fit(task, datamodule=data())
