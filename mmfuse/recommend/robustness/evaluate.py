"""Evaluation of a recommender under every condition of absence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import torch

from mmfuse.errors import ConfigError, DataError
from mmfuse.recommend.data import RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.propagation import LearnedItemGraph
from mmfuse.recommend.propagation.one_sided import AlikeGraph
from mmfuse.recommend.ranking import KS, popularity_of
from mmfuse.recommend.robustness.conditions import item_conditions
from mmfuse.recommend.robustness.result import COLUMNS, RankingRobustness
from mmfuse.recommend.robustness.study import SEEN, RankedSplit, Study
from mmfuse.robustness import Condition
from mmfuse.robustness.conditions import check_names


def ranking_robustness(
    model: RecommendationModel,
    data: RecommendationData,
    conditions: Sequence[Condition] | None = None,
    split: RankedSplit = "test",
    ks: Sequence[int] = KS,
    bootstrap: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] | None = None,
) -> RankingRobustness:
    """How well a trained model ranks as items lose modalities.

    Every item is encoded once; what the encoders gave is fused under each condition's mask, passed
    along the graphs and ranked in full. Absence is that of items, in evaluation alone: tables of
    ids and graphs, those that were made of features too, stay as training left them. Natural gaps
    stay; what ``missing`` and ``test_missing`` of the data simulate does not count.

    Beside the model stand baselines, the same weights not told of absence: see ``fills_of``.

    Args:
        model: trained on ``data``, with its catalogue attached.
        data: interactions and items.
        conditions: who is taken away; ``item_conditions`` by default.
        split: whose pairs are to be found.
        ks: where recall and NDCG are measured; 20 among them, or the first, is the main one.
        bootstrap: draws of users behind each interval, the same for all lines; 0 for none.
        seed: of the draws.
        progress: called after each condition.

    Raises:
        ConfigError: modalities do not enter the items' vectors, two conditions share a name, a
            split that is not ranked, or no k.
        DataError: the split is empty, or the data are not what the model was trained on.
    """
    require_content(model)
    if split not in SEEN:
        raise ConfigError(
            f"split is {split!r}; expected val or test, as training pairs are left out of rankings."
        )
    if not ks or min(ks) < 1 or bootstrap < 0:
        raise ConfigError(
            f"ks are {list(ks)} and bootstrap is {bootstrap}; expected whole numbers from 1 up, "
            "and from 0 up."
        )
    _require_same(model, data)
    assert model.tower is not None
    chosen = item_conditions(model.tower.modalities) if conditions is None else list(conditions)
    check_names(chosen)
    ks = sorted(set(ks))
    was_training = model.training
    model.eval()
    try:
        study = Study(model, data, split, ks)
        lines = []
        for condition in chosen:
            lines += study.lines(condition, bootstrap, seed)
            if progress is not None:
                progress()
    finally:
        model.train(was_training)
    meta = {
        "split": split,
        "main_metric": f"recall_at_{20 if 20 in ks else ks[0]}",
        "ks": ks,
        "fills": list(study.fills),
        "bootstrap": bootstrap,
        "seed": seed,
        "modalities": list(model.tower.modalities),
        "items": len(study.natural),
        "cold_items": int(study.cold.sum()),
        "notes": _notes(model, study),
    }
    return RankingRobustness(pd.DataFrame(lines, columns=list(COLUMNS)), meta)


def require_content(model: RecommendationModel) -> None:
    """Refuses a model whose rankings no item modality has a say in.

    Raises:
        ConfigError: its items are ids alone.
    """
    if model.tower is None or model.item.content == "none":
        raise ConfigError(
            "The model's items are ids alone (ItemVectors has content none), and graphs stay as "
            "training made them: no ranking changes when modalities vanish, so that there is "
            "nothing to measure. Train with content set to concat or add."
        )


def _require_same(model: RecommendationModel, data: RecommendationData) -> None:
    taken = popularity_of(data.interactions.lists("train"))
    if not torch.equal(model.item.taken.cpu(), taken):
        raise DataError(
            f"The model was trained on {int(model.item.taken.sum())} pairs over "
            f"{len(model.item.taken)} items; the data has others: {int(taken.sum())} over "
            f"{len(taken)}. Give the data it was trained on, with the same split."
        )


def _notes(model: RecommendationModel, study: Study) -> list[str]:
    found = []
    parts = [] if model.backbone is None else model.backbone.modules()
    made = sorted({type(p).__name__ for p in parts if isinstance(p, AlikeGraph | LearnedItemGraph)})
    if made:
        found.append(
            f"{' and '.join(made)} came of features in training and stays as it was: absence "
            "reaches the items' own vectors alone."
        )
    if "zero" not in study.fills:
        found.append("No baseline of zeros: some modality is neither a vector nor a table.")
    return found
