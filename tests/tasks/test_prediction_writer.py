"""PredictionWriter: one file, whoever computed which rows."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse import ArrayData, SupervisedTask, Trainer, to_frame
from mmfuse.errors import OutputError
from mmfuse.tasks.predictions import PredictionWriter

ROWS = 50


@pytest.fixture(scope="module")
def inputs():
    draw = np.random.default_rng(0)
    given = {m: draw.normal(size=(ROWS, 2)) for m in "ab"}
    given["b"][::4] = np.nan
    targets = {"ill": np.array(["no", "yes"] * 25), "size": draw.normal(size=ROWS) + 100}
    split = draw.permutation(np.repeat(["train", "val", "test"], [20, 10, 20]))
    return given, targets, split


def data(inputs, **options):
    given, targets, split = inputs
    return ArrayData(given, targets, split=split, eval_batch_size=6, **options)


def quiet(folder, **options):
    return Trainer(
        max_epochs=1,
        default_root_dir=str(folder),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        **options,
    )


@pytest.fixture(scope="module")
def task(inputs, tmp_path_factory):
    trained = SupervisedTask(fusion="MeanFusion")
    quiet(tmp_path_factory.mktemp("run")).fit(trained, datamodule=data(inputs))
    return trained.eval()


@pytest.fixture(scope="module")
def whole(task, inputs, tmp_path_factory):
    """What one process writes."""
    path = tmp_path_factory.mktemp("whole") / "predictions.parquet"
    trainer = quiet(path.parent, callbacks=[PredictionWriter(path)])
    outputs = trainer.predict(task, datamodule=data(inputs), return_predictions=True)
    return path, outputs


@torch.no_grad()
def write_as(rank, world, path, task, inputs):
    """What process ``rank`` of ``world`` does; rank 0 comes last, as after the barrier."""
    trainer = SimpleNamespace(
        global_rank=rank,
        world_size=world,
        is_global_zero=rank == 0,
        strategy=SimpleNamespace(barrier=lambda: None),
    )
    rows = data(inputs)
    rows.trainer = trainer
    writer = PredictionWriter(path)
    for i, batch in enumerate(rows.predict_dataloader()):
        writer.on_predict_batch_end(trainer, task, task.predict_step(batch, i), batch, i)
    writer.on_predict_epoch_end(trainer, task)


def test_the_file_holds_the_test_rows_by_their_numbers_in_the_data(whole, inputs):
    path, outputs = whole
    table = pd.read_parquet(path)
    assert table["row"].tolist() == np.flatnonzero(inputs[2] == "test").tolist()
    assert list(table) == ["row", "ill", "ill_no", "ill_yes", "size"]
    assert len(outputs) == 4


def test_the_file_is_the_table_of_what_predict_returns(whole, task):
    path, outputs = whole
    pd.testing.assert_frame_equal(pd.read_parquet(path), to_frame(outputs, task.model.spec))


@pytest.mark.parametrize("world", [2, 3, 7], ids="{} processes".format)
def test_several_processes_write_what_one_writes(world, whole, task, inputs, tmp_path):
    path = tmp_path / "predictions.parquet"
    for rank in reversed(range(world)):  # of 7 processes 3 have no batch at all
        assert not path.exists()
        write_as(rank, world, path, task, inputs)
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(whole[0]))
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.parquet"]


def test_a_second_pass_replaces_the_first(whole, task, inputs, tmp_path):
    path = tmp_path / "predictions.parquet"
    trainer = quiet(tmp_path, callbacks=[PredictionWriter(path)])
    for _ in range(2):
        trainer.predict(task, datamodule=data(inputs), return_predictions=False)
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(whole[0]))


def test_a_pass_that_fails_leaves_the_old_file_and_nothing_for_the_next_pass(
    whole, task, inputs, tmp_path, monkeypatch
):
    path = tmp_path / "predictions.parquet"
    path.write_text("the old one")
    predict_step = SupervisedTask.predict_step

    def failing(self, batch, i):
        return {name: value + 1 / (2 - i) for name, value in predict_step(self, batch, i).items()}

    trainer = quiet(tmp_path, callbacks=[PredictionWriter(path)])
    monkeypatch.setattr(SupervisedTask, "predict_step", failing)
    with pytest.raises(ZeroDivisionError):
        trainer.predict(task, datamodule=data(inputs))
    assert path.read_text() == "the old one"

    monkeypatch.undo()
    trainer.predict(task, datamodule=data(inputs))
    pd.testing.assert_frame_equal(pd.read_parquet(path), pd.read_parquet(whole[0]))


def test_a_folder_that_cannot_be_written_is_named(task, inputs, tmp_path):
    (tmp_path / "taken").write_text("a file")
    trainer = quiet(tmp_path, callbacks=[PredictionWriter(tmp_path / "taken/p.parquet")])
    with pytest.raises(OutputError, match="taken"):
        trainer.predict(task, datamodule=data(inputs))
