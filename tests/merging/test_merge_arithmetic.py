"""Averages and spherical interpolation of tensors, against their equations in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmfuse.errors import ConfigError
from mmfuse.merging.arithmetic import average, check_weights, slerp

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def shares(count):
    numbers = st.lists(st.floats(0.01, 1), min_size=count, max_size=count)
    return numbers.map(lambda found: [n / sum(found) for n in found])


@settings(max_examples=50, deadline=None)
@given(shares(3), st.sampled_from(DTYPES), st.integers(0, 100))
def test_an_average_is_the_weighted_sum_rounded_once(weights, dtype, seed):
    draw = torch.Generator().manual_seed(seed)
    values = [torch.randn(5, generator=draw).to(dtype) for _ in weights]
    wanted = sum(w * v.double() for w, v in zip(weights, values, strict=True))
    found = average(values, weights)
    assert found.dtype == dtype
    assert torch.allclose(found.double(), wanted, rtol=torch.finfo(dtype).eps, atol=1e-7)


@settings(max_examples=50, deadline=None)
@given(shares(4), st.sampled_from(DTYPES), st.integers(0, 100))
def test_what_all_agree_on_stays_to_the_bit(weights, dtype, seed):
    value = torch.randn(7, generator=torch.Generator().manual_seed(seed)).to(dtype)
    assert torch.equal(average([value] * 4, weights), value)


def test_a_weight_of_one_returns_its_input_to_the_bit():
    values = list(torch.randn(3, 50) * torch.logspace(-20, 20, 50))
    for i, value in enumerate(values):
        assert torch.equal(average(values, [float(i == k) for k in range(3)]), value)


def test_the_order_of_equally_weighted_inputs_does_not_matter():
    values = list(torch.randn(5, 100))
    there, back = (average(v, [0.2] * 5) for v in (values, values[::-1]))
    assert torch.allclose(there, back, rtol=1e-6, atol=1e-7)


def test_whole_numbers_are_those_of_the_greatest_weight():
    values = [torch.tensor([1, 2]), torch.tensor([5, 6]), torch.tensor([7, 8])]
    assert average(values, [0.2, 0.5, 0.3]).tolist() == [5, 6]
    assert average(values, [1 / 3] * 3).tolist() == [1, 2]


def test_equal_infinities_of_masks_stay_infinite():
    mask = torch.tensor([0.0, -math.inf])
    assert torch.equal(average([mask, mask.clone()], [0.3, 0.7]), mask)


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1.5, -0.5], [math.nan, 1.0], [0.0, 0.0]])
def test_weights_that_do_not_sum_to_one_are_refused(weights):
    with pytest.raises(ConfigError, match="sum to 1"):
        check_weights(weights, 2)


def test_one_weight_a_model_is_needed():
    with pytest.raises(ConfigError, match="2 weights for 3 models"):
        check_weights([0.5, 0.5], 3)


def literal_slerp(u, v, share):
    """Shoemake's formula on the directions, the length linear."""
    p, q = u / u.norm(), v / v.norm()
    theta = math.acos(float((p * q).sum()))
    turned = (math.sin((1 - share) * theta) * p + math.sin(share * theta) * q) / math.sin(theta)
    return ((1 - share) * u.norm() + share * v.norm()) * turned


@pytest.mark.parametrize("share", [0.1, 0.5, 0.77])
def test_slerp_is_its_equation(share):
    torch.manual_seed(0)
    u, v = torch.randn(4, 3).double(), 5 * torch.randn(4, 3).double()
    assert torch.allclose(slerp(u, v, share), literal_slerp(u, v, share), rtol=1e-12)


def test_slerp_turns_at_constant_speed_and_lengthens_linearly():
    u, v = torch.tensor([1.0, 0.0]).double(), torch.tensor([0.0, 3.0]).double()
    for share in (0.0, 0.25, 0.5, 1.0):
        found = slerp(u, v, share)
        assert math.atan2(found[1], found[0]) == pytest.approx(share * math.pi / 2, abs=1e-12)
        assert found.norm().item() == pytest.approx(1 + 2 * share)


def test_slerp_returns_its_ends_and_what_is_equal_to_the_bit():
    u, v = torch.randn(9), torch.randn(9)
    assert torch.equal(slerp(u, v, 0), u)
    assert torch.equal(slerp(u, v, 1), v)
    for share in (0.2, 0.5, 0.9):
        assert torch.equal(slerp(u, u.clone(), share), u)


@pytest.mark.parametrize("factor", [0.0, 2.0, -1.0, -3.0])
def test_slerp_is_linear_where_there_is_no_one_great_circle(factor):
    u = torch.tensor([1.0, -2.0, 0.5])
    found = slerp(u, factor * u, 0.25)
    assert torch.allclose(found, (0.75 + 0.25 * factor) * u)
    assert torch.allclose(slerp(factor * u, u, 0.75), found)


def test_slerp_of_nearly_parallel_vectors_joins_the_linear_case_without_a_jump():
    u = torch.tensor([1.0, 0.0]).double()
    for angle in (1e-5, 2e-6, 1e-6, 0.9e-6, 1e-9, 0.0):
        v = torch.tensor([math.cos(angle), math.sin(angle)]).double()
        found = slerp(u, v, 0.3)
        assert math.atan2(found[1], found[0]) == pytest.approx(0.3 * angle, rel=1e-6, abs=1e-20)


def test_slerp_of_single_numbers_is_linear_and_of_whole_ones_the_nearer():
    assert slerp(torch.tensor(1.0), torch.tensor(-3.0), 0.25).item() == 0
    assert slerp(torch.tensor(4), torch.tensor(9), 0.75).item() == 9
