"""Small models of open_clip, and open_clip's own use of them."""

from __future__ import annotations

import open_clip
import torch

from mmfuse.batch import Batch
from mmfuse.fusion import ConcatFusion
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
from mmfuse.testing.values import sample_raw

IMAGE, TEXT = ModalitySpec("image"), ModalitySpec("text")


VISION = {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 3}


LANGUAGE = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 3}


# Settings that no model has by default.
SETTINGS = {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


def architecture(vision: dict | None = None, text: dict | None = None, **rest) -> dict:
    return {
        "embed_dim": 6,
        "vision_cfg": {**VISION, **(vision or {})},
        "text_cfg": {**LANGUAGE, **(text or {})},
        **rest,
    }


MODELS = {
    "vit": architecture(),
    "average": architecture({"pool_type": "avg", "final_ln_after_pool": True}),
    "resnet": {
        **architecture(),
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    },
    "timm": {
        **architecture(),
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token"},
    },
    "coca": architecture(
        {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        {"embed_cls": True, "output_tokens": True},
        multimodal_cfg={**LANGUAGE, "layers": 1, "attn_pooler_heads": 2},
        custom_text=True,
    ),
}


def theirs(folder):
    """open_clip's own model, preprocessing and tokenizer."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    # With gradients torch's attention takes another way, which rounds in another manner.
    return (
        model.eval().requires_grad_(False),
        preprocess,
        open_clip.get_tokenizer(f"local-dir:{folder}"),
    )


def plainly(model, kind, x):
    """encode_image or encode_text without normalisation, which CoCa does by default."""
    return getattr(model, f"encode_{kind}")(x, normalize=False)


def outputs_of(blocks, run) -> list[torch.Tensor]:
    found = []
    hooks = [b.register_forward_hook(lambda _, __, out: found.append(out)) for b in blocks]
    run()
    for hook in hooks:
        hook.remove()
    return found


def fused(encoders: dict, specs: dict) -> FusionModel:
    fusion = ConcatFusion({m: e.out_dim for m, e in encoders.items()}, out_dim=3, hidden=0)
    return FusionModel(DataSpec(specs, {"y": TargetSpec("regression")}), encoders, fusion).eval()


def batch_of(model: FusionModel, specs: dict) -> Batch:
    inputs = {m: model.preprocess[m](sample_raw(s)) for m, s in specs.items()}
    return Batch(tuple(specs), inputs, torch.ones(6, len(specs)).bool())
