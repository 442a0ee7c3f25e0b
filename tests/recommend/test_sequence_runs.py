"""SASRec under the Trainer: what is learned, resuming, serving, robustness, and the command."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from chains import chain_features, chain_rows, chained

from mmfuse.cli import main
from mmfuse.errors import ConfigError
from mmfuse.objectives import CLIPLoss
from mmfuse.recommend import (
    InteractionArrays,
    ItemVectors,
    RandomSplit,
    RecommendationData,
    Recommender,
    SASRecUsers,
    UserVectors,
)
from mmfuse.recommend.baselines import Popularity
from mmfuse.recommend.objectives import (
    BCELoss,
    BootstrapLoss,
    BPRLoss,
    EmbeddingL2,
    HingeLoss,
    InBatchSoftmaxLoss,
    PerturbedViews,
    SampledSoftmaxLoss,
)
from mmfuse.recommend.restored import restored
from mmfuse.recommend.robustness import ranking_robustness
from mmfuse.tasks import RecommendationTask
from mmfuse.trainer import Trainer


def trainer(folder: Path, epochs: int, **options: object) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        default_root_dir=str(folder),
        logger=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
        **options,
    )


def task_of(user=None, content="none", objectives=None, width=32, **options) -> RecommendationTask:
    torch.manual_seed(0)
    return RecommendationTask(
        ItemVectors(width, content=content),
        SASRecUsers(8, heads=2, dropout=0.1) if user is None else user,
        objectives=[BCELoss()] if objectives is None else objectives,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        ks=[1, 5],
        **options,
    )


def found_next(folder: Path, task: RecommendationTask, epochs=12, **data) -> float:
    """How often the item that a user took last ranks first, among those it did not take yet."""
    runs, source = trainer(folder, epochs, enable_checkpointing=False), chained(**data)
    runs.fit(task, datamodule=source)
    (scores,) = runs.test(task, datamodule=source, verbose=False)
    return scores["test/recall_at_1"]


def test_the_next_item_is_found_where_order_tells_it(tmp_path: Path) -> None:
    by_order = found_next(tmp_path, task_of())
    by_mean = found_next(tmp_path, task_of(UserVectors("history")), batch_size=320)
    interactions = chained().interactions
    train = interactions.lists("train")
    popular = Popularity(train).evaluate(interactions, ks=[1]).means()["recall_at_1"]
    # A user goes where its last item leads nine times of ten, if it was not there yet.
    assert by_order > 0.6
    assert by_order > by_mean + 0.4
    assert by_order > popular + 0.5


@pytest.mark.parametrize(
    "objective",
    [BPRLoss, SampledSoftmaxLoss, HingeLoss, lambda: InBatchSoftmaxLoss(temperature=1.0)],
)
def test_other_objectives_find_it_too(tmp_path: Path, objective) -> None:
    assert found_next(tmp_path, task_of(objectives=[objective()]), negatives=4) > 0.5


def test_content_alone_finds_it_too(tmp_path: Path) -> None:
    """Every second item lacks a modality or both; ids do not help."""
    torch.manual_seed(0)
    task = RecommendationTask(
        ItemVectors(32, id=False, content="concat"),
        SASRecUsers(8, dropout=0.1),
        fusion={"class_path": "MeanFusion", "init_args": {"out_dim": 32}},
        objectives=[BCELoss()],
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
        ks=[1, 5],
        modality_dropout=0.1,
    )
    assert found_next(tmp_path, task, content=True, negatives=4) > 0.4


def with_everything() -> RecommendationTask:
    """A task in which whatever can be drawn is drawn, and every kind of objective has a say."""
    return task_of(
        content="add",
        objectives=[
            BCELoss(),
            InBatchSoftmaxLoss(),
            BootstrapLoss(weight=0.1),
            PerturbedViews(),
            CLIPLoss(weight=0.1),
            EmbeddingL2(schedule="linear_up"),
        ],
        modality_dropout=0.3,
        width=8,
    )


class SaveAt(L.Callback):
    """Keeps a checkpoint after a step, as if the run had been killed there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def small(**options) -> RecommendationData:
    return chained(content=True, users=48, items=20, each=7, batch_size=16, **options)


