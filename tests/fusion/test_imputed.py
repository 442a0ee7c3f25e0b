"""ImputedFusion keeps the promises with every imputer, and hands on what it should."""

import pytest
import torch

import mmfuse.testing.fusion as kit
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, ImputedFusion
from mmfuse.fusion.imputers import (
    CascadeImputer,
    FittedImputer,
    KNNImputer,
    MeanImputer,
    MixtureImputer,
    PlaceholderImputer,
    PrototypeImputer,
    RidgeImputer,
)
from mmfuse.testing import check_fusion
from mmfuse.tokens import Tokens

IMPUTERS = (
    MeanImputer(),
    PlaceholderImputer(),
    RidgeImputer(),
    KNNImputer(k=2),
    PrototypeImputer(count=3),
    CascadeImputer(hidden=(4, 2), blocks=2),
    MixtureImputer(count=3),
)
SMALL = {"out_dim": 6, "hidden": 6}


def fitted(dims, **options):
    """An ImputedFusion that has seen some rows."""
    made = ImputedFusion(dims, **options)
    if isinstance(made.imputer, FittedImputer):
        draw = torch.Generator().manual_seed(0)
        x = torch.randn(30, sum(dims.values()), generator=draw)
        made.imputer.fit(x, torch.rand(30, len(dims), generator=draw) < 0.8)
    return made


@pytest.mark.parametrize("imputer", IMPUTERS, ids=lambda i: type(i).__name__)
def test_it_keeps_the_promises_with_every_imputer(imputer, monkeypatch):
    # torch.export takes most of the time, and is tried where an imputer treats it by itself.
    if not isinstance(imputer, RidgeImputer | KNNImputer):
        checks = tuple(c for c in kit.FUSION_CHECKS if c is not kit.exports)
        monkeypatch.setattr(kit, "FUSION_CHECKS", checks)
    check_fusion(fitted, options=SMALL, imputer=imputer)


@pytest.mark.slow
@pytest.mark.parametrize("imputer", IMPUTERS, ids=lambda i: type(i).__name__)
@pytest.mark.parametrize("inner", ["TransformerFusion", "SequentialFusion", "GatedFusion"])
def test_it_keeps_the_promises_around_other_fusions(imputer, inner):
    options = {"TransformerFusion": {**SMALL, "heads": 2}, "SequentialFusion": SMALL}
    check_fusion(fitted, fusion=inner, options=options.get(inner, {"out_dim": 6}), imputer=imputer)


def test_the_inner_fusion_reads_real_tokens_imputed_ones_and_flags(monkeypatch):
    fusion = ImputedFusion({"a": 2, "b": 1}, options=SMALL, imputer=PlaceholderImputer())
    seen = {}

    def look(tokens, present):
        seen.update(tokens, present=present)
        return ConcatFusion.fuse(fusion.fusion, tokens, present)

    monkeypatch.setattr(fusion.fusion, "fuse", look)
    a = Tokens(torch.arange(12.0).view(3, 2, 2), torch.tensor([[True, True]] * 3))
    present = torch.tensor([[True, False], [False, True], [False, False]])
    fusion({"a": a, "b": Tokens.of(torch.ones(3, 1))}, present)
    place_a, place_b = fusion.imputer.split(fusion.imputer.vectors.unsqueeze(0)).values()
    assert seen["a"].values[0].tolist() == [[0, 1, 0], [2, 3, 0]]  # as it came, no flag
    assert seen["a"].mask.tolist() == [[True, True], [True, False], [False, False]]
    torch.testing.assert_close(seen["a"].values[1, 0, :2], place_a[0])
    torch.testing.assert_close(seen["b"].values[0, 0, :1], place_b[0])
    assert seen["a"].values[1, 0, 2] == seen["b"].values[0, 0, 1] == 1
    assert seen["present"].tolist() == [[True, True], [True, True], [False, False]]


def test_weights_are_of_the_present_and_there_are_no_steps():
    present = torch.tensor([[True, False], [True, True]])
    tokens = {m: Tokens.of(torch.randn(2, 3)) for m in "ab"}
    gated = ImputedFusion({"a": 3, "b": 3}, "GatedFusion")(tokens, present)
    assert (gated.weights > 0).equal(present)
    stepped = ImputedFusion({"a": 3, "b": 3}, "SequentialFusion")(tokens, present)
    assert stepped.steps is None
    assert not ImputedFusion.is_sequential


def test_each_model_has_an_imputer_of_its_own():
    imputer = CascadeImputer()
    one, other = (ImputedFusion({"a": 2}, imputer=imputer) for _ in range(2))
    assert one.imputer is not other.imputer
    assert not list(imputer.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "LateMeanFusion"}, "judges each modality alone"),
        ({"fusion": "ConcatFusio"}, "Did you mean 'ConcatFusion'"),
        ({"options": {"wide": 3}}, "wide.*Check its options"),
    ],
)
def test_what_cannot_be_wrapped_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ImputedFusion({"a": 2, "b": 2}, **options)
