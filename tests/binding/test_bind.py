"""Binding on a planted problem: what no space pairs is found, and each method does what it says."""

from __future__ import annotations

import pytest
import torch
from planted_spaces import Planted, recall, two_spaces

from mmfuse.binding import (
    CMCR,
    FreeBind,
    MeanOfSpaces,
    OmniBind,
    Retrieval,
    Specialist,
    Training,
    bind,
)

QUICK = {"training": Training(steps=120, batch_size=256), "hidden": 128}
ROUTED = {**QUICK, "router_hidden": (64, 32)}
#: Every method that should reach the pair that no space has.
BINDING = [
    MeanOfSpaces(**QUICK),
    CMCR(**QUICK),
    OmniBind(decoupling=1.0, **ROUTED),
    *(
        pytest.param(method, marks=pytest.mark.slow)
        for method in (
            MeanOfSpaces(pairs=Retrieval(k=3), **QUICK),
            FreeBind(**QUICK),
            FreeBind(displacement=["hear"], **QUICK),
            OmniBind(decoupling=0.0, **ROUTED),
        )
    ),
]


def pools_of(planted: Planted, count: int = 600):
    """Unpaired items of every kind; texts of two sources, of which the spaces know one each."""
    held_out = torch.arange(count) >= count - 100
    return {
        "pictures": planted.pool("image", count, held_out=held_out),
        "captions": planted.pool("text", count, held_out=held_out, trained=["see"]),
        "titles": planted.pool("text", count, held_out=held_out, trained=["hear"]),
        "sounds": planted.pool("audio", count, held_out=held_out),
    }


@pytest.fixture(scope="module")
def planted():
    return two_spaces()


@pytest.fixture(scope="module")
def pools(planted):
    return pools_of(planted)


@pytest.fixture(scope="module")
def paired(planted, pools):
    """New items that mean the same, in every modality. After the pools, which draw before it."""
    meaning = planted.meanings(150)
    return {m: planted.embed(meaning, m) for m in ("image", "text", "audio")}


def embedded(bound, paired):
    return {m: bound.embed(m, vectors) for m, vectors in paired.items()}


@pytest.mark.parametrize("method", BINDING, ids=lambda m: f"{type(m).__name__}")
def test_the_pair_that_no_space_has_is_found_above_chance_and_every_specialist(
    method, pools, paired
):
    found = embedded(bind(pools, method, base="see"), paired)
    alone = [embedded(bind(pools, Specialist(), base=s), paired) for s in ("see", "hear")]
    best = max(recall(z["image"], z["audio"]) for z in alone)
    assert best < 0.05
    assert recall(found["image"], found["audio"]) > 0.2
    assert all(z.norm(dim=1).allclose(torch.ones(len(z))) for z in found.values())


def test_a_specialist_is_the_base_alone(pools, paired):
    found = embedded(bind(pools, Specialist(), base="see"), paired)
    torch.testing.assert_close(found["image"], paired["image"]["see"])
    assert (found["audio"] == found["audio"][0]).all()
