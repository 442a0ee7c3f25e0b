"""Small models to merge."""

import torch
from torch import nn

from mmfuse import DataSpec, Encoder, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion
from mmfuse.spec import ModalitySpec as Spec
from mmfuse_encoders import MLPEncoder


# A name that scans for components pass by.
class _Normed(Encoder):
    """A linear map, dropout and a batch norm, which counts the batches in a whole number."""

    def __init__(self, spec: Spec, out_dim: int = 4, dropout: float = 0.0, frozen: bool = False):
        super().__init__(spec, out_dim, frozen)
        self.map = nn.Linear(self.spec.width, out_dim)
        self.norm = nn.BatchNorm1d(out_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.dropout(self.norm(self.map(x)))


def made(
    seed=0, *, fusion=ConcatFusion, classes=("red", "green"), mean=(), encoder=None, **options
):
    """A small model of two modalities, its weights drawn from a seed."""
    torch.manual_seed(seed)
    a = ModalitySpec("vector", (3,), mean=mean, std=(1.0,) * len(mean))
    spec = DataSpec({"a": a, "b": ModalitySpec.of(2)}, {"y": TargetSpec("multiclass", classes)})
    encoders = {"a": encoder(a) if encoder else MLPEncoder(a, 4), "b": MLPEncoder(2, 4)}
    model = FusionModel(spec, encoders, fusion({"a": 4, "b": 4}, **options)).eval()
    with torch.no_grad():
        for weight in model.parameters():  # some start at zero or one in every model
            weight += 0.1 * torch.randn_like(weight)
    return model
