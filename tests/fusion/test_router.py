"""RouterFusion and its parts, against what they say of themselves."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmfuse.errors import ConfigError
from mmfuse.fusion import RouterFusion
from mmfuse.fusion.routing import PresentBatchNorm, Projector, Router
from mmfuse.tokens import Tokens

DIMS = {"a": 5, "b": 3, "c": 4}


def randomised(module):
    """In float64, in eval mode, with running statistics that are not those of the start."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm1d):
            each.running_mean.uniform_(-1, 1)
            each.running_var.uniform_(0.5, 2)
    return module.double().eval().requires_grad_(False)


def test_with_everyone_present_the_batch_norm_is_torchs():
    x = torch.randn(9, 4, dtype=torch.float64) * 3 + 1
    ours, theirs = PresentBatchNorm(4).double(), nn.BatchNorm1d(4).double()
    for _ in range(3):
        torch.testing.assert_close(ours(x, torch.ones(9).bool()), theirs(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_the_batch_norm_learns_of_the_present_rows_alone():
    x = torch.randn(9, 4, dtype=torch.float64)
    present = torch.arange(9) % 3 > 0
    some, all_there = PresentBatchNorm(4).double(), PresentBatchNorm(4).double()
    torch.testing.assert_close(some(x, present)[present], all_there(x[present]))
    torch.testing.assert_close(some.state_dict(), all_there.state_dict())


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_rows_for_a_variance_are_normalised_by_what_was_seen_before(count):
    x = torch.randn(5, 4, dtype=torch.float64)
    norm = randomised(PresentBatchNorm(4))
    before = {n: v.clone() for n, v in norm.state_dict().items()}
    expected = norm(x)
    torch.testing.assert_close(norm.train()(x, torch.arange(5) < count), expected)
    torch.testing.assert_close(norm.state_dict(), before)


def test_a_projector_is_the_mean_of_its_members_at_unit_length():
    projector = randomised(Projector(5, 6, hidden=7, members=3))
    x = torch.randn(8, 5, dtype=torch.float64)
    expected = torch.zeros(8, 6, dtype=torch.float64)
    for member in projector.members:
        lower, norm, _, upper, last = member.layers
        hidden = (lower(x) - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        out = (upper(hidden.clamp(min=0)) - last.running_mean) / (
            last.running_var + last.eps
        ).sqrt()
        expected += F.normalize(out, dim=1) / 3
    torch.testing.assert_close(projector(x), F.normalize(expected, dim=1))


def test_router_fusion_is_its_equation():
    fusion = randomised(RouterFusion(DIMS, 6, hidden=7, router_hidden=(5, 4), sharpness=3.0))
    tokens = {m: Tokens.of(torch.randn(8, d, dtype=torch.float64)) for m, d in DIMS.items()}
    present = torch.rand(8, 3) > 0.4
    present[0] = True
    found = fusion(tokens, present)
    for i in range(8):
        here = [j for j in range(3) if present[i, j]]
        units = [
            F.normalize(tokens[m].values[i, 0], dim=0) * present[i, j] for j, m in enumerate(DIMS)
        ]
        if not here:
            torch.testing.assert_close(found.vector[i], fusion.prior)
            continue
        scores = fusion.router.logits(torch.cat(units).unsqueeze(0), present[i : i + 1]).sigmoid()[
            0
        ]
        power = [float((3.0 * scores[j]).exp()) for j in here]
        mixed = torch.zeros(6, dtype=torch.float64)
        for p, j in zip(power, here, strict=True):
            torch.testing.assert_close(float(found.weights[i, j]), p / sum(power))
            projector = fusion.projectors[list(DIMS)[j]]
            mixed += p / sum(power) * projector(units[j].unsqueeze(0))[0]
        torch.testing.assert_close(found.vector[i], F.normalize(mixed, dim=0))


def test_the_base_is_not_projected():
    fusion = randomised(RouterFusion({"a": 6, "b": 3}, 6, hidden=7, base="a"))
    x = torch.randn(4, 6, dtype=torch.float64)
    found = fusion({"a": Tokens.of(x)}, torch.tensor([[True, False]]).expand(4, 2))
    torch.testing.assert_close(found.vector, F.normalize(x, dim=1))
    assert list(fusion.projectors) == ["b"]


def test_no_weight_is_more_than_the_sharpness_allows():
    router = Router(5, 4, hidden=(6, 5), sharpness=2.0).double().eval()
    with torch.no_grad():
        router.layers.layers[-1].bias.copy_(torch.tensor([50.0, -50, 50, -50]))
    weights = router(torch.randn(3, 5, dtype=torch.float64), torch.ones(3, 4).bool())
    torch.testing.assert_close(weights[0, 0] / weights[0, 1], torch.tensor(2.0).double().exp())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"base": "x"}, "base is 'x'"),
        ({"base": "b"}, "base is 'b'"),
        ({"hidden": 0}, "hidden 0"),
        ({"router_hidden": (4,)}, "two hidden"),
        ({"sharpness": 0.0}, "sharpness 0.0"),
    ],
)
def test_options_that_mean_nothing_are_told(options, words):
    with pytest.raises(ConfigError, match=words):
        RouterFusion(DIMS, 5, **options)
