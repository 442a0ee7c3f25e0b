"""Training data without negatives: what needs none trains as before, what needs some says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from planted import planted, planted_model, tower

from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import SideBySideFusion
from mmfuse.objectives import CLIPLoss
from mmfuse.recommend import (
    InteractionArrays,
    ItemVectors,
    RandomSplit,
    RecommendationData,
    UserVectors,
)
from mmfuse.recommend.objectives import (
    BPRLoss,
    EmbeddingL2,
    InBatchSoftmaxLoss,
    ModalityBPR,
    RankingObjective,
)
from mmfuse.recommend.propagation import LightGCN
from mmfuse.registry import known
from mmfuse.tasks import RecommendationTask
from mmfuse.tasks.ranked import RankedSplit
from mmfuse.trainer import Trainer
from mmfuse_encoders import LinearEncoder

NEEDS_NONE = [cls for cls in known(RankingObjective).values() if not cls.needs_negatives]


def trainer(folder) -> Trainer:
    return Trainer(
        max_epochs=1,
        default_root_dir=str(folder),
        enable_progress_bar=False,
        num_sanity_val_steps=0,
        logger=False,
    )


def test_batches_are_the_same_pairs_with_nothing_drawn() -> None:
    some, none = (list(planted(negatives=n).train_dataloader()) for n in (2, 0))
    assert [b.negatives.shape for b in none] == [(len(b), 0) for b in some]
    assert none[0].negatives.dtype == torch.long
    assert all(torch.equal(x.users, y.users) for x, y in zip(some, none, strict=True))
    assert all(torch.equal(x.items, y.items) for x, y in zip(some, none, strict=True))
    assert torch.equal(none[0].distinct_items(), none[0].items.unique())


def test_whoever_took_everything_is_no_obstacle() -> None:
    source = InteractionArrays(["ann", "ann", "bob"], [5, 6, 5])
    (batch,) = RecommendationData(source, split=RandomSplit(0, 0), negatives=0).train_dataloader()
    assert batch.negatives.shape == (3, 0)
    with pytest.raises(DataError, match="'ann' with 2 of 2"):
        RecommendationData(source, split=RandomSplit(0, 0)).train_dataloader()


@pytest.mark.parametrize("backbone", [None, LightGCN(1)])
@pytest.mark.parametrize("objective", NEEDS_NONE, ids=lambda cls: cls.__name__)
def test_what_needs_none_reads_none(objective, backbone) -> None:
    """The loss does not depend on what was drawn, but for vectors that are held down."""
    data = planted(negatives=2)
    item = ItemVectors(7, content="concat")
    model = planted_model(data, item, UserVectors(), backbone, tower(SideBySideFusion))
    batch = next(iter(data.train_dataloader()))
    losses = []
    for own in (batch, replace(batch, negatives=batch.negatives[:, :0])):
        torch.manual_seed(1)
        term = objective()
        term.build(model)
        losses.append(term(model, own, model(own, term.reads_content, term.reads_drawn)))
    if objective.__name__ == "OrthogonalityLoss":  # over the batch's items, drawn ones among them
        assert all(torch.isfinite(v) for v in losses[1].values())
    elif objective is EmbeddingL2:
        assert 0 < losses[1]["l2"] < losses[0]["l2"]
    else:
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("objective", [BPRLoss, ModalityBPR])
def test_an_objective_that_needs_some_is_named(objective, tmp_path) -> None:
    objectives = [InBatchSoftmaxLoss(), objective()]
    task = RecommendationTask(ItemVectors(8), encoders={"*": LinearEncoder}, objectives=objectives)
    with pytest.raises(ConfigError, match=f"{objective.__name__} compares.* Set .*negatives to 1"):
        trainer(tmp_path).fit(task, datamodule=planted(negatives=0))


def test_a_run_without_negatives_learns_and_is_evaluated(tmp_path) -> None:
    objectives = [InBatchSoftmaxLoss(), EmbeddingL2(), CLIPLoss(weight=0.1)]
    task = RecommendationTask(
        ItemVectors(8, content="add"), encoders={"*": LinearEncoder}, objectives=objectives
    )
    runs = trainer(tmp_path)
    runs.fit(task, datamodule=planted(negatives=0))
    assert torch.isfinite(runs.callback_metrics["train/loss"])
    assert torch.isfinite(runs.callback_metrics["val/loss"])


def test_a_trained_model_is_tested_on_data_without_negatives(tmp_path) -> None:
    task, runs = RecommendationTask(ItemVectors(8)), trainer(tmp_path)
    runs.fit(task, datamodule=planted(content=False))
    (found,) = runs.test(task, datamodule=planted(content=False, negatives=0), verbose=False)
    assert 0 <= found["test/recall_at_20"] <= 1


def test_the_loss_of_validation_pairs_is_against_uniform_negatives() -> None:
    """However those of training are drawn, so that it can be compared between runs."""
    plain = planted(content=False)
    model = planted_model(plain, ItemVectors(8), UserVectors())
    wanted = RankedSplit(model, plain, "val", (5,)).loss()
    for options in ({"popularity": 1.0}, {"leaky_negatives": True}, {"negatives": 0}):
        data = planted(content=False, **options)
        assert RankedSplit(model, data, "val", (5,)).loss() == wanted