@pytest.mark.parametrize("step", [2, 4])  # of three an epoch
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, step: int) -> None:
    half, whole = tmp_path / "half.ckpt", with_everything()
    torch.manual_seed(1)
    trainer(tmp_path / "a", 2, callbacks=[SaveAt(step, half)]).fit(whole, datamodule=small())
    resumed = with_everything()
    torch.manual_seed(2)
    trainer(tmp_path / "b", 2).fit(resumed, datamodule=small(), ckpt_path=half)
    expected = whole.state_dict()
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert torch.isfinite(whole.trainer.callback_metrics["train/loss"])


def test_a_checkpoint_serves_users_as_training_left_them(tmp_path: Path) -> None:
    data, task = small(), task_of(content="add", width=8)
    trainer(tmp_path, 1).fit(task, datamodule=data)
    path = tmp_path / "checkpoints/last.ckpt"
    served, every = Recommender.load(path), task.model.represent()
    assert torch.equal(served.users, every.users)
    assert not torch.equal(served.users, task.model.represent(split="test").users)
    again = restored(path, small())
    for split in ("val", "test"):
        assert torch.equal(
            again.represent(split=split).users, task.model.represent(split=split).users
        )


def test_rankings_lose_what_items_lose(tmp_path: Path) -> None:
    data, task = small(), task_of(content="concat", width=8)
    runs = trainer(tmp_path, 2, enable_checkpointing=False)
    runs.fit(task, datamodule=data)
    for split in ("val", "test"):
        table = ranking_robustness(task.model, data, split=split, ks=[5], bootstrap=0)
        lines = table.lines("all", "recall_at_5").query("fill == 'absent'").set_index("condition")
        run = runs.validate if split == "val" else runs.test
        (scores,) = run(task, datamodule=data, verbose=False)
        whole = lines.loc["complete", "value"]
        assert whole == pytest.approx(scores[f"{split}/recall_at_5"], abs=1e-6)
        assert lines["drop"].abs().max() > 0


def test_data_without_times_is_refused_before_training(tmp_path: Path) -> None:
    user, item, _ = chain_rows(users=20, each=4)
    data = RecommendationData(InteractionArrays(user, item), split=RandomSplit())
    with pytest.raises(ConfigError, match="reads users' items in the order of time"):
        trainer(tmp_path, 1).fit(task_of(), datamodule=data)


CONFIG = """
data:
  class_path: mmfuse.recommend.RecommendationData
  init_args:
    source: {class_path: InteractionTable, init_args: {path: rows.csv, time: time}}
    split: {class_path: LeaveOneOut}
    items:
      class_path: TableData
      init_args:
        path: items.csv
        modalities: {image: {columns: IMAGE}, sound: {columns: SOUND}}
    item_id: item
    batch_size: 16
trainer: {max_epochs: 1}
"""


def test_the_command_knows_the_preset(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    rows = dict(zip(("user", "item", "time"), chain_rows(users=40, items=20, each=6), strict=True))
    pd.DataFrame(rows).to_csv("rows.csv", index=False)
    columns = {f"{m}{k}": x[:, k] for m, x in chain_features(20).items() for k in range(x.shape[1])}
    pd.DataFrame({"item": np.arange(20), **columns}).to_csv("items.csv", index=False)
    config = CONFIG
    for m in ("image", "sound"):
        config = config.replace(m.upper(), str([c for c in columns if c.startswith(m)]))
    Path("data.yaml").write_text(config)
    presets = Path(__file__).parents[2] / "experiments/recommend/presets"
    model = yaml.safe_load((presets / "sasrec.yaml").read_text())
    model["model"]["init_args"]["item"]["init_args"]["content"] = "add"
    Path("model.yaml").write_text(yaml.safe_dump(model))
    words = ["--config", "data.yaml", "--config", "model.yaml"]
    assert main(["fit", *words]) == 0
    assert main(["test", *words, "--ckpt_path", "best"]) == 0
    assert main(["robustness", *words, "--ckpt_path", "best", "--mcar_rates=[0.5]"]) == 0
    best = "runs/version_0/checkpoints/best.ckpt"
    assert main(["recommend", best, "--user", "7", "--k", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
