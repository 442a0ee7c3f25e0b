"""The Fourier basis: orthonormal, diagonal for the kernel, few coefficients for long scales."""

import math

import numpy as np
import pytest
import torch

from mmfuse.errors import ConfigError
from mmfuse.gpvae import FourierBasis


@pytest.mark.parametrize(("steps", "shortest"), [(60, 10.0), (24, 3.0), (7, 0.5), (2, 1.0)])
def test_rows_are_orthonormal_on_the_circle(steps, shortest):
    whole = FourierBasis(steps, shortest).on_circle()
    wanted = torch.eye(len(whole), dtype=torch.float64)
    assert torch.allclose(whole @ whole.T, wanted, atol=1e-12)


def test_a_long_scale_keeps_few_coefficients():
    basis = FourierBasis(60, 10.0)
    assert basis.circle == 72
    limit = 72 / (math.pi * 10) * math.sqrt(0.5 * math.log(1e8))
    assert basis.frequencies.max() == math.floor(limit)
    assert basis.count == 2 * math.floor(limit) + 1
    assert FourierBasis(60, 5.0).count > basis.count


def test_the_prior_is_the_kernel_over_time():
    basis = FourierBasis(40, 4.0)
    for length in (4.0, 6.0):
        variances = basis.variances(torch.tensor([length]), 0.0)[0].double().numpy()
        rows = basis.on_circle().numpy()
        found = (rows.T * variances) @ rows
        apart = np.abs(np.subtract.outer(np.arange(48), np.arange(48)))
        apart = np.minimum(apart, 48 - apart)
        assert np.allclose(found, np.exp(-(apart**2) / (2 * length**2)), atol=1e-3)


def test_variances_over_time_are_those_of_the_series():
    basis = FourierBasis(12, 2.0)
    variances = torch.rand(basis.count)
    wanted = torch.stack([(basis.rows[:, t] ** 2 * variances).sum() for t in range(12)])
    assert torch.allclose(basis.spread(variances), wanted, atol=1e-6)


def test_regression_recovers_a_smooth_series_from_noise():
    basis = FourierBasis(60, 6.0)
    generator = torch.Generator().manual_seed(0)
    k = basis.variances(torch.tensor([12.0]), 0.0)[0]
    truth = basis(torch.randn(50, basis.count, generator=generator) * k.sqrt())
    seen = truth + 0.3 * torch.randn(50, 60, generator=generator)
    found = basis(seen @ basis.regression(12.0))
    assert (found - truth).square().mean() < 0.3 * 0.3**2


@pytest.mark.parametrize("wrong", [(1, 1.0), (10, 0.0), (10, math.inf)])
def test_what_makes_no_basis_is_refused(wrong):
    with pytest.raises(ConfigError, match="FourierBasis"):
        FourierBasis(*wrong)
