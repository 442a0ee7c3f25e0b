"""Users and items of a few tastes; what an item looks and sounds like tells its taste."""

from __future__ import annotations

import numpy as np
import torch

from mmfuse import DataSpec, FusionModel, ModalitySpec
from mmfuse.data import ArrayData
from mmfuse.recommend import InteractionArrays, RandomSplit, RecommendationData
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.propagation import GraphData

TASTES, WIDTHS = 3, {"image": 6, "sound": 4}


def tastes(count):
    """The taste of each user, or item."""
    return np.arange(count) % TASTES


def planted_pairs(users=45, items=30, each=6, loyalty=0.95, seed=0):
    """User and item of each pair: ``each`` different items a user, mostly of its own taste."""
    rng = np.random.default_rng(seed)
    same = tastes(users)[:, None] == tastes(items)
    share = np.where(same, loyalty, 1 - loyalty)
    taken = [rng.choice(items, each, replace=False, p=row / row.sum()) for row in share]
    return np.repeat(np.arange(users), each), np.concatenate(taken)


def planted_features(items=30, absent=0.2, noise=0.3, seed=0):
    """For each modality ``(I, w)``, NaN where an item lacks it; the last item has nothing."""
    rng = np.random.default_rng(seed + 1)
    found = {}
    for m, width in WIDTHS.items():
        centres = rng.normal(size=(TASTES, width))
        x = centres[tastes(items)] + noise * rng.normal(size=(items, width))
        x[rng.random(items) < absent] = np.nan
        x[-1] = np.nan
        found[m] = x.astype(np.float32)
    return found


def planted(users=45, items=30, each=6, seed=0, content=True, absent=0.2, loyalty=0.95, **options):
    """Interactions with the items' modalities; ``content=False`` leaves them out."""
    user, item = planted_pairs(users, items, each, loyalty, seed)
    source = InteractionArrays(user, item, time=np.arange(len(user)))
    found = planted_features(items, absent, seed=seed) if content else None
    data = {"split": RandomSplit(val=0.2, test=0.2), "batch_size": 64, "seed": seed}
    return RecommendationData(source, ArrayData(found) if found else None, **data | options)


def graph_data_of(data):
    """What propagation may see of it."""
    train, catalogue = data.interactions.lists("train"), data.catalogue
    if catalogue is None:
        return GraphData(train)
    features = catalogue.features()
    columns = dict(zip(catalogue.modalities, catalogue.present.unbind(dim=1), strict=True))
    return GraphData(train, features, {m: columns[m] for m in features})


def tower(fusion, out_dim=5, encoder=None):
    """Encoders and a fusion of the planted items."""
    from mmfuse_encoders import LinearEncoder

    made = {m: (encoder or LinearEncoder)(w, out_dim=out_dim) for m, w in WIDTHS.items()}
    spec = DataSpec({m: ModalitySpec.of(w) for m, w in WIDTHS.items()})
    return FusionModel(spec, made, fusion(dict.fromkeys(WIDTHS, out_dim)), {})


def planted_model(data, *parts, seed=0, **options):
    """A RecommendationModel of these parts, built for the data and its catalogue."""
    torch.manual_seed(seed)
    model = RecommendationModel(*parts, **options)
    model.build(graph_data_of(data))
    if model.tower is not None:
        model.attach(data.catalogue, data.interactions)
    return model
