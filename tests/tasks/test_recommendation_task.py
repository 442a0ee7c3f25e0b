"""RecommendationTask: learns planted tastes, resumes exactly, refuses what does not fit."""

from __future__ import annotations

import csv
from pathlib import Path

import lightning as L
import pytest
import torch
from planted import TASTES, planted

import mmfuse
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.objectives import CLIPLoss, SupervisedLoss
from mmfuse.recommend import ItemVectors, Recommender, UserVectors
from mmfuse.recommend.objectives import BootstrapLoss, BPRLoss, EmbeddingL2, PerturbedViews
from mmfuse.recommend.propagation import ItemGraph, LightGCN, SumOf
from mmfuse.recommend.ranking import dot, evaluate_ranking
from mmfuse.tasks import RecommendationTask
from mmfuse.trainer import Trainer
from mmfuse_encoders import LinearEncoder


def trainer(folder: Path, epochs: int = 2, **options: object) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        default_root_dir=str(folder),
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        accelerator="cpu",
        **{"logger": False, **options},
    )


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.05)


def with_everything() -> RecommendationTask:
    """A task in which whatever can be drawn is drawn."""
    torch.manual_seed(0)
    return RecommendationTask(
        ItemVectors(8, content="add"),
        UserVectors("both"),
        SumOf([LightGCN(1, keep=0.5), ItemGraph(3)]),
        {"*": LinearEncoder},
        objectives=[
            BPRLoss(),
            BootstrapLoss(),
            PerturbedViews(),
            CLIPLoss(weight=0.1),
            EmbeddingL2(schedule="linear_up"),
        ],
        ks=[5, 10],
        modality_dropout=0.3,
    )


