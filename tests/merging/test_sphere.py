"""Means on the sphere against their definitions, in float64."""

import itertools
import math

import pytest
import torch

from mmfuse.merging.arithmetic import slerp
from mmfuse.merging.sphere import MEANS, karcher_mean, slerp_fold

DRAW = torch.Generator().manual_seed(0)


def tensors(count, *shape):
    return [torch.randn(shape, dtype=torch.float64, generator=DRAW) for _ in range(count)]


def angle(a, b):
    return torch.arccos((a * b).sum() / a.norm() / b.norm())


@pytest.mark.parametrize("mean", MEANS)
def test_one_tensor_is_its_own_mean(mean):
    (value,) = tensors(1, 3, 4)
    torch.testing.assert_close(MEANS[mean]([value], [1.0]), value)


@pytest.mark.parametrize("mean", MEANS)
def test_equal_tensors_are_their_mean(mean):
    (value,) = tensors(1, 3, 4)
    torch.testing.assert_close(MEANS[mean]([value.clone() for _ in "abc"], [0.2, 0.5, 0.3]), value)


def test_two_tensors_have_one_mean_on_the_sphere():
    pair = tensors(2, 5)
    expected = slerp(*pair, 0.3)
    torch.testing.assert_close(slerp_fold(pair, [0.7, 0.3]), expected)
    torch.testing.assert_close(karcher_mean(pair, [0.7, 0.3]), expected)


def test_folding_gives_each_tensor_its_share_of_the_sum_so_far():
    a, b, c = tensors(3, 6)
    expected = slerp(slerp(a, b, 0.3 / 0.5), c, 0.5)
    torch.testing.assert_close(slerp_fold([a, b, c], [0.2, 0.3, 0.5]), expected)


def test_the_mean_on_the_sphere_has_no_order_and_folding_has_one():
    values, weights = tensors(4, 6), [0.1, 0.2, 0.3, 0.4]
    expected, folded = karcher_mean(values, weights), slerp_fold(values, weights)
    for order in itertools.permutations(range(4)):
        turned = [values[i] for i in order], [weights[i] for i in order]
        torch.testing.assert_close(karcher_mean(*turned), expected)
    other = slerp_fold(values[::-1], weights[::-1])
    assert not torch.allclose(other, folded, rtol=1e-3)


def test_no_direction_has_a_smaller_sum_of_squared_angles():
    values, weights = tensors(4, 3), [0.1, 0.2, 0.3, 0.4]
    found = karcher_mean(values, weights)

    def cost(point):
        return sum(w * angle(point, v) ** 2 for w, v in zip(weights, values, strict=True))

    for step in tensors(50, 3):
        assert cost(found) <= cost(found + 0.01 * step)
    lengths = sum(w * v.norm() for w, v in zip(weights, values, strict=True))
    torch.testing.assert_close(found.norm(), lengths)


@pytest.mark.parametrize("mean", ["slerp", "karcher"])
@pytest.mark.parametrize(
    "values", [([0.0, 0.0], [2.0, 4.0]), ([1.0, 2.0], [-1.0, -2.0]), ([3], [-1])]
)
def test_where_there_is_no_arc_the_mean_is_the_plain_one(mean, values):
    pair = [torch.tensor(v).double() for v in values]
    torch.testing.assert_close(MEANS[mean](pair, [0.25, 0.75]), 0.25 * pair[0] + 0.75 * pair[1])


def test_a_mean_on_the_sphere_keeps_the_length_that_a_plain_mean_loses():
    pair = [torch.tensor([2.0, 0.0]).double(), torch.tensor([0.0, 2.0]).double()]
    assert karcher_mean(pair, [0.5, 0.5]).norm().item() == pytest.approx(2)
    assert MEANS["linear"](pair, [0.5, 0.5]).norm().item() == pytest.approx(math.sqrt(2))
