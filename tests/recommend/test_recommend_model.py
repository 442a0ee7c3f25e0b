"""RecommendationModel: a batch holds rows of the whole, whatever the parts; absence; records."""

from __future__ import annotations

import pytest
import torch
from planted import graph_data_of, planted, planted_model, tower

from mmfuse.batch import Batch
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.fusion import ConcatFusion, GatedFusion, MeanFusion, SideBySideFusion
from mmfuse.missing import ModalityDropout
from mmfuse.recommend.explanation import ItemParts
from mmfuse.recommend.ideal_point import IdealPointScore
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.parts import item_parts
from mmfuse.recommend.propagation import Chain, GraphData, ItemGraph, LightGCN, SumOf
from mmfuse.recommend.prototypes import PrototypeUsers
from mmfuse.recommend.users import UserVectors

DATA = planted(negatives=3)
TRAIN = DATA.interactions.lists("train")
#: For each model its parts, made anew: item, user, backbone, and the fusion if it has a tower.
MODELS = {
    "ids": lambda: (ItemVectors(6), UserVectors(), None, None),
    "ids and content": lambda: (ItemVectors(6, content="concat"), UserVectors(), None, GatedFusion),
    "content added": lambda: (ItemVectors(6, content="add"), UserVectors(), None, MeanFusion),
    "content alone": lambda: (
        ItemVectors(6, id=False, content="concat"),
        UserVectors("history"),
        None,
        ConcatFusion,
    ),
    "histories and ids": lambda: (ItemVectors(6), UserVectors("both"), None, None),
    "prototypes": lambda: (ItemVectors(6), PrototypeUsers(3), None, None),
    "a graph": lambda: (ItemVectors(6), UserVectors(), LightGCN(2), None),
    "graphs of both": lambda: (
        ItemVectors(6),
        UserVectors(),
        SumOf([LightGCN(2), ItemGraph(3)]),
        MeanFusion,
    ),
    "content along graphs": lambda: (
        ItemVectors(6, content="concat"),
        UserVectors(),
        Chain([LightGCN(1, residual="item"), ItemGraph(3, residual=True)]),
        SideBySideFusion,
    ),
}


def make(name, **options):
    item, user, backbone, fusion = MODELS[name]()
    torch.manual_seed(1)
    there = None if fusion is None else tower(fusion)
    return planted_model(DATA, item, user, backbone, there, **options)


@pytest.fixture
def batch():
    return next(iter(DATA.train_dataloader()))


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_holds_rows_of_the_whole(name, batch):
    model = make(name).eval()
    output, every = model(batch), model.represent()
    known = model.user.warm[batch.users]
    assert known.all()
    torch.testing.assert_close(output.users, every.users[batch.users])
    torch.testing.assert_close(output.items, every.items[batch.all_items()])
    assert every.users.shape == (45, model.item.out_dim)
    assert not every.users.requires_grad


def test_factorisation_touches_the_rows_of_the_batch_alone(batch):
    model = make("ids and content")
    model(batch).items.square().sum().backward()
    named = torch.zeros(30, dtype=torch.bool)
    named[batch.distinct_items()] = True
    reached = model.item.table.weight.grad.abs().sum(1) > 0
    assert torch.equal(reached, named & model.item.warm)


def test_loaded_rows_and_those_of_the_catalogue_are_the_same(batch):
    model = make("ids and content").eval()
    brought = DATA.catalogue.batch(batch.distinct_items())
    carried = type(batch)(batch.users, batch.items, batch.negatives, brought)
    model.attach(DATA.catalogue)
    expected = model(batch).items
    model.catalogue = None
    assert torch.equal(model(carried).items, expected)


class Spoilt:
    """A catalogue in which something else stands in absent slots, or some are absent."""

    def __init__(self, garbage=None, without=None):
        self.garbage, self.without = garbage, without

    def batch(self, items=None, split="train"):
        found = DATA.catalogue.batch(items, split)
        present, inputs = found.present.clone(), dict(found.inputs)
        if self.without is not None:
            item, column = self.without
            present[found.index == item, column] = False
        for i, m in enumerate(found.modalities):
            if self.garbage is not None:
                inputs[m] = inputs[m].clone()
                inputs[m][~present[:, i]] = self.garbage
        return Batch(found.modalities, inputs, present, index=found.index)


@pytest.mark.parametrize("name", ["ids and content", "content added", "content along graphs"])
@pytest.mark.parametrize("garbage", [float("nan"), 1e9])
def test_what_stands_in_an_absent_slot_changes_nothing(name, garbage, batch):
    found = []
    for catalogue in (DATA.catalogue, Spoilt(garbage)):
        model = make(name)
        model.catalogue = catalogue
        output = model(batch)
        output.items.square().sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append([output.users, output.items, *gradients])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["ids and content", "content added"])
def test_what_one_item_lacks_changes_no_other(name):
    item = int(DATA.catalogue.present.all(dim=1).nonzero()[0])
    model = make(name)
    before = model.represent().items
    model.catalogue = Spoilt(without=(item, 0))
    after = model.represent().items
    others = torch.arange(30) != item
    torch.testing.assert_close(after[others], before[others])
    assert not torch.allclose(after[item], before[item])


