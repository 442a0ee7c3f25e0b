"""What these tests share."""

from __future__ import annotations

import json

import huggingface_hub.constants
import open_clip
import pytest
import torch
from open_clip_samples import (
    MODELS,
    SETTINGS,
    architecture,
)
from safetensors.torch import save_file


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder a model, with random weights, as open_clip saves it."""
    found = {}
    for name, model in MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        content = {"model_cfg": model, "preprocess_cfg": SETTINGS}
        (folder / "open_clip_config.json").write_text(json.dumps(content))
        torch.manual_seed(1)
        built = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        for parameter in built.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        save_file(built.state_dict(), folder / "open_clip_model.safetensors")
        found[name] = folder
    return found


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """A model whose text tower and tokenizer are of transformers, in a folder of theirs."""
    import tokenizers
    import transformers

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "short", "text", "one", "word"]
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    plain.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    folder = tmp_path / "bert"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    transformers.BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=16,
    ).save_pretrained(folder)  # fmt: skip
    model = architecture()
    model["text_cfg"] = {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": str(folder),
        "context_length": 8,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(model))
    return path, folder
