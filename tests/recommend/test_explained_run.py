"""A training run leaves a checkpoint that recommends and explains without any data."""

from __future__ import annotations

import pytest
import torch
from planted import planted

from mmfuse.cli import main
from mmfuse.errors import ConfigError
from mmfuse.recommend import Recommender, SASRecUsers, UserVectors
from mmfuse.recommend.ideal_point import IdealPointScore
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.propagation import ItemGraph, LightGCN
from mmfuse.tasks import RecommendationTask
from mmfuse.trainer import Trainer


def trained(folder, explained):
    torch.manual_seed(0)
    task = RecommendationTask(item=ItemVectors(6, content="concat"), explained=explained)
    trainer = Trainer(
        max_epochs=1, default_root_dir=str(folder), logger=False, enable_progress_bar=False
    )
    data = planted(batch_size=128)
    trainer.fit(task, datamodule=data)
    trainer.save_checkpoint(folder / "last.ckpt")
    return task, data, str(folder / "last.ckpt")


def test_a_checkpoint_recommends_and_explains(tmp_path, capsys):
    task, data, ckpt = trained(tmp_path, explained=True)
    loaded = Recommender.load(ckpt)
    found = loaded.recommend(k=5)
    assert found.equals(task.recommender().recommend(k=5))
    train = data.interactions.lists("train")
    users, items = loaded.user_ids.codes(found["user"]), loaded.item_ids.codes(found["item"])
    assert not train.contains(users, items).any()
    shares = loaded.explain(found["user"], found["item"])
    assert list(shares) == ["user", "item", "from_base", "from_image", "from_sound"]
    total = torch.tensor(shares.iloc[:, 2:].sum(axis=1).to_numpy())
    torch.testing.assert_close(total, torch.tensor(found["score"].to_numpy()))
    assert main(["recommend", ckpt, "--user", str(found["user"][0]), "--explain"]) == 0
    assert "from sound" in capsys.readouterr().out
    assert task.fresh().explained


def test_without_parts_a_checkpoint_recommends_alone(tmp_path, capsys):
    _, _, ckpt = trained(tmp_path, explained=False)
    assert main(["recommend", ckpt, "--user", "3", "--explain"]) == 2
    assert "holds no parts" in capsys.readouterr().err


def test_what_has_no_parts_is_not_explained():
    with pytest.raises(ConfigError, match="parts to tell of"):
        RecommendationTask(explained=True)
    item = ItemVectors(6, content="add")
    with pytest.raises(ConfigError, match="the score is the dot product"):
        RecommendationTask(item=item, score=IdealPointScore(), explained=True)


@pytest.mark.parametrize(
    ("user", "backbone"),
    [
        (UserVectors("both"), None),
        (UserVectors(), LightGCN(1)),
        (UserVectors("history"), ItemGraph(3)),
        (SASRecUsers(3, heads=2), None),
        (SASRecUsers(3, heads=2), ItemGraph(3)),
    ],
)
def test_items_without_the_users_are_what_ranks(user, backbone, monkeypatch):
    data = planted()
    task = RecommendationTask(ItemVectors(6, content="add"), user, backbone)
    model = task.make_model(data).eval()
    model.attach(data.catalogue, data.interactions)
    wanted = model.represent().items
    if backbone is None or isinstance(user, SASRecUsers):
        monkeypatch.setattr(model.user, "forward", None)  # calling it would fail
    with torch.no_grad():
        torch.testing.assert_close(model.final_items(model._fused()), wanted, rtol=0, atol=0)