def test_an_item_without_anything_gets_the_prior():
    model = make("content alone")
    torch.nn.init.normal_(model.tower.fusion.prior)
    assert not DATA.catalogue.present[-1].any()
    assert torch.equal(model.represent().items[-1], model.tower.fusion.prior)


def test_modality_dropout_is_for_training(batch):
    model = make("content added", modality_dropout=ModalityDropout(0.9, seed=1))
    seen = {}
    for epoch in (0, 1, 0):
        model.start_epoch(epoch)
        present = model.train()(batch).content.present
        assert epoch not in seen or torch.equal(seen[epoch], present)
        seen[epoch] = present
    natural = DATA.catalogue.present[batch.distinct_items()]
    assert torch.equal(model.eval()(batch).content.present, natural)
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0].any(dim=1), natural.any(dim=1))
    assert seen[0].sum() < natural.sum()


@pytest.mark.parametrize("name", ["ids and content", "content added", "content along graphs"])
def test_a_new_item_stands_where_one_that_nobody_took_stands(name):
    item, user, _, fusion = MODELS[name]()
    backbone = LightGCN(2, residual="item") if name == "content along graphs" else None
    data, kept = graph_data_of(DATA), TRAIN.items != 4
    users, items = TRAIN.pairs()
    lists = ItemLists.of(users[kept], items[kept], 45, 30)
    model = RecommendationModel(item, user, backbone, tower(fusion))
    model.build(GraphData(lists, data.features, data.present))
    model.attach(DATA.catalogue)
    found = model.item_vectors(DATA.catalogue.batch(torch.tensor([4])))
    assert found.any()
    torch.testing.assert_close(found, model.represent().items[[4]])


def test_new_items_of_ids_alone_have_no_vectors():
    for name in ("ids", "graphs of both"):
        with pytest.raises(ConfigError, match=r"modalities|ids alone"):
            make(name).item_vectors(DATA.catalogue.batch(torch.tensor([0])))


def test_users_and_items_without_training_have_defined_vectors():
    nobody = torch.zeros(0, dtype=torch.long)
    lists = ItemLists.of(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 3, 3)
    model = RecommendationModel(ItemVectors(4), UserVectors(), LightGCN(1))
    model.build(GraphData(lists))
    found = model.represent()
    torch.testing.assert_close(found.users[2], found.users[:2].mean(0))
    assert not found.items[2].any()
    empty = RecommendationModel(ItemVectors(4), UserVectors())
    empty.build(GraphData(ItemLists.of(nobody, nobody, 2, 2)))
    assert torch.isfinite(empty.represent().users).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_description_and_weights_are_the_model(name):
    model = make(name, score=IdealPointScore("angle"), modality_dropout=ModalityDropout(0.1))
    again = RecommendationModel.rebuild(model.describe())
    again.load_state_dict(model.state_dict())
    if again.tower is not None:
        again.attach(DATA.catalogue)
    assert again.describe() == model.describe()
    for one, other in zip(
        (again.represent().users, again.represent().items),
        (model.represent().users, model.represent().items),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_a_part_of_another_kind_is_refused():
    described = make("ids").describe()
    described["user"] = described["item"]
    with pytest.raises(CheckpointError, match="is not a Users"):
        RecommendationModel.rebuild(described)


@pytest.mark.parametrize("name", ["ids and content", "content added", "content along graphs"])
def test_shares_of_modalities_add_up_to_the_score(name):
    model = make(name)
    vectors, parts = model.represent(), item_parts(model)
    assert set(parts) == {"base", "image", "sound"}
    users, items = torch.tensor([0, 3, 8]), torch.tensor([1, 29, 4])
    shares = ItemParts(vectors.users, parts).contributions(users, items)
    expected = (vectors.users[users] * vectors.items[items]).sum(1)
    torch.testing.assert_close(sum(shares.values()), expected, atol=1e-5, rtol=1e-4)
    if name != "content along graphs":  # which brings an item what its neighbours show
        lacking = ~DATA.catalogue.present[:, 0]
        assert parts["image"][lacking].abs().max() < 1e-6 < parts["image"].abs().max()


def test_ids_alone_have_no_shares():
    for name in ("ids", "graphs of both"):
        with pytest.raises(ConfigError, match="no parts"):
            item_parts(make(name))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ItemVectors(0), "dim 0"),
        (lambda: ItemVectors(4, content="sum"), "content 'sum'"),
        (lambda: ItemVectors(4, id=False), "neither id nor content"),
        (lambda: UserVectors("name"), "by is 'name'"),
        (lambda: PrototypeUsers(0), "prototypes is 0"),
        (lambda: ItemVectors(4, content="add").build(TRAIN, None), "no item modalities"),
        (lambda: make("ids").attach(DATA.catalogue), "Give both or neither"),
        (lambda: make("ids and content").attach(None), "Give both or neither"),
    ],
)
def test_wrong_options_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


def test_graph_data_tells_who_has_what():
    data = graph_data_of(DATA)
    assert set(data.features) == set(data.present) == {"image", "sound"}
