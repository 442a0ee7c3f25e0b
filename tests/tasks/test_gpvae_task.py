"""The GPVAE under the Trainer: it learns, infers through absence, resumes and is extracted."""

import functools

import numpy as np
import pytest
import torch

import mmfuse
from mmfuse import ArrayData, Trainer
from mmfuse.errors import CheckpointError, DataError
from mmfuse.gpvae import MMGPVAE, Series
from mmfuse.tasks import GPVAETask

STEPS = 24


def rows(count=90, seed=0):
    draw = np.random.default_rng(seed)
    time = np.arange(STEPS)
    root = np.linalg.cholesky(
        np.exp(-((time[:, None] - time) ** 2) / (2 * 5.0**2)) + 1e-6 * np.eye(STEPS)
    )
    z = draw.normal(size=(3, count, STEPS)) @ root.T
    spikes = draw.poisson(np.exp(0.7 * z[0][..., None] * draw.normal(size=12) + 0.3))
    signal = np.stack([z[0], z[2]], axis=-1) @ draw.normal(size=(2, 5))
    signal = signal + 0.2 * draw.normal(size=signal.shape)
    return {"spikes": spikes.astype(np.float32), "signal": signal.astype(np.float32)}


def data(absent=True, count=90, **options):
    inputs = rows(count)
    if absent:
        inputs["spikes"][3::8], inputs["signal"][5::8] = np.nan, np.nan
    return ArrayData(inputs, kinds=dict.fromkeys(inputs, "series"), batch_size=16, **options)


def task(**options):
    series = {"spikes": Series("poisson", private=0, encoder=(16,))}
    rate = functools.partial(torch.optim.Adam, lr=1e-2)
    return GPVAETask(series, **{"optimizer": rate, **options})


def quiet(folder, epochs=2, **options):
    return Trainer(
        default_root_dir=str(folder),
        max_epochs=epochs,
        enable_progress_bar=False,
        logger=False,
        gradient_clip_val=1.0,
        **options,
    )


def test_it_learns_and_infers_through_an_absent_modality(tmp_path):
    torch.manual_seed(0)
    made, trainer, rows = task(), quiet(tmp_path, 30), data(count=200)
    trainer.validate(made, datamodule=rows, verbose=False)
    before = trainer.callback_metrics["val/loss"].item()
    trainer.fit(made, datamodule=rows)
    found = trainer.test(made, datamodule=rows, verbose=False)[0]
    assert trainer.callback_metrics["test/loss"] < before - 0.5
    assert found["test/signal_r2_absent"] > 0.2
    assert found["test/spikes_r2_absent"] > 0.05
    assert found["test/kl"] > 0
    path = trainer.checkpoint_callback.last_model_path
    again = quiet(tmp_path / "b").test(task(), datamodule=rows, ckpt_path=path, verbose=False)[0]
    for name in ("test/signal_r2_absent", "test/spikes_r2_absent", "test/kl"):
        assert again[name] == pytest.approx(found[name], abs=1e-5)


def test_its_checkpoint_gives_the_model_and_its_latents_a_table(tmp_path):
    made, trainer, rows = task(), quiet(tmp_path), data()
    trainer.fit(made, datamodule=rows)
    path = trainer.checkpoint_callback.last_model_path
    model = MMGPVAE.load(path)
    batch = next(iter(rows.loader("test")))
    made.eval()
    assert torch.equal(model.infer(batch).mean, made.model.infer(batch).mean)
    outputs = trainer.predict(made, datamodule=rows)
    frame = made.frame(outputs)
    assert list(frame) == [
        "row", "step", "shared_0", "signal_0", "shared_0_deviation", "signal_0_deviation",
    ]  # fmt: skip
    assert len(frame) == STEPS * len(rows.rows("test"))
    one = frame[frame["row"] == int(batch.index[0])]
    assert np.allclose(one["shared_0"], model.infer(batch).over_time[0, :, 0].detach(), atol=1e-5)
    assert made.frame([]).empty
    with pytest.raises(CheckpointError, match="holds a GPVAE"):
        mmfuse.load(path)


def test_a_killed_run_goes_on_as_one_that_was_not(tmp_path):
    def run(name, epochs, path=None):
        torch.manual_seed(0)
        trainer, made = quiet(tmp_path / name, epochs), task()
        trainer.fit(made, datamodule=data(), ckpt_path=path)
        return trainer, made

    _, whole = run("whole", 4)
    half, _ = run("half", 2)
    path = half.checkpoint_callback.last_model_path
    _, rest = run("rest", 4, path)
    wanted = whole.state_dict()
    assert all(torch.equal(v, wanted[k]) for k, v in rest.state_dict().items())
    with pytest.raises(CheckpointError, match="shared"):
        quiet(tmp_path / "other", 4).fit(task(shared=2), datamodule=data(), ckpt_path=path)


def test_values_that_are_no_counts_are_told(tmp_path):
    with pytest.raises(DataError, match=r"'signal'.*no counts"):
        quiet(tmp_path, 1).fit(
            GPVAETask({"signal": Series("poisson")}), datamodule=data(absent=False)
        )


def test_one_modality_alone_trains(tmp_path):
    trainer = quiet(tmp_path, 1)
    trainer.fit(GPVAETask(shared=0), datamodule=data(only=["signal"]))
    assert "val/signal_r2_absent" not in trainer.callback_metrics


def test_its_settings_are_told():
    assert task(shared=2).settings()["shared"] == 2
