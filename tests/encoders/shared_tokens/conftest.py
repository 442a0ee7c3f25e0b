"""What these tests share."""

from __future__ import annotations

import open_clip
import pytest
import torch
from shared_token_samples import (
    adapted,
)


@pytest.fixture(scope="module")
def vit_b_16():
    """The real architecture, with no memory behind its weights."""
    config = open_clip.get_model_config("ViT-B-16")
    with torch.device("meta"):
        return open_clip.CLIP(**config)


@pytest.fixture
def counted():
    """An adapter in eval mode, and how often its text tower has run with tokens, and without."""
    adapter, runs = adapted().eval(), []
    adapter._text.upper[0].register_forward_hook(lambda m, x, y: runs.append(y.shape[1]))
    return adapter, runs
