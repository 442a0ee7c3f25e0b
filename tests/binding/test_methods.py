"""What sets the methods apart: routers, decoupling, factors; and what none can bind."""

from __future__ import annotations

import pytest
import torch
from planted_spaces import Planted, recall
from torch.nn import functional as F

from mmfuse.binding import CMCR, FreeBind, MeanOfSpaces, OmniBind, Pool, Retrieval, Training, bind
from mmfuse.errors import ConfigError

QUICK = {"training": Training(steps=100, batch_size=256), "hidden": 64}
ROUTED = {**QUICK, "router_hidden": (64, 32)}
TINY = {"training": Training(steps=3, batch_size=32), "hidden": 8}


def see_and_hear(seen=0.3, heard=0.3, seed=0) -> Planted:
    """One space of images and text, one of sounds and text, and how noisy the texts are."""
    return Planted(
        {"see": (16, {"image": 0.3, "text": seen}), "hear": (12, {"audio": 0.3, "text": heard})},
        seed=seed,
    )


def two_sources(planted, count=400, **options):
    """Texts of two sources, each known to one space, and what goes with them."""
    return {
        "pictures": planted.pool("image", count, **options),
        "captions": planted.pool("text", count, trained=["see"], **options),
        "titles": planted.pool("text", count, trained=["hear"], **options),
        "sounds": planted.pool("audio", count, **options),
    }


def deaf(seed=0):
    """Pools in which captions mean nothing to the space that hears, and texts of that kind."""
    planted = see_and_hear(seed=seed)
    nowhere = F.normalize(torch.ones(12), dim=0)

    def spoilt(vectors):
        noise = torch.randn(len(vectors["see"]), 12, generator=planted.generator)
        return {**vectors, "hear": 3 * nowhere + 0.4 * noise / 12**0.5}

    pools = two_sources(planted)
    pools["captions"] = Pool("text", spoilt(pools["captions"].vectors), trained=["see"])
    meaning = planted.meanings(150)
    texts = spoilt(planted.embed(meaning, "text")), planted.embed(planted.meanings(150), "text")
    return pools, planted.embed(meaning, "image"), texts


@pytest.mark.slow
def test_routers_beat_the_mean_where_a_space_is_noise_for_some_texts():
    """On average over three draws of spaces, items and weights."""
    pairs = Retrieval(through={"image": {"text": ["see"]}, "audio": {"text": ["hear"]}})
    routed = {**ROUTED, "training": Training(steps=150, batch_size=256, learning_rate=3e-3)}
    methods = {
        "mean": MeanOfSpaces(pairs=pairs, training=routed["training"], hidden=64),
        "(i)": OmniBind(decoupling=0.0, pairs=pairs, **routed),
        "(i) + (ii)": OmniBind(decoupling=5.0, pairs=pairs, **routed),
    }
    found, share = {name: [] for name in methods}, {name: [] for name in methods}
    for seed in range(3):
        pools, images, (captions, titles) = deaf(seed)
        for name, method in methods.items():
            bound = bind(pools, method, base="see", seed=seed)
            found[name].append(recall(bound.embed("text", captions), bound.embed("image", images)))
            weights = [bound.weights("text", t)[:, 1].mean().item() for t in (captions, titles)]
            share[name].append(weights)
    recalls = {name: sum(values) / 3 for name, values in found.items()}
    assert recalls["(i)"] > recalls["mean"] + 0.02
    assert recalls["(i) + (ii)"] > recalls["mean"] + 0.05
    # Decoupling gives each text to the space that was trained on its source, in every draw.
    for alone, both in zip(share["(i)"], share["(i) + (ii)"], strict=True):
        assert both[0] < 0.1
        assert both[1] > 0.9
        assert both[1] > alone[1]


def test_decoupling_learns_from_no_pool_that_does_not_say_what_was_trained_on_it():
    pools, _, (captions, _) = deaf()
    silent = {**pools, "titles": Pool("text", pools["titles"].vectors)}
    bound = bind(silent, OmniBind(decoupling=5.0, **ROUTED), base="see")
    # Of the one source that speaks, every text belongs to its space; nothing says otherwise.
    assert bound.weights("text", captions)[:, 0].mean() > 0.9
    quiet = {n: Pool(p.modality, p.vectors) for n, p in pools.items()}
    with pytest.raises(ConfigError, match="set decoupling to 0"):
        bind(quiet, OmniBind(**TINY), base="see")
    bind(quiet, OmniBind(decoupling=0.0, **TINY), base="see")


@pytest.mark.parametrize(("heard", "low", "high"), [(0.05, 0.2, 1.0), (20.0, 0.0, 0.125)])
def test_freebind_trusts_an_expert_as_far_as_it_is_right(heard, low, high):
    planted = see_and_hear(0.6, heard)
    count, held_out = 500, torch.arange(500) >= 350
    pools = two_sources(planted, count, held_out=held_out)
    meaning = planted.meanings(count)
    pools["pictures"] = Pool("image", planted.embed(meaning, "image"), held_out=held_out)
    pools["captions"] = Pool("text", planted.embed(meaning, "text"), held_out=held_out)
    validation = [("pictures", "captions")]
    bound = bind(pools, FreeBind(**QUICK), base="see", validation=validation)
    factor = bound.root.weigher("text").factors[1].item()
    assert low <= factor <= high


