"""Encoders for series."""

from __future__ import annotations

import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.tokens import Tokens
from mmfuse_encoders import GRUEncoder, SeriesCNNEncoder

CLASSES = [SeriesCNNEncoder, GRUEncoder]


def ragged(lengths: list[int], channels: int = 2, padding: float = 0.0, extra: int = 0) -> Tokens:
    """Random series of these lengths, padded with ``padding`` to the longest and ``extra``."""
    mask = torch.arange(max(lengths) + extra) < torch.tensor(lengths).unsqueeze(1)
    torch.manual_seed(1)
    values = torch.full((*mask.shape, channels), padding, dtype=torch.float64)
    for i, length in enumerate(lengths):
        values[i, :length] = torch.randn(length, channels, dtype=torch.float64)
    return Tokens(values, mask)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("tokens", [False, True])
def test_padding_never_leaks_whatever_it_holds_and_however_long_it_is(cls, tokens):
    encoder = cls((None, 2), out_dim=3, tokens=tokens).double().eval()
    lengths = [1, 2, 7, 10]
    expected = Tokens.of(encoder(ragged(lengths))).pooled()
    for padding, extra in ((float("nan"), 0), (1e30, 5), (float("inf"), 13), (7.0, 1)):
        found = Tokens.of(encoder(ragged(lengths, padding=padding, extra=extra)))
        torch.testing.assert_close(found.pooled(), expected)
        assert found.values[found.mask].isfinite().all()


@pytest.mark.parametrize("cls", CLASSES)
def test_a_series_alone_without_padding_gives_what_it_gives_in_a_batch(cls):
    encoder = cls((None, 2), out_dim=3).double().eval()
    lengths = [1, 2, 7, 10]
    series = ragged(lengths)
    together = encoder(series)
    for i, length in enumerate(lengths):
        torch.testing.assert_close(encoder(series.values[i : i + 1, :length])[0], together[i])


@pytest.mark.parametrize("cls", CLASSES)
def test_padding_takes_no_gradient(cls):
    encoder = cls((None, 2), out_dim=3).double()
    series = ragged([3, 9])
    values = series.values.requires_grad_()
    encoder(Tokens(values, series.mask)).square().sum().backward()
    assert values.grad[~series.mask].abs().max() == 0
    assert (values.grad[series.mask].abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize(("length", "count"), [(1, 1), (4, 1), (5, 2), (16, 4)])
def test_series_cnn_halves_the_steps_in_each_layer_but_the_first(length, count):
    encoder = SeriesCNNEncoder((None, 2), out_dim=3, layers=3, tokens=True)
    assert encoder(torch.randn(2, length, 2)).values.shape == (2, count, 3)


def test_gru_reads_out_the_last_real_step():
    options = {"out_dim": 3, "hidden": 5, "layers": 2}
    last = GRUEncoder((None, 2), **options).double()
    every = GRUEncoder((None, 2), tokens=True, **options).double()
    every.load_state_dict(last.state_dict())
    series = ragged([2, 6, 4])
    states = every(series)
    assert torch.equal(states.mask, series.mask)
    expected = states.values[torch.arange(3), torch.tensor([1, 5, 3])]
    torch.testing.assert_close(last(series), expected)


def test_gru_state_follows_its_equation():
    encoder = GRUEncoder((None, 2), out_dim=3, hidden=4).double()
    x = torch.randn(1, 6, 2, dtype=torch.float64)
    gru, h = encoder.gru, torch.zeros(4, dtype=torch.float64)
    for step in x[0]:
        given = (gru.weight_ih_l0 @ step + gru.bias_ih_l0).chunk(3)
        state = (gru.weight_hh_l0 @ h + gru.bias_hh_l0).chunk(3)
        reset, update = (given[0] + state[0]).sigmoid(), (given[1] + state[1]).sigmoid()
        h = (1 - update) * (given[2] + reset * state[2]).tanh() + update * h
    torch.testing.assert_close(encoder(x)[0], encoder.readout(h))


@pytest.mark.parametrize("cls", CLASSES)
def test_series_encoders_train_on_one_step_of_one_row(cls, trains_on_one_row):
    trains_on_one_row(cls((None, 2), out_dim=4), torch.randn(1, 1, 2))


@pytest.mark.parametrize("cls", CLASSES)
def test_series_encoders_learn_direction_from_series_of_unequal_length(cls, learns):
    lengths = torch.arange(80) % 7 + 6
    mask = torch.arange(12) < lengths.unsqueeze(1)
    labels = torch.arange(80) % 2
    slope = labels.mul(2).sub(1)[:, None] * torch.arange(12) * 0.3
    values = (slope - slope.mean(dim=1, keepdim=True) + torch.randn(80, 12) * 0.1).unsqueeze(-1)
    learns(cls((None, 1), out_dim=8, hidden=16), Tokens(values, mask), labels)


def test_an_even_kernel_is_refused():
    with pytest.raises(ConfigError, match="kernel 4 is even"):
        SeriesCNNEncoder((None, 2), kernel=4)


@pytest.mark.parametrize("cls", CLASSES)
def test_series_encoders_refuse_an_image(cls):
    with pytest.raises(ConfigError, match="takes series, the modality is image"):
        cls((1, 4, 4))
