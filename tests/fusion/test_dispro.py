import math

import pytest
import torch
from fusion_equations import encoder_layer, norm

from mmfuse.errors import ConfigError
from mmfuse.fusion import DisProFusion
from mmfuse.fusion.dispro import PrototypeHead, prototype_count
from mmfuse.spec import TargetSpec
from mmfuse.testing.values import TARGETS
from mmfuse.tokens import Tokens


def states(fusion, row):
    """What the layers make of cls, present tokens and absent ones' placeholders, in that order."""
    parts, imagined = [fusion.cls[None]], {}
    for i, m in enumerate(fusion.modalities):
        block, e = fusion.placeholders[i], fusion.embedding[i]
        if m in row:
            mean = sum(block) / len(block)
            parts.append(torch.stack([(fusion.project[m](x) + mean) / 2 + e for x in row[m]]))
    for i, m in enumerate(fusion.modalities):
        if m not in row:
            start = sum(map(len, parts))
            imagined[m] = slice(start, start + len(fusion.placeholders[i]))
            parts.append(fusion.placeholders[i] + fusion.embedding[i])
    x = torch.cat(parts)
    for layer in fusion.layers.layers:
        x = encoder_layer(x, layer)
    x = norm(x, fusion.layers.norm)
    return x[0], {m: x[part] for m, part in imagined.items()}


@pytest.fixture
def fusion(sample):
    return DisProFusion(sample.dims, 8, heads=2, layers=2, hidden=12, length=2)


def test_placeholders_stand_for_the_absent_and_mix_with_the_present(fusion, agrees):
    agrees(fusion, lambda row: states(fusion, row)[0])


def test_what_is_imagined_is_what_the_layers_make_of_placeholders(fusion, sample, shake):
    shake(fusion)
    blanked, present = fusion.blanked(sample.tokens, sample.present)
    found = fusion.imagine(blanked, present)
    assert found.shape == (8, 3, 2, 8)
    for i in range(1, 8):
        for m, expected in states(fusion, sample.row(i))[1].items():
            torch.testing.assert_close(found[i, list(sample.dims).index(m)], expected)


@pytest.mark.parametrize("top", [1, 2, 5])
@pytest.mark.parametrize("target", [t for t in TARGETS if prototype_count(t)])
def test_scores_are_the_mean_of_the_highest_cosines(target, top):
    torch.manual_seed(0)
    head = PrototypeHead(2, 4, target, top).double()
    values = torch.randn(3, 4, 4, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]]).bool()
    found = head.scores(1, Tokens(values.masked_fill(~mask.unsqueeze(2), 9.0), mask))
    for i in range(3):
        each = []
        for prototype in head.prototypes[1]:
            cosines = sorted(
                (
                    float((x @ prototype / x.norm() / prototype.norm()).detach())
                    for x in values[i][mask[i]]
                ),
                reverse=True,
            )[:top]
            each.append(sum(cosines) / max(len(cosines), 1) / 0.07)
        if target.kind == "binary":
            each = [each[1] - each[0]]
        assert found[i].tolist() == pytest.approx(each, abs=1e-6)


def test_frozen_prototypes_get_no_gradient():
    head = PrototypeHead(1, 4, TARGETS[1], top=1)
    x = torch.randn(2, 1, 4, requires_grad=True)
    head.scores(0, Tokens(x, torch.ones(2, 1).bool()), frozen=True).sum().backward()
    assert x.grad.any()
    assert head.prototypes.grad is None
    assert head.log_scale.grad is None


def test_the_scale_starts_where_the_authors_have_it():
    assert PrototypeHead(3, 4, TARGETS[1], 1).log_scale.exp().tolist() == pytest.approx(
        [1 / 0.07] * 3
    )


@pytest.mark.parametrize("target", [TargetSpec("regression"), TargetSpec("survival")])
def test_targets_without_classes_or_bins_have_a_readout_alone(target):
    head = DisProFusion({"a": 2}, out_dim=8).head(target)
    assert head.prototypes is None
    assert math.prod(head(torch.zeros(3, 8)).shape) == 3


@pytest.mark.parametrize("options", [{"length": 0}, {"top": 0}])
def test_no_placeholder_is_refused(options):
    with pytest.raises(ConfigError, match="expected 1 or more each"):
        DisProFusion({"a": 2}, **options)
