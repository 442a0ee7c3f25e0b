"""Every kind of model over planted tastes: batches, absence in training, records, shares."""

from __future__ import annotations

import pytest
import torch
from planted import planted, planted_model, tower

from mmfuse.batch import Batch
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.fusion import ConcatFusion, GatedFusion, MeanFusion, SideBySideFusion
from mmfuse.missing import ModalityDropout
from mmfuse.recommend.explanation import ItemParts
from mmfuse.recommend.ideal_point import IdealPointScore
from mmfuse.recommend.items import ItemVectors
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.parts import item_parts
from mmfuse.recommend.propagation import Chain, ItemGraph, LightGCN, SumOf
from mmfuse.recommend.prototypes import PrototypeUsers
from mmfuse.recommend.scores import DotScore
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


def test_loaded_rows_and_those_of_the_catalogue_are_the_same(batch):
    model = make("ids and content").eval()
    brought = DATA.catalogue.batch(batch.distinct_items())
    carried = type(batch)(batch.users, batch.items, batch.negatives, brought)
    model.attach(DATA.catalogue)
    expected = model(batch).items
    model.catalogue = None
    assert torch.equal(model(carried).items, expected)


def test_what_a_graph_needs_of_all_items_is_encoded_once(batch):
    """The fusion's own losses come with it, whether or not an objective reads modalities."""
    model, asked = make("content along graphs"), []
    encode = model.tower.encode
    model.tower.encode = lambda rows: asked.append(len(rows)) or encode(rows)
    for reads_content in (True, False):
        output = model(batch, reads_content)
        assert torch.equal(output.content.batch.index[output.places], batch.all_items())
        fused = output.content.output.fused.vector[output.places]
        assert torch.equal(fused, output.start_items[:, :, 6:])
    assert asked == [30, 30]


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
        (lambda: PrototypeUsers(0), "prototypes is 0"),
        (lambda: make("ids").attach(DATA.catalogue), "Give both or neither"),
        (lambda: make("ids and content").attach(None), "Give both or neither"),
    ],
)
def test_wrong_options_are_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build()


@pytest.mark.parametrize("count", [1, 8, 9, 40])
def test_a_score_of_pairs_is_that_of_the_matrix(count):
    users, items = torch.randn(5, 6).double(), torch.randn(5, count, 6).double()
    expected = torch.stack(
        [DotScore().matrix(u[None], i)[0] for u, i in zip(users, items, strict=True)]
    )
    torch.testing.assert_close(DotScore().pairs(users, items), expected)