def test_planted_tastes_are_learned(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = planted(users=60, each=8, batch_size=128)
    task = RecommendationTask(ItemVectors(8, content="add"), optimizer=adam, ks=[5, 10])
    runs = trainer(tmp_path, 30)
    runs.fit(task, datamodule=data)
    # By chance it is .38: ten of the 26 items that are left.
    assert runs.callback_metrics["val/recall_at_10"] > 0.65
    assert runs.callback_metrics["train/loss"] < 0.4
    (scores,) = runs.test(task, datamodule=data, ckpt_path="best", verbose=False)
    assert scores["test/recall_at_10"] > 0.65
    top = Recommender.load(tmp_path / "checkpoints/best.ckpt").recommend(k=3)
    assert ((top["user"] % TASTES) == (top["item"] % TASTES)).mean() > 0.65


def test_a_run_leaves_its_scores_and_its_best_epoch(tmp_path: Path) -> None:
    data, task = planted(), RecommendationTask(optimizer=adam)
    runs = trainer(tmp_path, 3, logger=True)
    runs.fit(task, datamodule=data)
    folder = tmp_path / "version_0"
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = [float(r["val/recall_at_20"]) for r in rows if r["val/recall_at_20"]]
    assert len(found) == 3
    assert len([r for r in rows if r["train/BPRLoss/bpr"]]) == 3
    best = torch.load(folder / "checkpoints/best.ckpt", weights_only=True)
    assert runs.checkpoint_callback.best_model_score == max(found)
    assert best["epoch"] == found.index(max(found))
    assert (folder / "run.json").is_file()
    assert (folder / "interactions.parquet").is_file()


def test_scores_are_those_of_the_ranking(tmp_path: Path) -> None:
    """Validation leaves out training pairs, test the validation pairs too."""
    data, task = planted(), RecommendationTask(ks=[5])
    runs = trainer(tmp_path, 1)
    runs.fit(task, datamodule=data)
    vectors, lists = task.model.represent(), data.interactions.lists
    found = evaluate_ranking(
        vectors.users, vectors.items, dot, lists("val"), lists("train"), ks=[5]
    ).means()
    assert runs.callback_metrics["val/ndcg_at_5"].item() == pytest.approx(found["ndcg_at_5"])
    (scores,) = runs.test(task, datamodule=data, verbose=False)
    found = evaluate_ranking(
        vectors.users, vectors.items, dot, lists("test"), lists("train", "val"), ks=[5]
    ).means()
    assert scores["test/ndcg_at_5"] == pytest.approx(found["ndcg_at_5"])


class SaveAt(L.Callback):
    """Keeps a checkpoint after a step, as if the run had been killed there."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


class Told(RecommendationTask):
    """Says whenever the vectors of all, and the parts of items, are made."""

    def build(self, model) -> None:
        super().build(model)
        self.asked, plain = [], model.represent

        def represent(*arguments: object, **options: object):
            self.asked.append(options.get("split", "train"))
            return plain(*arguments, **options)

        model.represent = represent


def test_an_epoch_makes_the_vectors_of_all_once(tmp_path: Path) -> None:
    task = Told(ItemVectors(8, content="add"), optimizer=adam, ks=[5], explained=True)
    runs, data = trainer(tmp_path, 3), planted()
    runs.fit(task, datamodule=data)
    assert len(task.asked) == 3  # for validation, the best epochs and the last
    assert task._remembered._made == {}
    runs.test(task, datamodule=data, verbose=False)
    assert task.asked[3:] == ["test"]


def test_checkpoints_hold_the_vectors_of_their_own_weights(tmp_path: Path) -> None:
    """Right after validation, after another step, and after weights changed behind the scenes."""

    class Meddle(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, task: RecommendationTask) -> None:
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}_before.ckpt")
            for p in task.parameters():
                p.data.mul_(0.5)  # as averaging of weights swaps them
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}_after.ckpt")

    task = RecommendationTask(ItemVectors(8, content="add"), optimizer=adam, explained=True)
    data = planted()
    trainer(tmp_path, 2, callbacks=[SaveAt(1, tmp_path / "step.ckpt"), Meddle()]).fit(
        task, datamodule=data
    )
    found = {}
    for path in tmp_path.glob("*.ckpt"):
        held = torch.load(path, weights_only=True)
        copy = task.fresh()
        copy.build(task.make_model(data))
        copy.load_state_dict(held["state_dict"])
        copy.model.attach(data.catalogue, data.interactions)
        wanted = copy.model.represent()
        torch.testing.assert_close(held["serving"]["items"], wanted.items)
        torch.testing.assert_close(held["serving"]["users"], wanted.users)
        total = sum(v for n, v in held["serving"].items() if n.startswith("parts."))
        torch.testing.assert_close(total, wanted.items)
        found[path.stem] = held["serving"]["items"]
    assert len(found) == 5
    every = list(found.values())
    for i, one in enumerate(every):
        assert not any(torch.equal(one, other) for other in every[:i])


def test_kinds_of_items_that_nobody_is_tested_on_are_not_logged(tmp_path: Path) -> None:
    source = mmfuse.recommend.InteractionArrays(
        [0, 0, 0, 1, 1, 2, 2], [0, 1, 2, 0, 3, 1, 3], split=["train"] * 4 + ["test"] + 2 * ["train"]
    )
    features = mmfuse.ArrayData({"a": [[0.0], [1.0], [2.0], [3.0], [4.0]]})  # 4 is cold
    data = mmfuse.RecommendationData(source, features)
    task, runs = RecommendationTask(ks=[5]), trainer(tmp_path, 1)
    runs.fit(task, datamodule=data)
    (scores,) = runs.test(task, datamodule=data, verbose=False)
    assert not [name for name, value in scores.items() if value != value]
    assert not [name for name in scores if name.startswith("test/cold")]
    assert [name for name in scores if name.startswith("test/popularity_")]


@pytest.mark.parametrize("step", [2, 4, 5])  # of three an epoch
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, step: int) -> None:
    half, whole = tmp_path / "half.ckpt", with_everything()
    torch.manual_seed(1)
    trainer(tmp_path / "a", 3, callbacks=[SaveAt(step, half)]).fit(whole, datamodule=planted())
    resumed = with_everything()
    torch.manual_seed(2)
    trainer(tmp_path / "b", 3).fit(resumed, datamodule=planted(), ckpt_path=half)
    expected = whole.state_dict()
    for name, value in resumed.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: RecommendationTask(ItemVectors(4)), "item.init_args.dim"),
        (lambda: RecommendationTask(ItemVectors(8), UserVectors("both")), "user.init_args.by"),
        (lambda: RecommendationTask(ItemVectors(8), backbone=LightGCN()), "backbone"),
        (
            lambda: RecommendationTask(ItemVectors(8), encoders={"*": "LinearEncoder"}),
            "encoders.image",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(tmp_path, other, message) -> None:
    path = tmp_path / "checkpoints/last.ckpt"
    trainer(tmp_path, 1).fit(RecommendationTask(ItemVectors(8)), datamodule=planted())
    with pytest.raises(CheckpointError, match=message):
        trainer(tmp_path / "other", 2).fit(other(), datamodule=planted(), ckpt_path=path)
    task = RecommendationTask(ItemVectors(8))
    with pytest.raises(CheckpointError, match="users"):
        trainer(tmp_path / "more", 2).fit(task, datamodule=planted(users=50), ckpt_path=path)


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path / "r", 1).fit(RecommendationTask(), datamodule=planted())
    path = tmp_path / "r/checkpoints/last.ckpt"
    rows = mmfuse.ArrayData({"a": torch.randn(20, 3).numpy()}, [0, 1] * 10)
    supervised = mmfuse.SupervisedTask(fusion="MeanFusion")
    trainer(tmp_path / "s", 1).fit(supervised, datamodule=rows)
    other = tmp_path / "s/checkpoints/last.ckpt"
    with pytest.raises(CheckpointError, match="another task"):
        trainer(tmp_path, 2).fit(RecommendationTask(), datamodule=planted(), ckpt_path=other)
    for task in (supervised, mmfuse.SupervisedTask(fusion="MeanFusion")):
        with pytest.raises(CheckpointError, match="holds a recommender"):
            trainer(tmp_path / "p", 2).fit(task, datamodule=rows, ckpt_path=path)
        with pytest.raises(CheckpointError, match="holds a recommender"):
            task.start_from(path, rows)


def test_settings_are_plain_and_a_fresh_task_has_the_same() -> None:
    task = with_everything()
    assert task.fresh().settings() == task.settings()
    assert task.fresh().fresh().settings()["item"]["init_args"]["content"] == "add"


def test_data_without_item_modalities_needs_none(tmp_path: Path) -> None:
    runs, data = trainer(tmp_path, 1), planted(content=False)
    runs.fit(RecommendationTask(), datamodule=data)
    assert runs.callback_metrics["val/recall_at_20"] > 0
    for task in (
        RecommendationTask(objectives=[BPRLoss(), CLIPLoss()]),
        RecommendationTask(ItemVectors(content="add")),
        RecommendationTask(backbone=ItemGraph()),
    ):
        with pytest.raises(ConfigError, match=r"modalities|have none"):
            trainer(tmp_path / "refused", 1).fit(task, datamodule=data)


def test_other_data_is_refused(tmp_path: Path) -> None:
    rows = mmfuse.ArrayData({"a": torch.randn(20, 3).numpy()}, [0, 1] * 10)
    with pytest.raises(ConfigError, match="reads RecommendationData; found ArrayData"):
        trainer(tmp_path, 1).fit(RecommendationTask(), datamodule=rows)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RecommendationTask(objectives=[]), "objectives are"),
        (lambda: RecommendationTask(objectives=[SupervisedLoss()]), "needs labels"),
        (lambda: RecommendationTask(ks=[]), "ks are"),
        (lambda: RecommendationTask(ks=[0, 5]), "ks are"),
    ],
)
def test_wrong_options_are_refused(make, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
