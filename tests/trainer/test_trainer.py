"""Runs by the Trainer: what they keep, what they repeat, whose statistics count."""

import logging

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import mmfuse
from mmfuse import ArrayData, SupervisedTask, Trainer
from mmfuse.errors import ConfigError, DataError
from mmfuse.missing import MCAR


def rows(count=60, seed=0, shift=0.0):
    draw = np.random.default_rng(seed)
    inputs = {m: draw.normal(shift, 2.0, size=(count, 3)) for m in "ab"}
    label = np.where(inputs["a"][:, 0] + inputs["b"][:, 0] > 2 * shift, "well", "ill")
    return inputs, label


def data(**options):
    return ArrayData(*rows(), **{"batch_size": 16, "missing": MCAR(0.3), **options})


def trainer(folder, **options):
    options = {"max_epochs": 2, "enable_progress_bar": False, "logger": False, **options}
    return Trainer(default_root_dir=str(folder), **options)


def checkpoints(folder):
    return sorted(path.name for path in folder.rglob("*.ckpt"))


def weights(path):
    return mmfuse.load(path).state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


# Without validation rows.


@pytest.mark.parametrize("options", [{"data": {"val": 0}}, {"trainer": {"limit_val_batches": 0}}])
def test_without_validation_the_best_checkpoint_is_the_last(tmp_path, options):
    task, run = SupervisedTask(), trainer(tmp_path, **options.get("trainer", {}))
    run.fit(task, datamodule=data(**options.get("data", {})))

    assert checkpoints(tmp_path) == ["best.ckpt", "last.ckpt"]
    best = next(tmp_path.rglob("best.ckpt"))
    assert same(weights(best), task.model.state_dict())
    assert same(weights(best), weights(best.with_name("last.ckpt")))
    scores = run.test(task, datamodule=data(val=0), ckpt_path="best", verbose=False)
    assert np.isfinite(scores[0]["test/loss"])


def test_a_run_without_validation_rows_resumes_from_its_last_checkpoint(tmp_path):
    first = trainer(tmp_path, max_epochs=1, logger=True)
    first.fit(SupervisedTask(), datamodule=data(val=0))
    again, task = trainer(tmp_path, max_epochs=3, logger=True), SupervisedTask()
    again.fit(task, datamodule=data(val=0), ckpt_path="last")
    assert again.current_epoch == 3
    assert same(weights(tmp_path / "version_1/checkpoints/best.ckpt"), task.model.state_dict())


def test_with_validation_rows_the_best_checkpoint_has_the_lowest_loss(tmp_path):
    losses = []

    class Watch(L.Callback):
        def on_validation_end(self, trainer, pl_module):
            if not trainer.sanity_checking:
                losses.append(trainer.callback_metrics["val/loss"].item())

    task = SupervisedTask(optimizer=lambda p: torch.optim.Adam(p, lr=0.3))  # too fast to settle
    run = trainer(tmp_path, max_epochs=6, callbacks=[Watch()])
    L.seed_everything(0, verbose=False)
    run.fit(task, datamodule=data())
    assert min(losses) < losses[-1]  # or the last would do as well
    assert run.checkpoint_callback.best_model_score == pytest.approx(min(losses))
    scores = run.validate(task, datamodule=data(), ckpt_path="best", verbose=False)
    assert scores[0]["val/loss"] == pytest.approx(min(losses), rel=1e-5)


def test_a_run_that_goes_on_keeps_the_best_epoch_of_the_whole(tmp_path):
    def run(folder, epochs, path=None):
        L.seed_everything(0, verbose=False)
        task = SupervisedTask(optimizer=lambda p: torch.optim.Adam(p, lr=0.3))
        made = trainer(folder, max_epochs=epochs, logger=True)
        made.fit(task, datamodule=data(), ckpt_path=path)
        return made.checkpoint_callback

    whole = run(tmp_path / "whole", 6)
    done = torch.load(whole.best_model_path, weights_only=True)["epoch"] + 1
    assert done < 6  # or nothing worse could take its place
    run(tmp_path / "parts", done)
    rest = run(tmp_path / "parts", 6, "last")
    path = tmp_path / "parts/version_1/checkpoints/best.ckpt"
    assert rest.best_model_path == str(path)
    assert rest.best_model_score == whole.best_model_score
    assert same(weights(path), weights(whole.best_model_path))
    assert (tmp_path / "parts/version_0/checkpoints/best.ckpt").is_file()


