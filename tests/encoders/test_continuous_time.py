"""The encoder of series with irregular time stamps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.standardise import Standardise
from mmfuse.testing.values import stirred
from mmfuse.tokens import Tokens
from mmfuse_encoders import ContinuousTimeEncoder

NAN = float("nan")
GAPPY = ModalitySpec("series", (None, 3), has_gaps=True)


def build(spec=(None, 3), **options) -> ContinuousTimeEncoder:
    options = {"out_dim": 3, "hidden": 5, "points": 4, "time_width": 6, "heads": 2, **options}
    return stirred(ContinuousTimeEncoder(spec, **options)).double().eval()


def observations(rows: int = 2, steps: int = 7, channels: int = 3) -> torch.Tensor:
    return torch.randn(rows, steps, channels, dtype=torch.float64)


def literal(encoder: ContinuousTimeEncoder, steps: torch.Tensor) -> torch.Tensor:
    """The result for one row (T, 3) whose channel 0 is time, one observation at a time."""

    def embed(t):
        angle = t * encoder.time.rate + encoder.time.phase
        return torch.stack([angle[0], *(a.sin() for a in angle[1:])])

    def heads(layer, t):
        return (layer.weight @ embed(t) + layer.bias).chunk(encoder.heads)

    gathered = []
    for point in encoder.reference:
        found, measured = [], []
        for part, query in enumerate(heads(encoder.query, point)):
            for channel in (1, 2):
                seen = [s for s in steps if not (s[0].isnan() or s[channel].isnan())]
                if not seen:
                    found.append(torch.tensor(0.0).double())
                    continue
                score = torch.stack(
                    [query @ heads(encoder.key, s[0])[part] / len(query) ** 0.5 for s in seen]
                )
                found.append(score.softmax(dim=0) @ torch.stack([s[channel] for s in seen]))
        if encoder.spec.has_gaps:
            known = ~steps[:, :1].isnan() & ~steps[:, 1:].isnan()
            measured = list(known.any(dim=0).double())
        gathered.append(torch.stack([*found, *measured]))
    states, _ = encoder.gru(encoder.gather(torch.stack(gathered)).unsqueeze(0))
    return encoder.readout(states[0, -1])


def test_it_follows_its_equation():
    encoder, x = build(), observations()
    for row, found in zip(x, encoder(x), strict=True):
        torch.testing.assert_close(found, literal(encoder, row))


def test_with_gaps_each_channel_has_attention_weights_of_its_own():
    encoder, x = build(GAPPY), observations(3)
    x.view(-1)[::4] = NAN
    x[1, :, 2] = NAN  # never measured
    for row, found in zip(x, encoder(x), strict=True):
        torch.testing.assert_close(found, literal(encoder, row))


@settings(max_examples=25, deadline=None)
@given(order=st.permutations(range(7)), gaps=st.booleans(), tokens=st.booleans())
def test_the_order_in_which_observations_are_listed_counts_for_nothing(order, gaps, tokens):
    encoder = build(GAPPY if gaps else (None, 3), tokens=tokens)
    x = observations()
    if gaps:
        x.view(-1)[::5] = NAN
    expected = Tokens.of(encoder(x)).values
    torch.testing.assert_close(Tokens.of(encoder(x[:, list(order)])).values, expected)


@pytest.mark.parametrize("start", [0, 1, 4])
def test_padding_may_stand_anywhere_and_hold_anything(start):
    encoder, x = build(), observations()
    values = torch.full((2, 11, 3), NAN, dtype=torch.float64)
    values[:, start : start + 7] = x
    mask = torch.zeros(2, 11, dtype=torch.bool)
    mask[:, start : start + 7] = True
    values.requires_grad_()
    found = encoder(Tokens(values, mask))
    torch.testing.assert_close(found, encoder(x))
    found.square().sum().backward()
    assert values.grad[~mask].abs().max() == 0
    assert (values.grad[mask].abs() > 0).all()


def test_two_channels_measured_together_or_one_after_the_other_are_the_same():
    encoder, x = build(GAPPY), observations()
    first, second = x.clone(), x.clone()
    first[..., 2] = NAN
    second[..., 1] = NAN
    torch.testing.assert_close(encoder(torch.cat([first, second], dim=1)), encoder(x))


def test_a_step_without_a_time_stamp_counts_for_nothing():
    encoder, x = build(GAPPY), observations()
    lost = x.clone()
    lost[:, 3, 0] = NAN
    torch.testing.assert_close(encoder(lost), encoder(x[:, [0, 1, 2, 4, 5, 6]]))


def test_gaps_leave_every_gradient_finite_even_where_a_row_has_nothing_else():
    encoder, x = build(GAPPY), observations()
    x[0] = NAN
    x[1, 1:, 1:] = NAN
    x.requires_grad_()
    encoder(x).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
    assert x.grad.isfinite().all()
    assert x.grad[0].abs().max() == 0
    assert x.grad[1, 0, 1:].abs().min() > 0


def test_never_measured_is_not_the_same_as_measured_at_the_mean():
    encoder, x = build(GAPPY), observations()
    never, mean = x.clone(), x.clone()
    never[..., 2], mean[..., 2] = NAN, 0
    assert (encoder(never) - encoder(mean)).abs().max() > 1e-3


def test_every_observation_given_twice_changes_nothing():
    encoder, x = build(), observations()
    torch.testing.assert_close(encoder(torch.cat([x, x], dim=1)), encoder(x))


def wave(steps: int, turns: float) -> torch.Tensor:
    """One row: a sine at equal distances over [-1.7, 1.7]."""
    time = (torch.arange(steps) + 0.5).double() / steps * 3.4 - 1.7
    return torch.stack([time, (turns * time).sin()], dim=1).unsqueeze(0)


def test_ever_denser_samples_of_one_signal_come_ever_closer_to_one_result():
    encoder = build((None, 2), points=16, time_width=32)
    limit = encoder(wave(4096, 3.0))
    gaps = [(encoder(wave(n, 3.0)) - limit).abs().max().item() for n in (8, 32, 128, 512)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < gaps[0] / 50
    assert (encoder(wave(4096, 1.0)) - limit).abs().max() > 10 * gaps[1]


def irregular(rows: int, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Slow and fast sines at times drawn at random, each with a phase of its own."""
    labels = torch.arange(rows) % 2
    time = torch.rand(rows, steps) * 3.4 - 1.7
    phase = torch.rand(rows, 1) * 6.3
    return torch.stack([time, ((1.0 + 2.0 * labels[:, None]) * time + phase).sin()], 2), labels


