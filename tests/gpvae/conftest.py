"""A model of three series with random weights, and rows that lack some."""

import pytest
import torch

from mmfuse import Batch, DataSpec, ModalitySpec
from mmfuse.gpvae import MMGPVAE, Series

STEPS = 24


@pytest.fixture
def model():
    torch.manual_seed(0)
    spec = DataSpec(
        {
            "spikes": ModalitySpec("series", (STEPS, 12), mean=(1.5,) * 12, std=(1.0,) * 12),
            "signal": ModalitySpec("series", (STEPS, 5), mean=(0.1,) * 5, std=(2.0,) * 5),
            "pose": ModalitySpec("series", (STEPS, 3)),
        }
    )
    series = {
        "spikes": Series("poisson", private=1, encoder=(8,)),
        "signal": Series(private=2, encoder=(8,), decoder=(6,)),
        "pose": Series(private=0),
    }
    return MMGPVAE(spec, series, shared=2).eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    present = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 1, 1], [1, 1, 0]])
    inputs = {
        "spikes": torch.randint(0, 5, (6, STEPS, 12), generator=generator).float(),
        "signal": torch.randn(6, STEPS, 5, generator=generator),
        "pose": torch.randn(6, STEPS, 3, generator=generator),
    }
    return Batch(tuple(inputs), inputs, present.bool())
