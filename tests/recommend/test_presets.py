"""Presets: each is read as the command reads it, trains on a few planted tastes, and ranks."""

from __future__ import annotations

import os
from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from planted import planted

from mmfuse.cli import main
from mmfuse.lazy import import_names
from mmfuse.recommend import Recommender
from mmfuse.registry import import_all
from mmfuse.tasks import RecommendationTask
from mmfuse.trainer import Trainer

FOLDER = Path(__file__).parents[2] / "experiments/recommend/presets"
PRESETS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> RecommendationTask:
    import_all()
    import_names("mmfuse.recommend")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(L.LightningModule, "model")
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    return parser.instantiate(parser.parse_object(content)).model


def test_every_model_that_the_docs_name_is_there() -> None:
    assert {"bpr_mf", "lightgcn", "vbpr", "bm3", "freedom", "lirdrec", "rearm"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_whose_it_is(name: str) -> None:
    comment = [
        line for line in (FOLDER / f"{name}.yaml").read_text().splitlines() if line[:1] == "#"
    ]
    assert len(comment) >= 3
    assert "arXiv:" in " ".join(comment)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_trains_and_ranks(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    task = read(name)
    trainer = Trainer(
        max_epochs=1,
        default_root_dir=str(tmp_path),
        logger=False,
        enable_progress_bar=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, datamodule=planted(batch_size=128))
    found = trainer.callback_metrics
    assert torch.isfinite(found["train/loss"])
    assert 0 <= found["val/recall_at_20"] <= 1
    vectors = task.model.represent()
    assert vectors.users.shape[1] == vectors.items.shape[1]
    assert torch.isfinite(vectors.items).all()
    served = Recommender.load(tmp_path / "checkpoints/best.ckpt").recommend(k=3)
    assert len(served) == 45 * 3


@pytest.mark.data
@pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")
def test_the_recipe_of_tiktok_runs_with_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = FOLDER.parent / "tiktok.yaml"
    words = ["fit", "--config", str(recipe), "--config", str(FOLDER / "vbpr.yaml")]
    short = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2"]
    assert main([*words, *short]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("Best checkpoint: runs/")
    assert (tmp_path / "runs/version_0/checkpoints/best.ckpt").is_file()