def test_a_bond_moves_the_unified_space_or_the_expert():
    planted = see_and_hear()
    pools = two_sources(planted, 60, held_out=torch.arange(60) >= 40)
    images = planted.embed(planted.meanings(5), "image")["see"]
    sounds = planted.embed(planted.meanings(5), "audio")["hear"]
    combined = bind(pools, FreeBind(**TINY), base="see")
    displaced = bind(pools, FreeBind(displacement=["hear"], **TINY), base="see")
    assert (combined.out_dim, displaced.out_dim) == (16, 12)
    torch.testing.assert_close(combined.embed("image", {"see": images}), images)
    torch.testing.assert_close(displaced.embed("audio", {"hear": sounds}), sounds)


@pytest.mark.slow
def test_a_space_that_shares_nothing_with_the_base_is_bound_over_a_third():
    planted = Planted(
        {
            "see": (16, {"image": 0.1, "text": 0.1}),
            "hear": (12, {"audio": 0.1, "text": 0.1}),
            "feel": (10, {"audio": 0.1, "shape": 0.1}),
        }
    )
    pools = {m: planted.pool(m, 400) for m in ("image", "text", "audio", "shape")}
    meaning = planted.meanings(100)
    bound = bind(pools, MeanOfSpaces(**QUICK), base="see")
    z = [bound.embed(m, planted.embed(meaning, m)) for m in ("image", "shape")]
    assert recall(*z) > 0.1


def test_the_same_seed_gives_the_same_space_and_another_another():
    pools = two_sources(see_and_hear(), 60)
    x = pools["captions"].vectors
    first, again, other = (
        bind(pools, OmniBind(**TINY), base="see", seed=seed).embed("text", x) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_drawn_elsewhere_is_left_alone():
    pools = two_sources(see_and_hear(), 60)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    bind(pools, MeanOfSpaces(**TINY), base="see")
    assert torch.equal(torch.rand(3), expected)


def test_a_space_that_nothing_joins_to_the_base_is_told():
    x = torch.randn(20, 4)
    pools = {"a": Pool("image", {"see": x}), "b": Pool("audio", {"hear": x})}
    for method in (MeanOfSpaces(**TINY), CMCR(**TINY), OmniBind(**TINY), FreeBind(**TINY)):
        with pytest.raises(ConfigError, match=r"Nothing joins hear to the base 'see'"):
            bind(pools, method, base="see")


def test_spaces_that_share_a_modality_and_no_item_are_told():
    x = torch.randn(20, 4)
    pools = {
        "a": Pool("text", {"see": x}),
        "b": Pool("text", {"hear": x[:, :3]}),
    }
    for method in (MeanOfSpaces(**TINY), CMCR(**TINY), OmniBind(decoupling=0, **TINY)):
        with pytest.raises(ConfigError, match=r"no space embeds items of two|No item is in two"):
            bind(pools, method, base="see")


@pytest.mark.parametrize(
    ("method", "options", "words"),
    [
        (FreeBind(**TINY), {}, "held_out"),
        (FreeBind(combination=["sea"], **TINY), {}, "sea"),
        (FreeBind(displacement=["see"], **TINY), {}, "the experts are"),
        (MeanOfSpaces(**TINY), {"base": "sea"}, "no space 'sea'"),
        (MeanOfSpaces(**TINY), {"validation": [("pictures", "captions")]}, "FreeBind does"),
    ],
)
def test_what_cannot_be_bound_is_told(method, options, words, tmp_path):
    pools = two_sources(see_and_hear(), 20)
    with pytest.raises(ConfigError, match=words):
        bind(pools, method, **{"base": "see", **options}, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        (("pictures", "songs"), "songs"),
        (("captions", "titles"), "another modality"),
        (("pictures", "captions"), "hold out 2 up"),
    ],
)
def test_validation_pairs_that_mean_nothing_are_told(pair, words):
    planted = see_and_hear()
    pools = two_sources(planted, 20, held_out=torch.arange(20) >= 10)
    pools["captions"] = planted.pool("text", 20, held_out=torch.arange(20) < 10)
    with pytest.raises(ConfigError, match=words):
        bind(pools, FreeBind(**TINY), base="see", validation=[pair])


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (Training, {"steps": 0}),
        (Training, {"batch_size": 1}),
        (Training, {"temperature": 0.0}),
        (Training, {"learning_rate": -1.0}),
        (OmniBind, {"decoupling": -1.0}),
        (CMCR, {"intra": float("nan")}),
        (MeanOfSpaces, {"intra": -1.0}),
        (FreeBind, {"members": 0}),
    ],
)
def test_options_that_mean_nothing_are_told(make, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        make(**options)


def test_a_loss_that_diverges_is_told():
    pools = two_sources(see_and_hear(), 40)
    training = Training(steps=5, batch_size=16, learning_rate=1e30, weight_decay=1e10)
    with pytest.raises(ConfigError, match="diverged"):
        bind(pools, MeanOfSpaces(training=training, hidden=8), base="see")
