"""Group normalisation of padded sequences."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmfuse_encoders.masked_norm import masked_group_norm


@pytest.mark.parametrize("inner", [(), (5,)])
@pytest.mark.parametrize("groups", [1, 3, 6])
def test_each_row_is_normalised_as_without_its_padding(inner, groups):
    norm = nn.GroupNorm(groups, 6).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 6, *inner, 7, dtype=torch.float64, requires_grad=True)
    lengths = [7, 2, 4]
    mask = torch.arange(7) < torch.tensor(lengths).unsqueeze(1)
    found = masked_group_norm(norm, x, mask)
    for i, length in enumerate(lengths):
        alone = norm(x[i : i + 1, ..., :length])[0]
        torch.testing.assert_close(found[i, ..., :length], alone)
        (expected,) = torch.autograd.grad(alone.cos().sum(), x, retain_graph=True)
        real = found[i, ..., :length].cos().sum()
        torch.testing.assert_close(torch.autograd.grad(real, x, retain_graph=True)[0], expected)


def test_a_layer_without_weights_only_normalises():
    norm = nn.GroupNorm(2, 4, affine=False)
    x = torch.randn(2, 4, 9)
    torch.testing.assert_close(masked_group_norm(norm, x, torch.ones(2, 9).bool()), norm(x))


def test_statistics_of_half_precision_are_those_of_single():
    norm = nn.GroupNorm(1, 4).bfloat16()
    x = (torch.randn(2, 4, 999) + 50).bfloat16()
    found = masked_group_norm(norm, x, torch.ones(2, 999).bool())
    assert found.dtype == torch.bfloat16
    expected = nn.GroupNorm(1, 4)(x.float())
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0.01)
