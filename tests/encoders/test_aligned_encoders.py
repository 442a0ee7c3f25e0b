"""AlignedEncoder and PairDeltaEncoder: what they begin as, and what they read."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn

from mmfuse import ModalitySpec
from mmfuse.errors import ConfigError
from mmfuse.recorded import describe, rebuild
from mmfuse.testing import check_encoder
from mmfuse.testing.encoder import ENCODER_CHECKS, EncoderSubject
from mmfuse.testing.promises import keep_promises
from mmfuse.tokens import Tokens
from mmfuse_encoders import AlignedEncoder, PairDeltaEncoder
from mmfuse_encoders.aligned import ResidualHead

HOWS = ("difference", "concat", "channel_stack")
IMAGE = {"encoder": "ImageCNNEncoder", "options": {"out_dim": 4, "hidden": 8, "layers": 2}}


def test_an_aligned_encoder_begins_as_the_encoder_it_holds():
    made = AlignedEncoder(5, "MLPEncoder", {"out_dim": 6, "frozen": True})
    x = torch.randn(4, 5)
    assert torch.equal(made(x), made.encoder(x))
    assert made.out_dim == 6


def test_features_that_were_extracted_pass_as_they_are_until_it_learns():
    x = torch.randn(4, 5)
    assert torch.equal(AlignedEncoder(5)(x), x)


def test_the_residual_head_is_its_equation():
    head = ResidualHead(3).double()
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    x = torch.randn(4, 3).double()
    first, inner, second, outer = head.change

    def prelu(v, slope):
        return torch.where(v > 0, v, slope * v)

    hidden = prelu(x, first.weight) @ inner.weight.T + inner.bias
    expected = x + prelu(hidden, second.weight) @ outer.weight.T + outer.bias
    torch.testing.assert_close(head(x), expected)


def test_an_encoder_of_another_width_is_mapped_first():
    made = AlignedEncoder(5, "MLPEncoder", {"out_dim": 6}, out_dim=3)
    assert made(torch.randn(4, 5)).shape == (4, 3)


def test_the_head_learns_above_a_frozen_encoder():
    made = AlignedEncoder(5, "MLPEncoder", {"frozen": True}).train()
    made(torch.randn(4, 5)).square().sum().backward()
    assert all(p.grad is None for p in made.encoder.parameters())
    assert any(p.grad.any() for p in made.head.parameters())
    assert not made.encoder.training


@pytest.mark.parametrize("options", [{}, {"out_dim": 3}])
def test_an_aligned_encoder_of_any_kind_keeps_its_promises(options):
    check_encoder(AlignedEncoder, encoder="GRUEncoder", options={"out_dim": 4}, **options)


@pytest.mark.parametrize("how", HOWS)
def test_a_change_is_told_by_the_ends_of_a_series(how):
    made = PairDeltaEncoder((7, 3), options={"out_dim": 4}, how=how).double()
    x = torch.randn(5, 7, 3).double()
    before, after = x[:, 0], x[:, -1]
    if how == "channel_stack":
        expected = made.encoder(torch.cat([before, after], dim=1))
    elif how == "difference":
        expected = made.encoder(after) - made.encoder(before)
    else:
        expected = torch.cat([made.encoder(before), made.encoder(after)], dim=1)
    torch.testing.assert_close(made(x), expected)
    assert made.out_dim == expected.shape[1]
    between = x.clone()
    between[:, 1:-1] = torch.nan
    assert torch.equal(made(between), made(x))


def test_the_ends_of_a_padded_series_are_its_real_ones():
    made = PairDeltaEncoder((None, 3))
    x = torch.randn(2, 4, 3)
    mask = torch.tensor([[True, True, False, False], [False, True, True, True]])
    found = made(Tokens(x, mask))
    f = made.encoder
    torch.testing.assert_close(found[0], f(x[0, 1:2])[0] - f(x[0, 0:1])[0])
    torch.testing.assert_close(found[1], f(x[1, 3:4])[0] - f(x[1, 1:2])[0])


def test_two_equal_images_stacked_give_what_the_encoder_gives_of_one():
    torch.manual_seed(0)
    single = PairDeltaEncoder((6, 8, 8), **IMAGE).encoder
    torch.manual_seed(0)
    made = PairDeltaEncoder((6, 8, 8), how="channel_stack", **IMAGE)
    x = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(made(torch.cat([x, x], dim=1)), single(x))
    first, second = made(torch.cat([x, 0 * x], dim=1)), made(torch.cat([0 * x, x], dim=1))
    torch.testing.assert_close(first, second)  # of their mean, until it learns


def test_two_equal_states_differ_in_nothing():
    x = torch.randn(3, 3, 8, 8)
    assert not PairDeltaEncoder((6, 8, 8), **IMAGE)(torch.cat([x, x], dim=1)).any()


@pytest.mark.parametrize("how", HOWS)
def test_an_encoder_of_image_pairs_keeps_its_promises(how):
    spec = ModalitySpec("image", (4, 8, 8))
    make = functools.partial(PairDeltaEncoder, how=how, **IMAGE)
    keep_promises("PairDeltaEncoder", EncoderSubject(make, spec), ENCODER_CHECKS)


def test_a_stacked_encoder_stays_frozen_and_is_rebuilt():
    made = PairDeltaEncoder((7, 3), options={"frozen": True}, how="channel_stack")
    assert not any(p.requires_grad for p in made.parameters())
    again = rebuild(describe(made, without=("spec",)), made.spec)
    again.load_state_dict(made.state_dict())
    x = torch.randn(2, 7, 3)
    assert torch.equal(again(x), made(x))


@pytest.mark.parametrize(
    ("spec", "options", "told"),
    [
        ((5, 8, 8), IMAGE, r"shape \(5, 8, 8\)\. Give arrays with 2 C"),
        (ModalitySpec("image"), IMAGE, r"shape \(\)"),
        ((7, 3), {"how": "sum"}, "'difference', 'concat' or 'channel_stack'"),
        ((7, 3), {"encoder": "GRUEncoder"}, "GRUEncoder takes series"),
        ((7, 3), {"encoder": "ResidualMLPEncodr"}, "Did you mean 'ResidualMLPEncoder'"),
        (
            (7, 3),
            {"encoder": "IdentityEncoder", "how": "channel_stack"},
            "Set how to 'difference' or 'concat'",
        ),
    ],
)
def test_states_that_cannot_be_encoded_are_refused(spec, options, told):
    with pytest.raises(ConfigError, match=told):
        PairDeltaEncoder(spec, **options)
