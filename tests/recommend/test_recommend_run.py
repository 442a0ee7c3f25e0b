"""Interactions under mmfuse's own Trainer: what validates, and which commands need rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.recommend import InteractionArrays, RecommendationData
from mmfuse.trainer import Trainer


def make(split: str | None = None) -> RecommendationData:
    users, items = torch.arange(10).repeat_interleave(5), torch.arange(50) * 7 % 20
    return RecommendationData(
        InteractionArrays(users, items, split=None if split is None else [split] * 50)
    )


def test_whether_anyone_validates_is_known() -> None:
    assert make().is_validated
    assert not make("train").is_validated


@pytest.mark.parametrize("command", ["extract", "retrieve"])
def test_commands_on_rows_say_that_these_are_none(tmp_path: Path, command: str) -> None:
    trainer = Trainer(default_root_dir=str(tmp_path), logger=False)
    with pytest.raises(ConfigError, match=f"{command} needs data of rows; found Recommendation"):
        getattr(trainer, command)(datamodule=make())
