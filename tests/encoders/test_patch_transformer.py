"""The transformer over patches of a series."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.errors import ConfigError
from mmfuse.testing.values import stirred
from mmfuse.tokens import Tokens
from mmfuse_encoders import PatchTransformerEncoder

CHANNELS = ["mixed", "independent"]


def build(width: int = 2, **options) -> PatchTransformerEncoder:
    options = {"out_dim": 3, "hidden": 8, "heads": 2, "patch": 4, "stride": 3, **options}
    return stirred(PatchTransformerEncoder((None, width), **options)).double().eval()


def ragged(lengths: list[int], width: int = 2) -> Tokens:
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return Tokens(torch.randn(*mask.shape, width, dtype=torch.float64), mask)


def literal_states(encoder: PatchTransformerEncoder, series: torch.Tensor) -> torch.Tensor:
    """The state of every patch of one unpadded series (T, C), patch by patch."""
    embedded = []
    for n in range(math.ceil(len(series) / encoder.stride)):
        blank = torch.zeros(encoder.patch, series.shape[1], dtype=series.dtype)
        steps = series[n * encoder.stride : n * encoder.stride + encoder.patch]
        blank[: len(steps)] = steps
        half = encoder.embed.out_features // 2
        angles = [n * 10_000 ** -(i / (half - 1)) for i in range(half)]
        place = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)]).double()
        embedded.append(encoder.embed.weight @ blank.flatten() + encoder.embed.bias + place)
    return encoder.layers(torch.stack(embedded).unsqueeze(0))[0]


@pytest.mark.parametrize("length", [1, 3, 4, 9, 16])
def test_mixed_channels_follow_the_equation(length):
    encoder = build()
    series = torch.randn(length, 2, dtype=torch.float64)
    expected = encoder.readout(literal_states(encoder, series).mean(dim=0))
    torch.testing.assert_close(encoder(series.unsqueeze(0))[0], expected)


@pytest.mark.parametrize("length", [1, 3, 4, 9, 16])
def test_independent_channels_share_weights_and_meet_in_the_readout_alone(length):
    encoder = build(channels="independent", tokens=True)
    series = torch.randn(length, 2, dtype=torch.float64)
    each = [literal_states(encoder, series[:, c : c + 1]) for c in range(2)]
    expected = encoder.readout(torch.cat(each, dim=1))
    torch.testing.assert_close(encoder(series.unsqueeze(0)).values[0], expected)


@pytest.mark.parametrize("channels", CHANNELS)
@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)).map(sorted),
    tokens=st.booleans(),
)
def test_a_batch_gives_every_series_what_it_gets_alone(channels, lengths, sizes, tokens):
    stride, patch = sizes
    encoder = build(patch=patch, stride=stride, channels=channels, tokens=tokens)
    series = ragged(lengths)
    together = Tokens.of(encoder(series))
    for i, length in enumerate(lengths):
        alone = Tokens.of(encoder(series.values[i : i + 1, :length]))
        torch.testing.assert_close(alone.values[0], together.values[i][together.mask[i]])


@pytest.mark.parametrize("channels", CHANNELS)
def test_padding_takes_no_gradient_and_may_hold_anything(channels):
    encoder, series = build(channels=channels), ragged([2, 11])
    expected = encoder(series)
    values = series.values.masked_fill(~series.mask.unsqueeze(-1), float("nan")).requires_grad_()
    found = encoder(Tokens(values, series.mask))
    assert torch.equal(found, expected)
    found.square().sum().backward()
    assert values.grad[~series.mask].abs().max() == 0
    assert (values.grad[series.mask].abs().sum(dim=1) > 0).all()


def test_a_patch_is_real_if_one_of_its_steps_is_and_its_unreal_steps_are_zero():
    encoder = build(patch=3, stride=3, tokens=True)
    series = torch.randn(1, 9, 2, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, False, False, False, False, True, False]])
    tokens = encoder(Tokens(series, mask))
    assert tokens.mask.tolist() == [[True, False, True]]
    zeroed = encoder(Tokens(series * mask.unsqueeze(-1), mask))
    assert torch.equal(tokens.values[tokens.mask], zeroed.values[tokens.mask])


def test_channels_are_mixed_before_attention_or_kept_apart_until_the_readout():
    """With the readout blind to channel 1, only mixed channels let it through."""
    series = torch.randn(1, 12, 2, dtype=torch.float64)
    other = series.clone()
    other[..., 1] += 1
    apart = build(channels="independent")
    with torch.no_grad():
        apart.readout.weight[:, 8:] = 0
    torch.testing.assert_close(apart(series), apart(other))
    mixed = build()
    assert (mixed(series) - mixed(other)).abs().max() > 1e-3


def test_the_order_of_patches_counts():
    encoder = build(patch=4, stride=4)
    series = torch.randn(1, 12, 2, dtype=torch.float64)
    turned = series.view(1, 3, 4, 2).flip(1).flatten(1, 2)
    assert (encoder(series) - encoder(turned)).abs().max() > 1e-3


def test_frozen_it_answers_as_it_did_when_it_could_learn():
    encoder, series = build(), ragged([5, 12, 1])
    expected = encoder(series).detach()
    with torch.no_grad():  # torch has other kernels for this
        torch.testing.assert_close(encoder.freeze()(series), expected)


@pytest.mark.parametrize("channels", CHANNELS)
def test_patch_transformer_trains_on_one_step_of_one_row(channels, trains_on_one_row):
    trains_on_one_row(build(channels=channels).float(), torch.randn(1, 1, 2))


@pytest.mark.parametrize("channels", CHANNELS)
def test_patch_transformer_learns_where_a_bump_stands(channels, learns):
    lengths = torch.arange(80) % 7 + 14
    mask = torch.arange(20) < lengths.unsqueeze(1)
    labels = torch.arange(80) % 2
    values = torch.randn(80, 20) * 0.1
    values += (torch.arange(20) // 6 == labels.unsqueeze(1)).float()
    encoder = build(1, channels=channels, hidden=16, patch=6, stride=3).float()
    learns(encoder, Tokens(values.unsqueeze(-1), mask), labels)


@pytest.mark.parametrize("stride", [0, 5])
def test_a_stride_that_leaves_steps_out_is_refused(stride):
    with pytest.raises(ConfigError, match=f"stride {stride} with patches of 4 steps"):
        PatchTransformerEncoder((None, 2), patch=4, stride=stride)


def test_heads_that_do_not_divide_the_patches_width_are_refused():
    with pytest.raises(ConfigError, match="hidden 10 is no multiple of 4 heads"):
        PatchTransformerEncoder((None, 2), hidden=10, heads=4)
