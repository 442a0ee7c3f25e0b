"""Tiny checkpoints of four kinds of text model, in the library's own format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    PreTrainedTokenizerFast,
)

from mmfuse import ModalitySpec
from mmfuse_encoders import TransformersTextEncoder
from mmfuse_encoders.adapters import FullTuning, LastLayers

TEXT = ModalitySpec("text")


TEXTS = ["a short text", "one", "a longer text, with more words in it", "", "zebra text"]


SENTENCE = "a short text one longer , with more words in it and two the last of them all"


WORDS = list(dict.fromkeys(SENTENCE.split()))


SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


def tokenizer(specials: list[str], template: str, **options) -> PreTrainedTokenizerFast:
    vocabulary = {w: i for i, w in enumerate([*specials, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=specials[1]))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        inner.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(s, i) for i, s in enumerate(specials)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token=specials[1], **options)


def save(folder: Path, network, words: PreTrainedTokenizerFast | None) -> str:
    torch.manual_seed(3)
    network.save_pretrained(folder)
    if words is not None:
        words.save_pretrained(folder)
    return str(folder)


def bert_words() -> PreTrainedTokenizerFast:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    return tokenizer(specials, "[CLS] $A [SEP]", pad_token="[PAD]", model_max_length=24)


def bert_config(**options) -> BertConfig:
    sizes = {**SIZES, "vocab_size": 30, "intermediate_size": 16, "max_position_embeddings": 24}
    return BertConfig(**{**sizes, **options})


EVERY = pytest.mark.parametrize("folder", ["bert", "roberta", "gpt2", "t5"], indirect=True)


def make(folder: str, **options) -> TransformersTextEncoder:
    return TransformersTextEncoder(TEXT, folder, **options).eval()


def encode(encoder: TransformersTextEncoder, texts: list[str]):
    with torch.no_grad():
        return encoder(encoder.preprocess(texts))


def the_librarys_states(folder: str, text: str, layer: int | None = None) -> torch.Tensor:
    """(T, D) of one text alone, by the library's own tokenizer and model."""
    network = AutoModel.from_pretrained(folder).eval()
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    x = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        found = network(**x, output_hidden_states=True)
    return (found.last_hidden_state if layer is None else found.hidden_states[layer])[0]


FROZEN = [{}, {"tokens": True, "pooling": "cls"}, {"pooling": "last", "layer": 1}]


LEARNING = [
    {"pooling": "last", "layer": 1, "adapter": FullTuning()},
    {"tokens": True, "adapter": FullTuning(), "out_dim": 3},
    {"layer": 0, "adapter": FullTuning()},
    {"adapter": LastLayers(1), "pooling": "cls"},
]
