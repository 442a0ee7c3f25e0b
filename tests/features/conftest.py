"""A small model over two modalities with gaps, and the data it reads."""

from __future__ import annotations

import pytest
import torch
from feature_samples import small_data

from mmfuse import ArrayData, build_model


@pytest.fixture
def data() -> ArrayData:
    return small_data()


@pytest.fixture
def model(data):
    torch.manual_seed(0)
    encoders = {
        "a": "MLPEncoder",
        "s": {"class_path": "GRUEncoder", "init_args": {"out_dim": 4, "tokens": True}},
    }
    return build_model(data.spec, encoders, "SequentialFusion").eval()
