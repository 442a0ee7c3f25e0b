"""AlignmentTask: a shared space, its scores in every direction and by class names, checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmfuse import AlignmentTask, ArrayData, SupervisedTask, Trainer, load
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError, DataError
from mmfuse.features import Extractor, index
from mmfuse.objectives import CLIPLoss, SupervisedLoss
from mmfuse.retrieval import retrieval_scores
from mmfuse.tasks import SpaceHead

WORDS = ("red", "green", "blue", "grey")


def data(**options) -> ArrayData:
    """Two views of hidden numbers, a text that names their class, and gaps in each."""
    source = np.random.default_rng(0)
    label = np.arange(240) % 4
    hidden = source.normal(size=(240, 3)) + 3 * np.eye(4, 3)[label]
    a, b = hidden @ source.normal(size=(3, 5)), hidden * 2.0
    a[::9], b[4::9] = np.nan, np.nan
    text = [f"{WORDS[k]} thing {i % 5}" if i % 7 else None for i, k in enumerate(label)]
    inputs = {"a": a, "b": b, "text": text}
    wanted = options.pop("modalities", list(inputs))
    target = options.pop("target", [WORDS[k] for k in label])
    return ArrayData({m: inputs[m] for m in wanted}, target, **options)


def trainer(folder, **options) -> Trainer:
    given = {"max_epochs": 2, "logger": False, "enable_progress_bar": False} | options
    return Trainer(default_root_dir=str(folder), **given)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[AlignmentTask, Trainer, FusionDataModule]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    task, module = AlignmentTask(templates=["{}", "{} thing"]), data()
    made = trainer(folder, max_epochs=15, monitor="val/a_to_b/r_at_1", monitor_mode="max")
    made.fit(task, datamodule=module)
    return task, made, module


def test_every_direction_and_the_class_names_are_scored(fitted):
    _, made, _ = fitted
    scores = made.callback_metrics
    directions = [f"{q}_to_{i}" for q in ("a", "b", "text") for i in ("a", "b", "text") if q != i]
    for direction in directions:
        for name in ("r_at_1", "r_at_5", "r_at_10", "median_rank", "mean_rank", "mrr", "map"):
            assert f"val/{direction}/{name}" in scores
    assert scores["val/r_at_1"] == pytest.approx(
        np.mean([scores[f"val/{d}/r_at_1"] for d in directions]), rel=1e-5
    )
    assert scores["val/a_to_b/r_at_5"] > 0.5  # chance is about 1 in 8
    assert scores["val/a_to_text/map"] > 0.6  # chance is 1 in 4
    assert scores["val/zero_shot/a"] > 0.7  # chance is 1 in 4
    assert "val/zero_shot/text" not in scores
    assert "CLIPLoss/a_b" in {k.removeprefix("train/") for k in scores}


def test_scores_are_those_of_the_vectors(fitted, tmp_path):
    task, _, module = fitted
    found = trainer(tmp_path).test(task, datamodule=module, verbose=False)[0]
    rows = module.rows("test")
    batch = module.dataset("test").__getitems__(rows.tolist())
    with torch.no_grad():
        tokens = task.model.eval().encode(batch)
    a, b = tokens["a"], tokens["b"]
    both = a.mask.any(1) & b.mask.any(1)
    assert not both.all()
    expected = retrieval_scores(a.pooled()[both], b.pooled()[both])
    assert found["test/a_to_b/r_at_1"] == pytest.approx(expected.recall[1])
    assert found["test/a_to_b/median_rank"] == expected.median_rank


def test_the_monitored_checkpoint_loads_extracts_and_is_searched(fitted, tmp_path):
    _, made, module = fitted
    path = made.checkpoint_callback.best_model_path
    model = load(path)
    assert not model.heads
    Extractor(model).extract(module, tmp_path / "f", ["a", "b", "fused"])
    found = index(tmp_path / "f", "b").search_rows([1], k=1, column="a")
    assert found.rows.shape == (1, 1)
    again = trainer(tmp_path, monitor="val/a_to_b/r_at_1", monitor_mode="max").validate(
        AlignmentTask(templates=["{}", "{} thing"]),
        datamodule=data(),
        ckpt_path=path,
        verbose=False,
    )[0]
    best = made.checkpoint_callback.best_model_score
    assert again["val/a_to_b/r_at_1"] == pytest.approx(best.item())
    assert again["val/zero_shot/a"] > 0.5  # the loaded weights read the names


def test_all_that_learns_is_the_encoders_and_the_scale(fitted):
    task, _, module = fitted
    task.zero_grad()
    task.train().losses(next(iter(module.loader("train")))).total.backward()
    without = [n for n, p in task.named_parameters() if p.requires_grad and p.grad is None]
    assert without == ["model.fusion.prior"]


def test_heads_bring_frozen_encoders_of_any_width_into_one_space(tmp_path):
    frozen = {"class_path": "MLPEncoder", "init_args": {"out_dim": 7, "frozen": True}}
    task = AlignmentTask(
        {"a": frozen, "b": "IdentityEncoder", "text": "HashedNgramEncoder"},
        head=SpaceHead(out_dim=16, hidden=(12,)),
    )
    module = data()
    made = trainer(tmp_path)
    made.fit(task, datamodule=module)
    assert task.model.dims == {"a": 16, "b": 16, "text": 16}
    inner = task.model.encoders["a"].encoder
    assert not any(p.requires_grad for p in inner.parameters())
    batch = next(iter(module.loader("test")))
    own = task.model.eval()
    other = load(made.checkpoint_callback.last_model_path)
    with torch.no_grad():
        for m, tokens in own.encode(batch).items():
            torch.testing.assert_close(tokens.values, other.encode(batch)[m].values)


def test_cached_features_train_heads_as_raw_rows_do(tmp_path):
    identity = {"class_path": "IdentityEncoder", "init_args": {"frozen": True}}
    options = {"modalities": ["a", "b"], "target": None, "standardise": False}
    frozen = AlignmentTask({"a": identity, "b": identity}).towers(data(**options).spec)
    Extractor(frozen).extract(data(**options), tmp_path / "f")
    scores = []
    for cached in ({}, {m: str(tmp_path / "f") for m in "ab"}):
        torch.manual_seed(0)
        made = trainer(tmp_path / str(len(scores)), max_epochs=1)
        task = AlignmentTask({"a": identity, "b": identity}, head=SpaceHead(8))
        made.fit(task, datamodule=data(**options, cached=cached))
        scores.append({n: v.item() for n, v in made.callback_metrics.items()})
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_without_a_target_there_is_no_map_and_pairs_are_scored(tmp_path):
    made = trainer(tmp_path, max_epochs=1)
    made.fit(AlignmentTask(), datamodule=data(modalities=["a", "b"], target=None))
    assert "val/a_to_b/mrr" in made.callback_metrics
    assert not any("map" in name or "zero_shot" in name for name in made.callback_metrics)


@pytest.mark.parametrize(
    ("task", "options", "error", "message"),
    [
        ({}, {"modalities": ["a"]}, ConfigError, "takes two or more"),
        (
            {
                "encoders": {
                    "a": {"class_path": "MLPEncoder", "init_args": {"out_dim": 4}},
                    "b": "MLPEncoder",
                }
            },
            {"modalities": ["a", "b"]},
            ConfigError,
            "one width",
        ),
        ({"target": "size"}, {}, ConfigError, "target is 'size'"),
        ({"templates": ["no place"]}, {}, ConfigError, "in the place of a"),
        ({"templates": []}, {}, ConfigError, "in the place of a"),
        ({"class_names": {"pink": "rose"}}, {}, ConfigError, r"names \['pink'\]"),
        ({"templates": ["{}"]}, {"modalities": ["a", "b"]}, ConfigError, "no modality of raw text"),
        ({"templates": ["{}"]}, {"target": None}, ConfigError, "no target with classes"),
    ],
)
def test_what_cannot_be_aligned_is_told(tmp_path, task, options, error, message):
    with pytest.raises(error, match=message):
        trainer(tmp_path).fit(AlignmentTask(**task), datamodule=data(**options))


def test_rows_that_pair_nothing_are_told(tmp_path):
    a, b = np.random.rand(40, 3), np.random.rand(40, 2)
    a[::2], b[1::2] = np.nan, np.nan
    with pytest.raises(DataError, match="nothing to align"):
        trainer(tmp_path).fit(AlignmentTask(), datamodule=ArrayData({"a": a, "b": b}))


def test_a_supervised_loss_belongs_to_another_task():
    with pytest.raises(ConfigError, match="SupervisedTask"):
        AlignmentTask(objectives=[CLIPLoss(), SupervisedLoss()])


def test_a_classifier_starts_from_the_aligned_encoders(fitted, tmp_path):
    _, made, _ = fitted
    supervised = SupervisedTask(fusion="UnitMeanFusion")
    path = made.checkpoint_callback.best_model_path
    assert supervised.start_from(path, data()) == ["y"]
    for own, theirs in zip(
        supervised.model.encoders.parameters(), load(path).encoders.parameters(), strict=True
    ):
        torch.testing.assert_close(own, theirs)


def test_there_is_nothing_to_predict(fitted, tmp_path):
    task, _, module = fitted
    with pytest.raises(ConfigError, match="predicts no target"):
        trainer(tmp_path).predict(task, datamodule=module)


def test_an_aligned_model_is_no_model_of_a_target(fitted, tmp_path):
    _, made, _ = fitted
    path = made.checkpoint_callback.best_model_path
    with pytest.raises(ValueError, match="another model"):
        trainer(tmp_path, monitor="val/a_to_b/r_at_1", monitor_mode="max").test(
            SupervisedTask(fusion="UnitMeanFusion"), datamodule=data(), ckpt_path=path
        )


def test_a_batch_in_which_nothing_is_present_is_a_step_without_effect(tmp_path):
    a, b = np.random.default_rng(0).normal(size=(2, 40, 3))
    a[20:], b[20:] = np.nan, np.nan
    module = ArrayData({"a": a, "b": b}, batch_size=1)
    task = AlignmentTask(objectives=[CLIPLoss(learnable=False)])
    trainer(tmp_path, max_epochs=1).fit(task, datamodule=module)
