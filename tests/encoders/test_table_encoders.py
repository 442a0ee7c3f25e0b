"""Encoders for tables."""

from __future__ import annotations

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.testing.values import stirred
from mmfuse_encoders import FTTransformerEncoder, TableMLPEncoder

TABLE = ModalitySpec("table", (4,), categories=(3, 4))
SMALL = {"out_dim": 4, "hidden": 6, "layers": 2, "heads": 2}
ENCODERS = [lambda spec: FTTransformerEncoder(spec, **SMALL), TableMLPEncoder]


def rows(*codes: tuple[float, float]) -> torch.Tensor:
    """One row for each pair of codes, with the same numbers in all."""
    return torch.tensor([[0.5, -1.5, *pair] for pair in codes])


def norm(layer, row):
    centred = row - row.mean()
    return centred / (centred.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias


def linear(layer, row):
    return layer.weight @ row + layer.bias


def literal_ft(encoder: FTTransformerEncoder, row: torch.Tensor) -> list[torch.Tensor]:
    """Every token of one row after the last block, one token, head and key at a time."""
    tokenizer, numbers = encoder.tokenizer, encoder.spec.numeric_width
    h = [tokenizer.cls[0]]
    for j in range(numbers):
        h.append(tokenizer.bias[j] + row[j] * tokenizer.weight[j])
    for k, _ in enumerate(encoder.spec.categories):
        start = sum(encoder.spec.categories[:k])
        embedding = tokenizer.embed.table.weight[start + int(row[numbers + k])]
        h.append(tokenizer.bias[numbers + k] + embedding)
    for i, block in enumerate(encoder.blocks):
        normed = h if i == 0 else [norm(block.attention_norm, t) for t in h]
        parts = [linear(block.qkv, t).split(len(t)) for t in normed]
        width = len(h[0]) // block.heads
        after = []
        for token, (query, _, _) in zip(h, parts, strict=True):
            mixed = []
            for head in range(block.heads):
                here = slice(head * width, (head + 1) * width)
                scores = [query[here] @ key[here] / width**0.5 for _, key, _ in parts]
                weights = torch.stack(scores).softmax(dim=0)
                mixed.append(sum(w * v[here] for w, (_, _, v) in zip(weights, parts, strict=True)))
            after.append(token + linear(block.out, torch.cat(mixed)))
        h = []
        for token in after:
            wide = linear(block.widen, norm(block.forward_norm, token))
            value, gate = wide.split(len(wide) // 2)
            h.append(token + linear(block.narrow, value * gate.clamp(min=0)))
    return h


@pytest.mark.parametrize("tokens", [False, True])
def test_ft_transformer_follows_its_equation(tokens):
    encoder = stirred(FTTransformerEncoder(TABLE, tokens=tokens, **SMALL)).double().eval()
    x = rows((1, 3), (0, 2), (2, 0)).double()
    found = encoder(x)
    for i, row in enumerate(x):
        h = literal_ft(encoder, row)
        norm_layer, _, last = encoder.readout
        read = [linear(last, norm(norm_layer, t).clamp(min=0)) for t in h]
        if tokens:
            torch.testing.assert_close(found.values[i], torch.stack(read[1:]))
        else:
            torch.testing.assert_close(found[i], read[0])


@pytest.mark.parametrize("make", ENCODERS)
def test_a_code_that_the_column_does_not_have_counts_as_missing(make):
    encoder = make(TABLE).eval()
    nan = float("nan")
    for unseen in ((3, 0), (99, 0), (-1, 0), (nan, 0), (0, 4)):
        torch.testing.assert_close(encoder(rows(unseen)), encoder(rows((0, 0))))


@pytest.mark.parametrize("make", ENCODERS)
def test_every_code_of_every_column_has_an_embedding_of_its_own(make):
    encoder = make(TABLE).eval()
    codes = [(a, b) for a in range(3) for b in range(4)]
    found = encoder(rows(*codes))
    gaps = torch.cdist(found, found) + torch.eye(len(codes))
    assert gaps.min() > 1e-4


@pytest.mark.parametrize("make", ENCODERS)
def test_code_zero_says_nothing_before_training(make):
    encoder = make(TABLE)
    embed = encoder.embed if hasattr(encoder, "embed") else encoder.tokenizer.embed
    assert embed(torch.zeros(1, 2)).abs().max() == 0
    assert embed(torch.ones(1, 2)).abs().min() > 0


@pytest.mark.parametrize("make", ENCODERS)
def test_table_encoders_train_on_one_row(make, trains_on_one_row):
    trains_on_one_row(make(TABLE), rows((1, 2)))


@pytest.mark.parametrize("make", ENCODERS)
def test_table_encoders_learn_from_number_and_category_together(make, learns):
    x = torch.cat([torch.randn(200, 2), torch.randint(1, 3, (200, 2)).float()], dim=1)
    labels = ((x[:, 0] > 0) ^ (x[:, 2] == 2)).long()
    learns(make(TABLE), x, labels, steps=200)


def test_ft_transformer_takes_a_vector_as_numbers_alone():
    assert FTTransformerEncoder(5, **SMALL)(torch.randn(2, 5)).shape == (2, 4)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="hidden 10 is no multiple of 4 heads"):
        FTTransformerEncoder(5, hidden=10, heads=4)


def test_a_table_with_an_image_encoder_in_mind_is_refused():
    with pytest.raises(ConfigError, match="takes table, the modality is image"):
        TableMLPEncoder((3, 8, 8))
