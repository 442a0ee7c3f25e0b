"""Missing cells of present rows, as table and vector encoders read them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.registry import known
from mmfuse.spec import ModalitySpec
from mmfuse.testing.values import stirred
from mmfuse_encoders import FTTransformerEncoder, MLPEncoder, TableMLPEncoder

NAN = float("nan")
TABLE = ModalitySpec("table", (4,), categories=(3, 4), has_gaps=True)
VECTOR = ModalitySpec("vector", (3,), has_gaps=True)


def ft(spec: ModalitySpec) -> FTTransformerEncoder:
    return FTTransformerEncoder(spec, out_dim=4, hidden=6, layers=2, heads=2)


CASES = [(ft, TABLE), (ft, VECTOR), (TableMLPEncoder, TABLE), (MLPEncoder, VECTOR)]
ROWS = torch.tensor([[0.5, -1.5, 2.0, 1.0], [NAN, 0.3, 0.0, 2.0], [NAN, NAN, 1.0, 3.0]])


def rows(spec: ModalitySpec) -> torch.Tensor:
    return ROWS[:, : spec.width].double()


@pytest.mark.parametrize(("make", "spec"), CASES)
def test_a_gap_differs_from_every_number_and_from_a_gap_elsewhere(make, spec):
    encoder = stirred(make(spec)).double().eval()
    x = rows(spec)[:1].repeat(5, 1)
    x[0, 0], x[1, 1], x[2, :2], x[3, 0], x[4, 0] = NAN, NAN, NAN, 0, 1e-3
    found = encoder(x)
    apart = torch.cdist(found, found) + torch.eye(5)
    apart[3, 4] = apart[4, 3] = 1  # nearly the same number
    assert apart.min() > 1e-3


@pytest.mark.parametrize(("make", "spec"), CASES)
def test_no_gradient_is_nan_and_a_gap_has_none(make, spec):
    encoder, x = stirred(make(spec)).double(), rows(spec).requires_grad_()
    encoder(x).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
    assert x.grad.isfinite().all()
    assert x.grad[x.isnan()].abs().max() == 0
    assert (x.grad[:, : spec.numeric_width][~x[:, : spec.numeric_width].isnan()] != 0).any()


@pytest.mark.parametrize(("make", "spec"), CASES)
def test_without_gaps_nothing_is_added(make, spec):
    plain = make(replace(spec, has_gaps=False))
    assert sum(p.numel() for p in plain.parameters()) < sum(
        p.numel() for p in make(spec).parameters()
    )
    torch.manual_seed(3)
    assert plain.eval()(rows(spec)[:1].float()).isfinite().all()


def test_ft_transformer_has_a_token_of_its_own_for_each_missing_number():
    encoder = stirred(ft(TABLE)).double()
    tokens = encoder.tokenizer(rows(TABLE))
    tokenizer = encoder.tokenizer
    torch.testing.assert_close(tokens[2, 1], tokenizer.bias[0] + tokenizer.missing[0])
    torch.testing.assert_close(tokens[2, 2], tokenizer.bias[1] + tokenizer.missing[1])
    torch.testing.assert_close(tokens[1, 2], tokenizer.bias[1] + 0.3 * tokenizer.weight[1])


def test_before_training_a_missing_number_reads_as_the_mean_in_ft_transformer():
    encoder, x = ft(TABLE).eval(), rows(TABLE).float()
    assert torch.equal(encoder(x), encoder(x.nan_to_num(0)))


@pytest.mark.parametrize(("make", "spec"), CASES)
def test_encoders_learn_from_the_fact_that_a_number_is_missing(make, spec, learns):
    x = torch.randn(120, spec.width)
    if spec.categories:
        x[:, 2:] = torch.randint(1, 3, (120, 2)).float()
    labels = torch.arange(120) % 2
    x[labels == 1, 1] = NAN
    learns(make(spec), x, labels)


def test_an_encoder_that_takes_no_gaps_says_what_to_do_instead():
    blind = [c for c in known(Encoder).values() if not c.takes_gaps and "vector" in c.kinds]
    assert blind
    for cls in blind:
        with pytest.raises(ConfigError) as error:
            cls(VECTOR)
        assert 'Set missing_cells="mean"' in str(error.value)
        assert "FTTransformerEncoder, MLPEncoder" in str(error.value)
