"""unit: length one in every dtype, and zero where there is no direction."""

from __future__ import annotations

import pytest
import torch

from mmfuse.fusion.routing import Projector
from mmfuse.unit import unit

#: Each dtype and how far from one a length may be.
DTYPES = {torch.float16: 2e-3, torch.bfloat16: 1e-2, torch.float32: 1e-6, torch.float64: 1e-14}


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_dtype_stays_and_the_length_is_one(dtype):
    # Squares of such entries are beyond float16.
    x = (1000 * torch.randn(7, 3, 5, generator=torch.Generator().manual_seed(0))).to(dtype)
    found = unit(x)
    assert found.dtype == dtype
    length = torch.linalg.vector_norm(found.double(), dim=-1)
    torch.testing.assert_close(length, torch.ones_like(length), rtol=0, atol=DTYPES[dtype])
    expected = x.double() / torch.linalg.vector_norm(x.double(), dim=-1, keepdim=True)
    torch.testing.assert_close(found.double(), expected, rtol=DTYPES[dtype], atol=DTYPES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_zero_stays_zero_with_a_finite_gradient(dtype):
    x = torch.zeros(2, 4, dtype=dtype, requires_grad=True)
    unit(x)[:, 0].sum().backward()
    assert unit(x).eq(0).all()
    assert x.grad.tolist() == [[1, 0, 0, 0]] * 2


def test_eps_adds_to_the_length():
    assert unit(torch.tensor([[3.0, 4.0]]), eps=5.0).tolist() == [
        [pytest.approx(0.3), pytest.approx(0.4)]
    ]


def test_layers_in_half_precision_take_unit_vectors():
    projector = Projector(6, 4, hidden=8).to(torch.bfloat16).eval()
    x, present = torch.randn(5, 6, dtype=torch.bfloat16), torch.ones(5, dtype=torch.bool)
    assert projector(unit(x), present).dtype == torch.bfloat16
