"""Encoders around open_clip's towers give what open_clip itself gives."""

from __future__ import annotations

import open_clip
import pytest
import torch
from open_clip_samples import (
    IMAGE,
    MODELS,
    SETTINGS,
    TEXT,
    plainly,
    theirs,
)

from mmfuse.testing.values import sample_raw
from mmfuse_encoders import OpenClipImageEncoder, OpenClipTextEncoder
from mmfuse_encoders.open_clip_model import agreed_preprocessing


@pytest.mark.parametrize("name", MODELS)
def test_a_pictures_vector_is_open_clips_own_bit_for_bit(folders, name):
    model, preprocess, _ = theirs(folders[name])
    pictures = sample_raw(IMAGE)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders[name]}")
    x = encoder.preprocess(pictures)
    assert torch.equal(x, torch.stack([preprocess(p) for p in pictures]))
    assert torch.equal(encoder(x), plainly(model, "image", x))
    assert encoder.out_dim == 6
    assert encoder.frozen


@pytest.mark.parametrize("name", ["vit", "coca"])
def test_a_texts_vector_is_open_clips_own_to_rounding(folders, name):
    model, _, tokenizer = theirs(folders[name])
    texts = ["", "a cat! sat?!", "word " * 30, *sample_raw(TEXT)]
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders[name]}")
    x = encoder.preprocess(texts)
    assert torch.equal(x.values, tokenizer(texts))
    torch.testing.assert_close(
        encoder(x), plainly(model, "text", tokenizer(texts)), rtol=1e-6, atol=1e-6
    )


def test_the_settings_of_the_model_are_told_in_plain_data(folders):
    found = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}").preprocessing()
    assert {k: found[k] for k in SETTINGS} == SETTINGS
    assert tuple(found["size"]) == (32, 32)
    found = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}").preprocessing()
    assert found == {"tokenizer": "SimpleTokenizer", "context_length": 12}


def test_weights_in_a_file_are_preprocessed_as_the_published_ones_agree():
    siglip = agreed_preprocessing("ViT-B-16-SigLIP")
    assert siglip["mean"] == (0.5, 0.5, 0.5)
    assert siglip["resize_mode"] == "squash"
    assert agreed_preprocessing("ViT-B-32")["mean"] == open_clip.OPENAI_DATASET_MEAN


@pytest.mark.parametrize("name", ["vit", "coca"])
def test_tokens_are_what_open_clip_gives_beside_the_vector(folders, name):
    model, _, _ = theirs(folders[name])
    x = torch.randn(2, 3, 32, 32)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders[name]}", tokens=True)
    model.visual.output_tokens = True
    assert torch.equal(encoder(x).values, model.visual(x)[1])
    assert encoder(x).mask.all()


def test_the_tokens_of_average_pooling_give_its_vector_back(folders):
    model, _, _ = theirs(folders["average"])
    x = torch.randn(2, 3, 32, 32)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['average']}", tokens=True)
    visual = model.visual
    vector = visual.ln_post(encoder(x).pooled()) @ visual.proj
    torch.testing.assert_close(vector, visual(x))


def test_a_resnets_tokens_are_its_last_map(folders):
    model, _, _ = theirs(folders["resnet"])
    x = torch.randn(2, 3, 64, 64)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['resnet']}", tokens=True)
    found = encoder(x).values
    assert found.shape == (2, 4, 256)
    torch.testing.assert_close(
        model.visual.attnpool(found.mT.unflatten(2, (2, 2))), model.visual(x)
    )


def test_word_tokens_are_those_up_to_the_end_of_the_text(folders):
    model, _, tokenizer = theirs(folders["vit"])
    texts = ["one two", "!!!?", "word " * 30]
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}", tokens=True)
    found = encoder(encoder.preprocess(texts))
    assert found.mask.sum(dim=1).tolist() == [4, len(tokenizer.encode("!!!?")) + 2, 12]
    states = model.token_embedding(tokenizer(texts)) + model.positional_embedding
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask))
    torch.testing.assert_close(found.values, states)