def test_trained_on_few_observations_it_reads_many(learns):
    x, labels = irregular(160, 24)
    encoder = ContinuousTimeEncoder((None, 2), out_dim=8, hidden=16, points=12)
    learns(encoder, x, labels, steps=80)
    torch.manual_seed(5)
    many, of_many = irregular(100, 200)
    head = torch.linalg.lstsq(with_one(encoder(x)), labels[:, None] * 2.0 - 1).solution
    told = (with_one(encoder(many)) @ head).squeeze(1) > 0
    assert (told == of_many.bool()).double().mean() > 0.9


def with_one(x: torch.Tensor) -> torch.Tensor:
    return torch.cat([x, x.new_ones(len(x), 1)], dim=1).detach()


def test_the_unit_and_the_origin_of_time_count_for_nothing_once_standardised():
    encoder, x = build(), observations(steps=20)
    seconds = x.clone()
    seconds[..., 0] = seconds[..., 0] * 3600 + 1e5
    found = []
    for each in (x, seconds):
        flat = each.flatten(0, 1)
        mean, std = flat.mean(dim=0).tolist(), flat.std(dim=0).tolist()
        spec = ModalitySpec("series", (None, 3), mean=tuple(mean), std=tuple(std))
        found.append(encoder(Standardise(spec).double()(each)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_the_channel_of_time_may_be_any():
    first, last, x = build(), build(time_channel=2), observations()
    last.load_state_dict(first.state_dict())
    torch.testing.assert_close(last(x[..., [1, 2, 0]]), first(x))


def test_it_trains_on_one_observation_of_one_row(trains_on_one_row):
    trains_on_one_row(build().float(), torch.randn(1, 1, 3))


@pytest.mark.parametrize(
    ("spec", "options", "said"),
    [
        ((None, 1), {}, "time_channel 0 of 1 channels"),
        ((None, 3), {"time_channel": 3}, "time_channel 3 of 3 channels"),
        ((None, 3), {"span": (1.0, 1.0)}, r"4 points over the span \[1.0, 1.0\]"),
        ((None, 3), {"points": 1}, "1 points over the span"),
        ((None, 3), {"heads": 4}, "time_width 6 is no multiple of 4 heads"),
    ],
)
def test_what_cannot_be_is_refused(spec, options, said):
    with pytest.raises(ConfigError, match=said):
        build(spec, **options)
