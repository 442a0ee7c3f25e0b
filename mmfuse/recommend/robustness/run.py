"""What `mmfuse robustness` does with a recommender: a table, pictures, and files of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmfuse.errors import ConfigError
from mmfuse.files import require_writable
from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.ranking import KS
from mmfuse.recommend.restored import restored
from mmfuse.recommend.robustness.conditions import item_conditions
from mmfuse.recommend.robustness.evaluate import ranking_robustness, require_content
from mmfuse.recommend.robustness.result import RankingRobustness
from mmfuse.recommend.robustness.study import RankedSplit
from mmfuse.recommend.robustness.terminal import print_robustness
from mmfuse.robustness.conditions import MCAR_RATES


def ranking_robustness_run(
    data: RecommendationData,
    folder: str | Path,
    model: Any = None,
    ckpt_path: str | Path | None = None,
    split: str = "test",
    mcar_rates: Sequence[float] | None = None,
    ks: Sequence[int] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    device: torch.device | str = "cpu",
    is_shown: bool = True,
) -> RankingRobustness:
    """Ranks under every condition of absence, and reports.

    The folder gets ``robustness.csv``, ``meta.json``, ``subsets.png`` and ``mcar.png``.

    Args:
        data: interactions and items.
        folder: of the report.
        model: a trained ``RecommendationModel``.
        ckpt_path: a checkpoint instead.
        split: ``val`` or ``test``.
        mcar_rates: rates missing completely at random; 0.1 to 0.9 by default.
        ks: where to measure; those of every ranking by default.
        bootstrap: draws of users behind each interval.
        seed: of simulated absence and draws.
        device: where to compute.
        is_shown: show a progress bar, and the table, on the terminal.

    Raises:
        OutputError: the folder cannot be written; told before anything is computed.
        ConfigError: nothing trained, or as ``ranking_robustness``.
        CheckpointError: the checkpoint is of other data.
        DataError: the split is empty.
    """
    if ckpt_path is not None:
        model = restored(ckpt_path, data)
    if not isinstance(model, RecommendationModel):
        raise ConfigError(
            "There is no trained recommender to evaluate. Give a checkpoint of one, such as "
            "--ckpt_path=runs/version_0/checkpoints/best.ckpt or --ckpt_path=best."
        )
    require_content(model)
    require_writable(folder)
    assert model.tower is not None
    data.attach(model.tower.preprocess)
    rates = MCAR_RATES if mcar_rates is None else tuple(mcar_rates)
    conditions = item_conditions(model.tower.modalities, seed, rates)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, disable=not is_shown) as bar:
        work = bar.add_task("ranking under conditions", total=len(conditions))
        result = ranking_robustness(
            model.to(device),
            data,
            conditions,
            cast(RankedSplit, split),
            KS if ks is None else ks,
            bootstrap,
            seed,
            lambda: bar.advance(work),
        )
    if ckpt_path is not None:
        result.meta["checkpoint"] = Path(ckpt_path).name
    result.save(folder)
    if is_shown:
        print_robustness(result)
        print(f"Report: {folder}")
    return result
