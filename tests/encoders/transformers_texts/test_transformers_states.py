"""Text encoders of Hugging Face transformers give the library's own states."""

from __future__ import annotations

import logging

import pytest
import torch
from transformers_samples import (
    EVERY,
    TEXTS,
    encode,
    make,
    the_librarys_states,
)

from mmfuse.errors import ConfigError, DataError
from mmfuse.tokens import Tokens
from mmfuse_encoders.huggingface import blocks_of


@EVERY
def test_every_tokens_state_is_the_one_that_the_library_gives_for_the_text_alone(folder):
    texts = [t for t in TEXTS if t]
    found = encode(make(folder, tokens=True), texts)
    for i, text in enumerate(texts):
        expected = the_librarys_states(folder, text)
        assert found.mask[i].sum() == len(expected)
        torch.testing.assert_close(found.values[i, : len(expected)], expected)


@EVERY
@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
def test_a_layers_states_are_the_librarys_and_nothing_further_up_is_kept(folder, layer):
    encoder = make(folder, tokens=True, layer=layer)
    expected = the_librarys_states(folder, "a longer text", layer)
    torch.testing.assert_close(encode(encoder, ["a longer text"]).values[0], expected)
    assert len(blocks_of(encoder.backbone)) == {0: 1, 1: 2, 2: 2, -1: 2, -3: 1}[layer]


@EVERY
def test_pooling_is_the_mean_the_first_or_the_last_of_the_real_tokens(folder):
    texts = [t for t in TEXTS if t]
    for pooling, by_hand in {
        "mean": lambda states: states.sum(dim=0) / len(states),
        "cls": lambda states: states[0],
        "last": lambda states: states[-1],
    }.items():
        found = encode(make(folder, pooling=pooling), texts)
        expected = torch.stack([by_hand(the_librarys_states(folder, t)) for t in texts])
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_first_and_last_are_real_tokens_wherever_the_padding_stands(bert, pooling):
    encoder = make(bert, pooling=pooling)
    states = torch.arange(4.0).view(1, 4, 1).expand(2, 4, 8)
    encoder._states = lambda ids, mask: states
    mask = torch.tensor([[False, True, True, False], [True, True, False, False]])
    found = encoder.features(Tokens(torch.zeros(2, 4, dtype=torch.long), mask))[:, 0]
    assert found.tolist() == ([1.0, 0.0] if pooling == "cls" else [2.0, 1.0])


def test_a_readout_sets_the_width(bert):
    assert encode(make(bert, out_dim=5), TEXTS).shape == (5, 5)
    assert encode(make(bert, out_dim=5, tokens=True), TEXTS).values.shape[2] == 5


def test_an_empty_text_is_its_special_tokens(bert, gpt2):
    assert make(bert).preprocess([""]).values.tolist() == [[2, 3]]
    assert encode(make(bert), [""]).isfinite().all()
    with pytest.raises(DataError, match="row 1 has no token"):
        make(gpt2).preprocess(["a", ""])


def test_a_row_that_is_no_text_is_refused(bert):
    with pytest.raises(DataError, match="found NoneType in row 1"):
        make(bert).preprocess(["a", None])
    with pytest.raises(DataError, match="row 1 holds half a character"):
        make(bert).preprocess(["a", "b \ud800"])


def test_cut_texts_are_counted_and_told_once(bert, caplog):
    encoder = make(bert, max_tokens=5)
    with caplog.at_level(logging.WARNING, logger="mmfuse_encoders"):
        tokens = encoder.preprocess(["a short text", "a b c d e", "a", "a a a a a a a"])
        encoder.preprocess(["a a a a"])
    assert tokens.mask.sum(dim=1).tolist() == [5, 5, 3, 5]
    assert tokens.values[1, -1] == 3  # the closing token stays
    assert (encoder.texts, encoder.texts_cut) == (5, 3)
    assert [r.getMessage()[:40] for r in caplog.records] == [
        "2 of 4 texts have more than 5 tokens and"
    ]


@pytest.mark.parametrize(
    ("folder", "longest"),
    [("bert", 24), ("roberta", 20), ("gpt2", 24), ("t5", 512)],
    indirect=["folder"],
)
def test_the_longest_text_is_the_models_own(folder, longest):
    encoder = make(folder)
    assert encoder.max_tokens == longest
    assert encoder.preprocessing()["max_tokens"] == longest
    x = encoder.preprocess(["text " * 1000])
    assert x.mask.sum() == longest
    assert encoder(x).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max'; expected one of mean, cls, last"),
        ({"layer": 3}, "layer is 3; the model has layers 0"),
        ({"layer": -4}, "layer is -4"),
        ({"max_tokens": 25}, "max_tokens is 25; .* takes 3 to 24 tokens"),
        ({"max_tokens": 2}, "max_tokens is 2"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_an_option_that_the_model_cannot_meet_is_refused(bert, options, message):
    with pytest.raises(ConfigError, match=message):
        make(bert, **options)