def test_a_training_score_may_choose_the_best_checkpoint_without_validation_rows(tmp_path):
    run = trainer(tmp_path, monitor="train/loss")
    run.fit(SupervisedTask(), datamodule=data(val=0))
    assert run.checkpoint_callback.best_model_score is not None


def test_a_score_that_nobody_logs_cannot_choose_the_best_checkpoint(tmp_path):
    run = trainer(tmp_path, monitor="val/accuracyy")
    with pytest.raises(MisconfigurationException, match="val/accuracyy"):
        run.fit(SupervisedTask(), datamodule=data())


def test_scoring_an_empty_validation_split_is_an_error(tmp_path):
    task, run = SupervisedTask(), trainer(tmp_path, max_epochs=1)
    run.fit(task, datamodule=data(val=0))
    with pytest.raises(DataError, match="val split is empty"):
        run.validate(task, datamodule=data(val=0), verbose=False)


# What a run repeats and refuses.


def test_two_runs_with_the_same_seed_give_the_same_weights(tmp_path):
    def run(name, seed):
        L.seed_everything(seed, verbose=False)
        task = SupervisedTask(modality_dropout=0.3)
        trainer(tmp_path / name).fit(task, datamodule=data())
        return task.model.state_dict()

    first = run("first", 1)
    assert same(first, run("again", 1))
    assert not same(first, run("another seed", 2))


def test_loaders_without_a_datamodule_are_refused_with_the_remedy(tmp_path):
    loader = data().train_dataloader()
    with pytest.raises(ConfigError, match=r"no DataModule.*datamodule=ArrayData"):
        trainer(tmp_path).fit(SupervisedTask(), loader)


# Callbacks of the user's own.


def test_a_checkpoint_callback_of_ones_own_replaces_the_default(tmp_path):
    saver = ModelCheckpoint(dirpath=tmp_path / "mine", filename="epoch{epoch}", save_top_k=-1)
    run = trainer(tmp_path, callbacks=saver)
    task = SupervisedTask()
    run.fit(task, datamodule=data())
    assert checkpoints(tmp_path) == ["epochepoch=0.ckpt", "epochepoch=1.ckpt"]
    assert run.test(task, datamodule=data(), ckpt_path="best", verbose=False)


def test_early_stopping_stops_the_run(tmp_path):
    stop = EarlyStopping("val/loss", patience=1, min_delta=1e9)  # nothing is good enough
    run = trainer(tmp_path, max_epochs=20, callbacks=[stop])
    run.fit(SupervisedTask(), datamodule=data())
    assert run.current_epoch == 2
    assert checkpoints(tmp_path) == ["best.ckpt", "last.ckpt"]


# Rows that only test.


def test_new_rows_are_tested_with_the_checkpoints_classes_and_statistics(tmp_path):
    task, run = SupervisedTask(), trainer(tmp_path)
    run.fit(task, datamodule=data())
    trained = mmfuse.load(run.checkpoint_callback.best_model_path).eval()

    inputs, label = rows(20, seed=1, shift=5.0)
    label[:] = "well"  # one class only, which alone would be no target
    new = ArrayData(inputs, label, test=1.0)
    scores = run.test(task, datamodule=new, ckpt_path="best", verbose=False)

    assert new.spec == trained.spec
    assert new.spec.targets["y"].classes == ("ill", "well")
    with torch.no_grad():
        logits = trained(next(iter(new.test_dataloader()))).logits["y"]
    right = (logits > 0).float().mean().item()  # everyone is well, the second class
    assert scores[0]["test/accuracy"] == pytest.approx(right)


# One of many runs.


def test_a_run_of_many_leaves_the_best_weights_alone(tmp_path):
    made = trainer(tmp_path)
    one = made.fresh(tmp_path / "many")
    assert one.settings() == made.settings()
    one.fit(SupervisedTask(), datamodule=data())
    assert checkpoints(tmp_path) == ["best.ckpt"]
    path = one.checkpoint_callback.best_model_path
    assert "optimizer_states" not in torch.load(path, weights_only=True)
    assert mmfuse.load(path).modalities == ("a", "b")


def test_a_checkpoint_saved_by_hand_is_saved_in_silence(tmp_path, monkeypatch):
    heard, handler = [], logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: heard.append(record.getMessage()))
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "handlers", [handler])
    task, run = SupervisedTask(), trainer(tmp_path, enable_checkpointing=False)
    run.fit(task, datamodule=data())
    run.save_checkpoint(tmp_path / "mine.ckpt")
    assert heard == []
    assert same(weights(tmp_path / "mine.ckpt"), task.model.state_dict())
