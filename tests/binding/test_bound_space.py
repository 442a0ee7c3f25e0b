"""BoundSpace: any subset of its spaces, saved and loaded, and on as a fusion module."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.binding import BoundSpace
from mmfuse.binding.nodes import Bond, Factors, Leaf
from mmfuse.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingFileError,
    UnknownModalityError,
)
from mmfuse.fusion.routing import Projector, Router
from mmfuse_encoders import MLPEncoder

WIDTHS = {"see": 6, "hear": 5, "read": 4}
KNOWS = {"image": ["see"], "text": ["see", "hear", "read"], "audio": ["hear"]}


def a_space(routed=True):
    """Three spaces bound with a router, every weight and statistic off its first value."""
    torch.manual_seed(0)
    leaves = [Leaf(s, w, [m for m in KNOWS if s in KNOWS[m]]) for s, w in WIDTHS.items()]
    projectors = [None, Projector(5, 6, hidden=7, members=2), Projector(4, 6, hidden=7, members=2)]
    router = Router(15, 3, hidden=(6, 5), sharpness=10.0)
    bound = BoundSpace(Bond(leaves, projectors, {"text": router} if routed else {}), WIDTHS, KNOWS)
    for module in bound.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    bound.prior.copy_(F.normalize(torch.randn_like(bound.prior), dim=1))
    return bound.eval()


@pytest.fixture
def bound():
    return a_space()


@pytest.fixture
def texts():
    source = torch.Generator().manual_seed(1)
    return {s: torch.randn(9, w, generator=source) for s, w in WIDTHS.items()}


@pytest.fixture
def present():
    """Every subset of the spaces, the empty one first."""
    return torch.arange(9).unsqueeze(1).bitwise_and(torch.tensor([1, 2, 4])) > 0


def test_it_is_the_weighted_sum_of_the_projections(bound, texts):
    found = bound.embed("text", texts)
    units = {s: F.normalize(x, dim=1) for s, x in texts.items()}
    router = bound.root.weigher("text")
    weights = router(torch.cat([*units.values()], dim=1), torch.ones(9, 3).bool())
    parts = [
        units["see"],
        *(bound.root.projectors[i](units[s]) for i, s in ((1, "hear"), (2, "read"))),
    ]
    mixed = sum(w.unsqueeze(1) * p for w, p in zip(weights.unbind(dim=1), parts, strict=True))
    torch.testing.assert_close(found, F.normalize(mixed, dim=1))
    torch.testing.assert_close(bound.weights("text", texts), weights)


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e30, 0.0])
def test_what_stands_in_an_absent_space_changes_nothing(bound, texts, present, garbage):
    expected = bound.embed("text", texts, present)
    spoilt = {
        s: x.masked_fill(~present[:, i : i + 1], garbage) for i, (s, x) in enumerate(texts.items())
    }
    assert torch.equal(bound.embed("text", spoilt, present), expected)
    weights = bound.weights("text", spoilt, present)
    assert (weights[~present] == 0).all()
    torch.testing.assert_close(weights.sum(dim=1), present.any(dim=1).float())


def test_rows_do_not_know_each_other(bound, texts, present):
    expected = bound.embed("text", texts, present)
    for i in range(9):
        alone = {s: x[i : i + 1] for s, x in texts.items()}
        torch.testing.assert_close(bound.embed("text", alone, present[i : i + 1])[0], expected[i])


def test_a_space_left_out_a_space_absent_and_a_vector_without_length_are_the_same(bound, texts):
    here = torch.ones(9, 3, dtype=torch.bool)
    here[:, 1] = False
    expected = bound.embed("text", texts, here)
    left_out = {s: x for s, x in texts.items() if s != "hear"}
    torch.testing.assert_close(bound.embed("text", left_out), expected)
    zero = {**texts, "hear": torch.zeros(9, 5)}
    torch.testing.assert_close(bound.embed("text", zero), expected)


def test_lengths_mean_nothing(bound, texts):
    scaled = {s: x * 10.0 ** torch.arange(-4, 5).unsqueeze(1) for s, x in texts.items()}
    torch.testing.assert_close(bound.embed("text", scaled), bound.embed("text", texts))


def test_a_row_that_no_space_has_gets_the_prior(bound, texts, present):
    found = bound.embed("text", texts, present)
    assert torch.equal(found[0], bound.prior_of("text"))
    assert torch.equal(found[8], bound.prior_of("text"))  # 8 has none of the lowest three bits
    torch.testing.assert_close(found.norm(dim=1), torch.ones(9))


def test_embedding_leaves_the_mode_as_it_was(bound, texts):
    bound.train()
    first = bound.embed("text", texts)
    assert bound.training
    assert torch.equal(bound.embed("text", texts), first)


def test_saved_and_loaded_it_is_the_same(bound, texts, present, tmp_path):
    path = bound.save(tmp_path / "bound")
    for place in (tmp_path / "bound", path):
        again = BoundSpace.load(place)
        assert torch.equal(again.embed("text", texts, present), bound.embed("text", texts, present))
        assert (again.spaces, again.modalities) == (bound.spaces, bound.modalities)


def test_a_file_that_is_no_bound_space_is_told(bound, tmp_path):
    with pytest.raises(MissingFileError, match="no bound space"):
        BoundSpace.load(tmp_path / "nowhere")
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(CheckpointError, match="not a bound space"):
        BoundSpace.load(other)
    other.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="cannot be read"):
        BoundSpace.load(other)
    told = {"format": 1, "bound": {"class_path": "os.system", "init_args": {"command": "false"}}}
    save_file({"x": torch.zeros(1)}, other, {"mmfuse": json.dumps(told)})
    with pytest.raises(CheckpointError, match="not a BoundSpace"):
        BoundSpace.load(other)
    save_file(
        {"x": torch.zeros(1)}, other, {"mmfuse": json.dumps({**told, "format": 99, "mmfuse": "9"})}
    )
    with pytest.raises(CheckpointError, match="format 99"):
        BoundSpace.load(other)


@pytest.mark.parametrize(
    ("modality", "change", "error", "words"),
    [
        ("video", {}, UnknownModalityError, "image, text, audio"),
        ("image", {"hear": torch.ones(9, 5)}, ConfigError, "'hear'"),
        ("text", {"smell": torch.ones(9, 5)}, ConfigError, "'smell'"),
        ("text", {"hear": torch.ones(9, 4)}, DataError, r"\(9, 5\)"),
        ("text", {"hear": torch.ones(8, 5)}, DataError, r"\(9, 5\)"),
        ("text", {"hear": torch.full((9, 5), torch.nan)}, DataError, "Row 0 of 'text' in 'hear'"),
    ],
)
def test_what_cannot_be_embedded_is_told(bound, texts, modality, change, error, words):
    with pytest.raises(error, match=words):
        bound.embed(modality, {**texts, **change})


@pytest.mark.parametrize("present", [torch.ones(9, 2).bool(), torch.ones(9, 3)])
def test_a_mask_of_another_form_is_told(bound, texts, present):
    with pytest.raises(DataError, match="columns"):
        bound.embed("text", texts, present)


@pytest.mark.parametrize("routed", [True, False])
def test_as_a_fusion_it_gives_the_same(texts, present, routed):
    bound = a_space(routed)
    fusion = bound.as_fusion("text")
    spec = DataSpec(
        {s: ModalitySpec.of(w) for s, w in WIDTHS.items()}, {"y": TargetSpec("regression")}
    )
    encoders = {s: MLPEncoder(w, out_dim=w) for s, w in WIDTHS.items()}
    model = FusionModel(spec, encoders, fusion)
    found = model.fuse({s: _tokens(x) for s, x in texts.items()}, present)
    torch.testing.assert_close(found.vector, bound.embed("text", texts, present))
    torch.testing.assert_close(found.weights, bound.weights("text", texts, present))
    batch = Batch(tuple(WIDTHS), texts, present)
    model.train()(batch).logits["y"].sum().backward()
    assert fusion.router.layers.layers[0].weight.grad is not None


def _tokens(x):
    from mmfuse import Tokens

    return Tokens.of(x)


def test_as_a_fusion_of_one_space_it_passes_it_on(bound):
    x = torch.randn(3, 6)
    fusion = bound.as_fusion("image")
    found = fusion({"see": _tokens(x)}, torch.ones(3, 1).bool()).vector
    torch.testing.assert_close(found, F.normalize(x, dim=1))


def test_what_no_router_describes_is_no_fusion(bound):
    leaves = [Leaf("see", 6, ["text"]), Leaf("hear", 6, ["text"])]
    fixed = Bond(leaves, [None, Projector(6, 6, 4)], {"text": Factors([0.3, 0.7])})
    space = BoundSpace(fixed, {"see": 6, "hear": 6}, {"text": ["see", "hear"]})
    with pytest.raises(ConfigError, match="no one router"):
        space.as_fusion("text")
    with pytest.raises(UnknownModalityError, match="video"):
        bound.as_fusion("video")


def test_factors_are_shared_out_among_the_present():
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    weights = Factors([0.25, 0.75])(torch.zeros(4, 1), present)
    expected = [[0.25, 0.75], [1, 0], [0, 1], [0, 0]]
    torch.testing.assert_close(weights, torch.tensor(expected))
    lonely = Factors([0.0, 1.0])(torch.zeros(4, 1), present)
    torch.testing.assert_close(lonely[1], torch.tensor([1.0, 0]))  # all there is


@pytest.mark.parametrize("factors", [[0.0, 0.0], [-0.5, 1.5]])
def test_factors_that_mean_nothing_are_told(factors):
    with pytest.raises(ConfigError, match="Factors"):
        Factors(factors)


def test_a_bond_of_two_widths_is_told():
    with pytest.raises(ConfigError, match="one width"):
        Bond([Leaf("a", 3, ["x"]), Leaf("b", 4, ["x"])], [None, None])
