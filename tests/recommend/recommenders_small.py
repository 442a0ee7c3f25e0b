"""A small recommender over the small catalogue of ``graphs_small``, in float64."""

import torch
from graphs_small import graph_data

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec
from mmfuse.fusion import MeanFusion
from mmfuse.recommend import RankingBatch
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.users import UserVectors
from mmfuse_encoders import MLPEncoder


class SmallCatalogue:
    """The items of ``graph_data``; NaN stands wherever nothing is."""

    def __init__(self, data):
        self.modalities = tuple(data.features)
        self.present = torch.stack([data.present[m] for m in self.modalities], dim=1)
        self.inputs = {
            m: x.double().masked_fill(~data.present[m][:, None], torch.nan)
            for m, x in data.features.items()
        }

    def batch(self, items=None, split="train"):
        codes = torch.arange(len(self.present)) if items is None else items
        inputs = {m: x[codes] for m, x in self.inputs.items()}
        return Batch(self.modalities, inputs, self.present[codes], index=codes)


def small_model(content="none", tower=True, backbone=None, by="id", dim=6, **options):
    """Seven users, nine items; item 2 lacks the image, item 3 both modalities."""
    torch.manual_seed(0)
    data, made = graph_data(), None
    if tower:
        spec = DataSpec({m: ModalitySpec.of(x.shape[1]) for m, x in data.features.items()})
        widths = {"image": 6, "text": 5}
        encoders = {m: MLPEncoder(s, out_dim=widths[m]) for m, s in spec.modalities.items()}
        made = FusionModel(spec, encoders, MeanFusion(widths, out_dim=4), heads={})
    item = ItemVectors(dim, content=content)
    model = RecommendationModel(item, UserVectors(by), backbone, made, **options)
    model.build(data)
    model.attach(SmallCatalogue(data) if tower else None)
    return model.double().eval()


def batch_of():
    """Pairs whose items and negatives between them lack either modality."""
    items = torch.tensor([0, 2, 3, 5])
    negatives = torch.tensor([[4, 1], [7, 0], [1, 6], [2, 3]])
    return RankingBatch(torch.tensor([0, 1, 1, 5]), items, negatives)
