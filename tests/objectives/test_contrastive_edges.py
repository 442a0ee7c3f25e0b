"""Contrastive objectives on rows with nothing to compare, on NaN, and on models that do not fit."""

from __future__ import annotations

import pytest
import torch
from contrastive_models import (
    EVERY,
    NAMES,
    ROWS,
    batch_of,
    losses_of,
    model_of,
)

from mmfuse import Batch
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.objectives import (
    ChangeAlignmentLoss,
    CLIPLoss,
    CyCLIPLoss,
    GoalAlignmentLoss,
    SigLIPLoss,
    SubsetLanguageLoss,
    SupConLoss,
)


@pytest.mark.parametrize("objective", EVERY)
def test_a_batch_that_lacks_what_is_compared_costs_nothing(objective):
    model = model_of()
    alone = torch.zeros(ROWS, 3, dtype=torch.bool)
    alone[torch.arange(ROWS), torch.arange(ROWS) % 3] = True
    batch = batch_of(model, alone)
    batch = Batch(NAMES, batch.inputs, alone, {"kind": torch.full((ROWS,), -1)})
    for each in (batch, batch.keep(torch.zeros_like(alone))):
        model.zero_grad()
        losses = list(losses_of(objective(), model, each).values())
        assert not any(losses)
        if (total := sum(losses)).requires_grad:
            total.backward()
        assert all(p.grad is None or not p.grad.any() for p in model.encoders.parameters())


@pytest.mark.parametrize("objective", EVERY)
def test_features_of_nan_show_in_the_loss(objective):
    model = model_of()
    batch = batch_of(model, torch.ones(ROWS, 3, dtype=torch.bool))
    batch.inputs["a"][3] = torch.nan
    options = {"swap": ["a", "b"]} if objective is GoalAlignmentLoss else {}
    assert any(v.isnan() for v in losses_of(objective(**options), model, batch).values())


@pytest.mark.parametrize(
    "objective",
    [CLIPLoss, CyCLIPLoss, SigLIPLoss, SubsetLanguageLoss, GoalAlignmentLoss, ChangeAlignmentLoss],
)
def test_one_modality_alone_cannot_be_compared(objective):
    with pytest.raises(ConfigError, match=r"\['a'\]"):
        objective().build(model_of(names=("a",)))


@pytest.mark.parametrize(
    "objective",
    [
        SupConLoss(modalities=["a", "q"]),
        SubsetLanguageLoss(text="q"),
        GoalAlignmentLoss(swap=["a", "q"]),
        ChangeAlignmentLoss(text="q"),
    ],
    ids=lambda o: type(o).__name__,
)
def test_an_unknown_modality_lists_the_known_ones(objective):
    with pytest.raises(UnknownModalityError, match=r"\bq\b.*\['a', 'b', 'c'\]"):
        objective.build(model_of())


@pytest.mark.parametrize(
    ("objective", "targets", "told"),
    [
        (SupConLoss(), ("size",), r"these are: \[\]"),
        (SupConLoss(target="size"), ("kind", "size"), r"'size'; the targets of classes are \['ki"),
        (CLIPLoss(group="size"), ("kind", "size"), r"CLIPLoss reads classes from .* \['kind'\]"),
        (ChangeAlignmentLoss(group="q"), ("kind",), "ChangeAlignmentLoss reads classes from"),
        (ChangeAlignmentLoss(states=["a", "c"]), ("kind",), "three different modalities"),
    ],
)
def test_models_that_do_not_fit_are_refused(objective, targets, told):
    with pytest.raises(ConfigError, match=told):
        objective.build(model_of(targets=targets))


@pytest.mark.parametrize(
    ("cls", "options", "told"),
    [
        (SubsetLanguageLoss, {"subsets": 0}, "subsets is 0"),
        (SubsetLanguageLoss, {"dim": 0}, "dim 0"),
        (SubsetLanguageLoss, {"norm_eps": -1.0}, "norm_eps -1"),
        (GoalAlignmentLoss, {"swap": ["a"]}, "expected two modalities"),
        (GoalAlignmentLoss, {"swap": "ab"}, "expected two modalities"),
        (ChangeAlignmentLoss, {"states": ["a"]}, "before and after"),
    ],
)
def test_options_that_mean_nothing_are_refused(cls, options, told):
    with pytest.raises(ConfigError, match=told):
        cls(**options)
