"""Encoders for precomputed tokens."""

from __future__ import annotations

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders import IdentityEncoder, TokenProjectionEncoder
from mmfuse_encoders.tokens import sequence

RAGGED = ModalitySpec("tokens", (None, 3))
MASK = torch.tensor([[True, True, False], [True, False, False]])


def test_the_mask_stays_and_what_stands_under_it_means_nothing():
    encoder = TokenProjectionEncoder(RAGGED, out_dim=4).eval()
    values = torch.randn(2, 3, 3)
    expected = encoder(Tokens(values, MASK))
    spoilt = values.masked_fill(~MASK.unsqueeze(-1), float("nan"))
    found = encoder(Tokens(spoilt, MASK))
    assert torch.equal(found.mask, MASK)
    assert torch.equal(found.values, expected.values)
    assert found.values.isfinite().all()


def test_the_pooled_vector_is_the_mean_of_the_real_tokens():
    encoder = TokenProjectionEncoder(RAGGED, out_dim=4, pool=True).eval()
    values = torch.randn(2, 3, 3)
    found = encoder(Tokens(values, MASK))
    torch.testing.assert_close(found[0], encoder.layers(values[0, :2]).mean(dim=0))
    torch.testing.assert_close(found[1], encoder.layers(values[1, 0]))


def test_a_plain_tensor_is_a_sequence_without_padding():
    values = torch.randn(2, 3, 3)
    assert sequence(values).mask.all()
    assert torch.equal(sequence(values).values, values)


def test_token_projection_trains_on_one_row(trains_on_one_row):
    trains_on_one_row(TokenProjectionEncoder(RAGGED, out_dim=4), torch.randn(1, 2, 3))


def test_token_projection_learns(learns):
    values = torch.randn(60, 4, 3)
    labels = (values[:, :, 1].sum(dim=1) > 0).long()
    values[:, :, 1] += labels.mul(2).sub(1).unsqueeze(1)
    learns(TokenProjectionEncoder(RAGGED, out_dim=8), values, labels)


def test_token_projection_refuses_a_series():
    with pytest.raises(ConfigError, match="takes tokens, the modality is series"):
        TokenProjectionEncoder((4, 3))


def test_features_pass_as_they_are_and_their_padding_does_not():
    values = torch.randn(2, 3, 3)
    found = IdentityEncoder(RAGGED)(Tokens(values.masked_fill(~MASK.unsqueeze(-1), 7.0), MASK))
    assert torch.equal(found.values, values.masked_fill(~MASK.unsqueeze(-1), 0))
    assert IdentityEncoder(RAGGED).out_dim == 3
    pooled = IdentityEncoder(RAGGED, pool=True)(Tokens(values, MASK))
    torch.testing.assert_close(pooled, torch.stack([values[0, :2].mean(dim=0), values[1, 0]]))
    assert torch.equal(IdentityEncoder(3)(values[0]), values[0])
