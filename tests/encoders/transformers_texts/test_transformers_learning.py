"""Text encoders of transformers: what learns, promises kept, checkpoints."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
import torch
from transformers_samples import (
    EVERY,
    FROZEN,
    LEARNING,
    TEXT,
    TEXTS,
    encode,
    make,
)

import mmfuse
from mmfuse import Batch, DataSpec, FusionModel, TargetSpec
from mmfuse.encoder import without_pretrained_weights
from mmfuse.fusion import ConcatFusion
from mmfuse.testing import check_encoder
from mmfuse_encoders import TransformersTextEncoder
from mmfuse_encoders.adapters import LastLayers, LoRA


@EVERY
def test_by_default_it_is_frozen_and_its_output_has_no_history(folder):
    encoder = make(folder)
    assert encoder.frozen
    assert not encoder(encoder.preprocess(["a text"])).requires_grad
    assert make(folder, out_dim=3).frozen is False


@EVERY
def test_lora_changes_nothing_at_first_and_learns(folder, learns):
    adapted = TransformersTextEncoder(TEXT, folder, adapter=LoRA(rank=2))
    texts = [t for t in TEXTS if t]
    assert torch.equal(encode(adapted.eval(), texts), encode(make(folder), texts))
    learned = [n for n, p in adapted.named_parameters() if p.requires_grad]
    assert learned
    assert all("lora_" in n for n in learned)
    texts = ["one text", "two words"] * 4
    learns(adapted, adapted.preprocess(texts), torch.arange(8) % 2)


def test_the_last_layers_are_counted_from_the_chosen_one(bert):
    encoder = make(bert, layer=1, adapter=LastLayers(1))
    learned = {n.split(".")[3] for n, p in encoder.named_parameters() if p.requires_grad}
    assert learned == {"0"}


@EVERY
@pytest.mark.parametrize("options", FROZEN, ids=["default", "tokens", "layer"])
def test_frozen_it_keeps_an_encoders_promises(folder, options):
    check_encoder(TransformersTextEncoder, model=folder, **options)


# Not T5, which computes its softmax and norms in float32, too coarse for a numerical gradient.
@pytest.mark.parametrize("folder", ["bert", "roberta", "gpt2"], indirect=True)
@pytest.mark.parametrize("options", LEARNING, ids=["layer", "tokens", "embeddings", "last"])
def test_learning_it_keeps_an_encoders_promises(folder, options):
    with without_pretrained_weights():  # the kit stirs them anyway, and reading them takes longest
        check_encoder(TransformersTextEncoder, model=folder, **options)


def test_with_lora_it_keeps_an_encoders_promises(bert):
    check_encoder(TransformersTextEncoder, model=bert, adapter=LoRA(rank=2, dropout=0.5))


@EVERY
@pytest.mark.parametrize("adapter", [None, LoRA(rank=2)])
def test_a_checkpoint_needs_neither_folder_nor_hub(folder, adapter, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "model")
    encoder = TransformersTextEncoder(TEXT, str(copy), out_dim=4, layer=-2, adapter=adapter)
    spec = DataSpec({"x": TEXT}, {"y": TargetSpec("regression")})
    model = FusionModel(spec, {"x": encoder}, ConcatFusion({"x": 4})).eval()
    path = mmfuse.save(model, tmp_path / "model.ckpt")
    shutil.rmtree(copy)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    loaded = mmfuse.load(path)
    texts = [t for t in TEXTS if t]
    present = torch.ones(len(texts), 1, dtype=torch.bool)
    answers = [
        m(Batch(("x",), {"x": m.preprocess["x"](texts)}, present)).logits["y"]
        for m in (model, loaded)
    ]
    assert torch.equal(*answers)


def test_building_it_draws_no_random_number(bert):
    torch.manual_seed(5)
    make(bert, adapter=LoRA())
    found = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(found, torch.rand(3))


def test_importing_the_encoders_imports_little_beyond_torch():
    heavy = {"transformers", "tokenizers", "av", "peft", "sklearn", "scipy", "pandas"}
    heavy |= {"timm", "open_clip", "torchaudio", "torchvision"}
    code = f"import sys, mmfuse_encoders; print(*{heavy}.intersection(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
