"""RecommendationModel: its equations, absence, new items, and what a checkpoint keeps."""

from __future__ import annotations

import pytest
import torch
from graphs_small import graph_data
from recommenders_small import SmallCatalogue, batch_of, small_model

from mmfuse.errors import ConfigError
from mmfuse.recommend import ItemLists
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.propagation import Chain, GraphData, ItemGraph, LightGCN, SumOf
from mmfuse.recommend.users import UserVectors

BACKBONES = {
    "none": lambda: None,
    "lightgcn": lambda: LightGCN(2),
    "freedom": lambda: SumOf([LightGCN(2), ItemGraph(k=3)]),
    "chain": lambda: Chain([ItemGraph(k=3, residual=True), LightGCN(1, residual="item")]),
}


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("content", ["none", "concat", "add"])
@pytest.mark.parametrize("by", ["id", "history", "both"])
def test_a_batch_sees_the_vectors_of_all(backbone, content, by):
    """Whether a step gathers rows or passes everything along, it says the same."""
    model = small_model(content, backbone=BACKBONES[backbone](), by=by)
    batch, every = batch_of(), model.represent()
    found = model(batch)
    known = model.user.warm[batch.users]
    torch.testing.assert_close(found.users[known], every.users[batch.users][known])
    torch.testing.assert_close(found.items, every.items[batch.all_items()])
    assert found.content is not None
    assert torch.equal(found.content.batch.index[found.places], batch.all_items())


def test_the_history_of_a_user_is_the_mean_of_what_it_took():
    model = small_model("add", by="history")
    train, every = graph_data().train, model.represent()
    for u in range(6):
        _, items = train.rows(torch.tensor([u]))
        torch.testing.assert_close(every.users[u], every.items[items].mean(dim=0))


def test_nobody_s_taste_is_the_mean_of_the_others():
    every = small_model().represent()
    torch.testing.assert_close(every.users[6], every.users[:6].mean(dim=0))


def test_an_id_that_never_learned_counts_for_nothing():
    model = small_model("concat")
    vector = model.represent().items[8]  # nobody took it
    assert not vector[:6].any()
    assert vector[6:].any()


@pytest.mark.parametrize("backbone", ["none", "lightgcn"])
def test_absence_is_no_zero_vector_and_changes_no_other_item(backbone):
    model = small_model("add", backbone=BACKBONES[backbone]())
    before = model.represent().items
    model.catalogue.present[5, 0] = False
    after = model.represent().items
    changed = (before != after).any(dim=1)
    assert changed[5]
    if backbone == "none":
        assert changed.sum() == 1
        # As the fusion has it: what the item still has, not half of nothing.
        content = model.encode(torch.tensor([5])).vector[0]
        text = model.tower.fusion.project["text"](
            model.encode(torch.tensor([5])).tokens["text"].pooled()
        )[0]
        torch.testing.assert_close(content, text)


def test_what_stands_where_nothing_is_changes_nothing():
    model = small_model("add", backbone=LightGCN(1))
    expected = model.represent()
    for garbage in (0.0, 1e30, -torch.inf):
        for m, x in model.catalogue.inputs.items():
            x[~model.catalogue.present[:, model.catalogue.modalities.index(m)]] = garbage
        found = model.represent()
        assert torch.equal(found.items, expected.items)
        assert torch.equal(found.users, expected.users)


@pytest.mark.parametrize("backbone", ["none", "lightgcn"])  # no graph joins items themselves
@pytest.mark.parametrize("content", ["concat", "add"])
def test_a_new_item_gets_what_a_cold_one_gets(backbone, content):
    """Item 8 has modalities, and no edge to any user."""
    model = small_model(content, backbone=BACKBONES[backbone]())
    new = SmallCatalogue(graph_data()).batch(torch.tensor([8]))
    torch.testing.assert_close(model.item_vectors(new)[0], model.represent().items[8])


def test_ids_alone_have_no_vectors_of_new_items():
    new = SmallCatalogue(graph_data()).batch(torch.tensor([8]))
    with pytest.raises(ConfigError, match="ids alone"):
        small_model("none").item_vectors(new)
    with pytest.raises(ConfigError, match="no item modalities"):
        small_model("none", tower=False).item_vectors(new)


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("by", ["id", "history", "both"])
def test_a_checkpoint_builds_the_same_model_without_data(backbone, by):
    model = small_model("add", backbone=BACKBONES[backbone](), by=by)
    again = RecommendationModel.rebuild(model.describe())
    again.double().load_state_dict(model.state_dict())
    again.attach(model.catalogue)
    found, expected = again.represent(), model.represent()
    assert torch.equal(found.users, expected.users)
    assert torch.equal(found.items, expected.items)


def test_steps_without_a_graph_touch_the_batch_alone():
    model = small_model("add").train()
    model(batch_of()).users.sum().backward()
    touched = model.user.table.weight.grad.any(dim=1).nonzero().squeeze(1).tolist()
    assert touched == [0, 1, 5]
    asked = []
    batch = model.catalogue.batch
    model.catalogue.batch = lambda codes, split: asked.append(codes.tolist()) or batch(codes)
    model(batch_of())
    assert asked == [[0, 1, 2, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ItemVectors(id=False), "neither id nor content"),
        (lambda: ItemVectors(0), "dim 0"),
        (lambda: ItemVectors(content="both"), "content 'both'"),
        (lambda: UserVectors("name"), "by is 'name'"),
        (lambda: small_model("add", tower=False), "no item modalities"),
        (lambda: small_model(tower=False).attach(object()), "Give both or neither"),
    ],
)
def test_wrong_options_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_users_that_all_are_new_stay_as_they_are():
    nobody = torch.zeros(0, dtype=torch.long)
    model = RecommendationModel(ItemVectors(4), UserVectors())
    model.build(GraphData(ItemLists.of(nobody, nobody, 2, 3)))
    assert torch.equal(model.represent().users, model.user.table.weight)
