"""The unimodal heads of a checkpoint are those that were trained, or their lack is told."""

from __future__ import annotations

import pytest
import torch
from planted_classes import rows

from mmfuse import ArrayData, SupervisedTask, Trainer, load, save
from mmfuse.errors import CheckpointError
from mmfuse.objectives import SupervisedLoss, UnimodalLoss
from mmfuse.robustness.ood import UnimodalDisagreement, evaluate_ood, unimodal_heads

BATCH = rows(range(3), 60, seed=1)


def fitted(folder, objectives):
    data = ArrayData({m: x.numpy() for m, x in BATCH.inputs.items()}, BATCH.target["kind"].numpy())
    task = SupervisedTask(fusion="ConcatFusion", objectives=objectives)
    trainer = Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, enable_checkpointing=False
    )
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(folder / "model.ckpt")
    return task, folder / "model.ckpt"


def test_the_heads_of_a_checkpoint_are_those_that_were_trained(tmp_path):
    task, path = fitted(tmp_path, [SupervisedLoss(), UnimodalLoss(hidden=4)])
    model = load(path)
    heads = unimodal_heads(path, model)
    trained = task.objectives[1].state_dict()
    assert trained
    assert trained.keys() == heads.state_dict().keys()
    assert all(torch.equal(v, trained[n]) for n, v in heads.state_dict().items())
    scores = {"gap": UnimodalDisagreement(heads)}
    target = next(iter(model.spec.targets))
    batch = type(BATCH)(
        BATCH.modalities, BATCH.inputs, BATCH.present, {target: BATCH.target["kind"]}
    )
    found = evaluate_ood(model, [batch], [batch], {"o": [batch]}, scores, bootstrap=0)
    assert found.wide()["auroc"].item() == pytest.approx(0.5)


def test_a_checkpoint_without_unimodal_heads_is_refused(tmp_path):
    _, path = fitted(tmp_path, [SupervisedLoss()])
    with pytest.raises(CheckpointError, match="no unimodal heads; its objectives are: Supervised"):
        unimodal_heads(path, load(path))
    alone = save(load(path), tmp_path / "alone.ckpt")
    with pytest.raises(CheckpointError, match="its objectives are: none"):
        unimodal_heads(alone, load(alone))
