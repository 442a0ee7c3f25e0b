"""The kit catches fusions that break a promise, and names the promise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

import mmfuse.testing.fusion as kit
from mmfuse.fusion import Fused, Fusion, SequentialFusion
from mmfuse.testing import ConformanceError, check_fusion
from mmfuse.tokens import Tokens


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Leaves torch.export, the slowest check, to the tests that are about it."""
    if "_Branches" not in request.node.name and "honest" not in request.node.name:
        checks = tuple(c for c in kit.FUSION_CHECKS if c is not kit.exports)
        monkeypatch.setattr(kit, "FUSION_CHECKS", checks)


# Underscores keep these classes out of the registry.


class _Sum(Fusion):
    """An honest fusion, for the others to spoil: the sum of projected mean tokens."""

    def __init__(self, dims, out_dim=3):
        super().__init__(dims, out_dim)
        self.project = nn.ModuleDict(
            {m: nn.Linear(d, out_dim, bias=False) for m, d in dims.items()}
        )

    def fuse(self, tokens, present):
        return Fused(sum(self.project[m](t.pooled()) for m, t in tokens.items()))


class _Leaks(_Sum):
    def forward(self, tokens, present, **options):
        """Multiplies by the mask: NaN times zero is NaN."""
        tokens = {
            m: Tokens(tokens[m].values * present[:, i, None, None], tokens[m].mask)
            if m in tokens
            else self._nothing(m, present)
            for i, m in enumerate(self.modalities)
        }
        fused = self.fuse(tokens, present)
        return replace(
            fused, vector=torch.where(present.any(1, keepdim=True), fused.vector, self.prior)
        )


class _LooksAtTheBatch(_Sum):
    def fuse(self, tokens, present):
        vector = super().fuse(tokens, present).vector
        return Fused(vector - vector.mean(dim=0))


class _CountsPadding(_Sum):
    def fuse(self, tokens, present):
        return Fused(sum(self.project[m](t.values.mean(dim=1)) for m, t in tokens.items()))


class _Restless(_Sum):
    def fuse(self, tokens, present):
        vector = super().fuse(tokens, present).vector
        return Fused(vector + torch.randn_like(vector))


class _WrongWidth(_Sum):
    def __init__(self, dims, out_dim=1):
        super().__init__(dims, out_dim)
        self.wide = nn.Linear(out_dim, 2)

    def fuse(self, tokens, present):
        return Fused(self.wide(super().fuse(tokens, present).vector))


class _NoPrior(_Sum):
    def forward(self, tokens, present, **options):
        fused = super().forward(tokens, present)
        return replace(fused, vector=fused.vector * present.any(dim=1, keepdim=True))


class _DividesByZero(_Sum):
    def fuse(self, tokens, present):
        return Fused(super().fuse(tokens, present).vector / present.sum(dim=1, keepdim=True))


class _IdleWeight(_Sum):
    def __init__(self, dims, out_dim=3):
        super().__init__(dims, out_dim)
        self.unused = nn.Linear(2, 2)


class _ForgetsItsNoise(_Sum):
    def __init__(self, dims, out_dim=3):
        super().__init__(dims, out_dim)
        self.register_buffer("noise", torch.randn(out_dim), persistent=False)

    def fuse(self, tokens, present):
        return Fused(super().fuse(tokens, present).vector + self.noise)


class _RemembersInEval(_Sum):
    def __init__(self, dims, out_dim=3):
        super().__init__(dims, out_dim)
        self.register_buffer("calls", torch.zeros(()))

    def fuse(self, tokens, present):
        self.calls += 1
        return super().fuse(tokens, present)


class _Branches(_Sum):
    def fuse(self, tokens, present):
        if present.all():
            return super().fuse(tokens, present)
        return super().fuse(tokens, present)


class _WeighsTheAbsent(_Sum):
    def fuse(self, tokens, present):
        fused = super().fuse(tokens, present)
        return replace(fused, weights=torch.full_like(present, 0.5, dtype=fused.vector.dtype))


class _CutsTheGradient(_Sum):
    def fuse(self, tokens, present):
        vector = super().fuse(tokens, present).vector
        return Fused(vector + 2 * vector.detach())


class _OnlyFloat32(_Sum):
    def fuse(self, tokens, present):
        return Fused(super().fuse(tokens, present).vector.float())


class _TakesAnything(_Sum):
    def forward(self, tokens, present, **options):
        return super().forward({m: t for m, t in tokens.items() if m in self.dims}, present)


class _NeedsTwo(_Sum):
    def fuse(self, tokens, present):
        first, second, *_ = self.modalities
        return Fused(super().fuse({m: tokens[m] for m in (first, second)}, present).vector)


class _MovesOnAbsence(SequentialFusion):
    def fuse(self, tokens, present, order=None):
        fused = super().fuse(tokens, torch.ones_like(present), order)
        happened = super().fuse(tokens, present, order).step_present
        return replace(fused, step_present=happened)


class _IgnoresTheOrder(SequentialFusion):
    def fuse(self, tokens, present, order=None):
        return super().fuse(tokens, present)


def test_an_honest_fusion_passes():
    check_fusion(_Sum)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (_Leaks, "nothing_leaks"),
        (_LooksAtTheBatch, "row_by_row"),
        (_CountsPadding, "padding_means_nothing"),
        (_Restless, "deterministic_in_eval"),
        (_WrongWidth, "declared_width"),
        (_NoPrior, "all_absent_is_the_prior"),
        (_DividesByZero, "any_subset_works"),
        (_IdleWeight, "every_weight_learns"),
        (_ForgetsItsNoise, "survives_a_checkpoint"),
        (_RemembersInEval, "eval_leaves_no_trace"),
        (_Branches, "exports"),
        (_WeighsTheAbsent, "weights_are_zero_where_absent"),
        (_CutsTheGradient, "gradient_is_right"),
        (_OnlyFloat32, "works_in_every_precision"),
        (_TakesAnything, "unknown_modality_is_refused"),
        (_NeedsTwo, "one_modality_is_enough"),
        (_MovesOnAbsence, "steps_tell_the_story"),
        (_IgnoresTheOrder, "any_order_works"),
        (_IgnoresTheOrder, "a_wrong_order_is_refused"),
    ],
)
def test_a_broken_fusion_is_caught_and_the_promise_is_named(broken, promise):
    with pytest.raises(ConformanceError) as caught:
        check_fusion(broken)
    assert promise in caught.value.broken
    assert broken.__name__ in str(caught.value)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [(_CountsPadding, "padding_means_nothing"), (_IdleWeight, "every_weight_learns")],
)
def test_nothing_else_is_blamed(broken, promise):
    with pytest.raises(ConformanceError) as caught:
        check_fusion(broken)
    assert list(caught.value.broken) == [promise]


def test_a_class_that_nothing_can_import_is_told_to_move():
    class Local(_Sum):
        pass

    with pytest.raises(ConformanceError, match="Move the class to a module"):
        check_fusion(Local)


def test_what_is_no_fusion_is_refused_at_once():
    with pytest.raises(ConformanceError, match="a Linear") as caught:
        check_fusion(lambda dims: nn.Linear(2, 2))
    assert list(caught.value.broken) == ["is_a_fusion"]


def test_the_kit_leaves_the_global_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_fusion(_Sum)
    assert torch.equal(torch.rand(1), expected)
