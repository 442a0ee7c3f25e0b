"""Encoders around open_clip's towers keep an encoder's promises."""

from __future__ import annotations

import pytest

from mmfuse.testing import check_encoder
from mmfuse_encoders import OpenClipImageEncoder, OpenClipTextEncoder
from mmfuse_encoders.adapters import FullTuning, LoRA


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit", {}),
        ("vit", {"layers": [1, 0], "adapter": FullTuning()}),
        ("vit", {"adapter": LoRA(2), "out_dim": 3, "tokens": True}),
        ("average", {"tokens": True, "adapter": FullTuning()}),
        ("resnet", {"layers": [1, 0], "tokens": True, "adapter": FullTuning()}),
        ("timm", {"layers": [1], "adapter": FullTuning()}),
        ("coca", {"tokens": True, "adapter": FullTuning()}),
    ],
)
def test_image_towers_keep_an_encoders_promises(folders, name, options):
    check_encoder(OpenClipImageEncoder, model=f"local-dir:{folders[name]}", **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit", {"adapter": LoRA(2)}),
        pytest.param("vit", {"layers": [1], "adapter": FullTuning()}, marks=pytest.mark.slow),
        pytest.param("coca", {"tokens": True, "adapter": FullTuning()}, marks=pytest.mark.slow),
    ],
)
def test_text_towers_keep_an_encoders_promises(folders, name, options):
    check_encoder(OpenClipTextEncoder, model=f"local-dir:{folders[name]}", **options)
