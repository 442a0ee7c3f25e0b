"""SharedTokenAdapter: MMRL and MMRL++ against the equations written out, and their promises."""

from __future__ import annotations

import copy
import math

import lightning as L
import open_clip
import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from mmfuse.errors import ConfigError, DataError
from mmfuse_encoders import SharedTokenAdapter

VISION = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 4}
LANGUAGE = {"context_length": 9, "vocab_size": 40, "width": 12, "heads": 3, "layers": 4}
START, END = 38, 39
#: Three classes, texts of several lengths.
PROMPTS = torch.tensor(
    [
        [START, 5, 6, END, 0, 0, 0, 0, 0],
        [START, 7, END, 0, 0, 0, 0, 0, 0],
        [START, 8, 9, 4, 3, 2, END, 0, 0],
    ]
)
FULL = {"mode": "full"}
SRRA = {"mode": "srra", "beta": 0.4, "rank": 2, "projection_rank": 3}


def tiny(vision: dict | None = None, text: dict | None = None, cls=open_clip.CLIP, **rest):
    """A CLIP of four layers in double precision, every weight drawn at random."""
    torch.manual_seed(1)
    clip = cls(6, {**VISION, **(vision or {})}, {**LANGUAGE, **(text or {})}, **rest).double()
    for parameter in clip.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return clip


def adapted(clip=None, **options) -> SharedTokenAdapter:
    """An adapter of which nothing stands where it began."""
    adapter = SharedTokenAdapter(
        clip or tiny(), **{"first_layer": 2, "k": 2, "d_r": 7, **options}
    ).double()
    torch.manual_seed(2)
    for parameter in learning(adapter).values():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return adapter


def learning(adapter: SharedTokenAdapter) -> dict[str, torch.Tensor]:
    return {n: p for n, p in adapter.named_parameters() if p.requires_grad}


def pictures(n: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(n, 3, 16, 16, dtype=torch.double, generator=generator)


LABELS = torch.tensor([0, 2, 1, 0])


@pytest.fixture(scope="module")
def vit_b_16():
    """The real architecture, with no memory behind its weights."""
    config = open_clip.get_model_config("ViT-B-16")
    with torch.device("meta"):
        return open_clip.CLIP(**config)


@pytest.mark.parametrize(("mode", "count"), [("full", 4_992_256), ("srra", 813_312)])
def test_on_vit_b_16_no_more_parameters_learn_than_the_method_has(vit_b_16, mode, count):
    adapter = SharedTokenAdapter(vit_b_16, mode=mode)
    assert sum(p.numel() for p in learning(adapter).values()) == count
