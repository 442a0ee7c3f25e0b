"""Users as sequences of items: SASRec's equations, what it may look at, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from chains import chained
from planted import planted_model

from mmfuse.errors import ConfigError
from mmfuse.fusion import MeanFusion
from mmfuse.recommend import (
    InteractionArrays,
    ItemVectors,
    RecommendationData,
    SASRecUsers,
    UserVectors,
)
from mmfuse.recommend.lists import ItemLists
from mmfuse.recommend.model import RecommendationModel
from mmfuse.recommend.objectives.batch_rows import distinct_users
from mmfuse.recommend.propagation import Chain, ItemGraph, LightGCN

WIDTH, LENGTH = 6, 5


def users_of(layers=2, heads=1, dropout=0.5, width=WIDTH, seed=0):
    torch.manual_seed(seed)
    made = SASRecUsers(LENGTH, layers, heads, dropout)
    made.build(ItemLists.of(torch.tensor([0]), torch.tensor([0]), 3, 4), width)
    for parameter in made.parameters():  # norms and biases that do something
        torch.nn.init.normal_(parameter, std=0.7)
    return made.double().eval()


def literal(users, vectors):
    """The equations, for one user ``(l, D)`` and one line after the other."""

    def norm(x, layer):
        centred = x - x.mean()
        return centred / (centred.square().mean() + layer.eps).sqrt() * layer.weight + layer.bias

    width = vectors.shape[1]
    h = [users.positions[0]]
    h += [math.sqrt(width) * x + users.positions[t + 1] for t, x in enumerate(vectors)]
    for block in users.blocks:
        attention, normed = block.self_attn, [norm(x, block.norm1) for x in h]
        q, k, v = (
            [w @ x + b for x in normed]
            for w, b in zip(
                attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True
            )
        )
        each = width // attention.num_heads
        mixed = []
        for t in range(len(h)):
            heads = []
            for at in range(0, width, each):
                part = slice(at, at + each)
                weights = torch.stack([q[t][part] @ k[s][part] for s in range(t + 1)])
                weights = (weights / math.sqrt(each)).softmax(dim=0)
                heads.append(sum(a * v[s][part] for s, a in enumerate(weights)))
            out = attention.out_proj
            mixed.append(h[t] + out.weight @ torch.cat(heads) + out.bias)
        h = []
        for x in mixed:
            inner = (block.linear1.weight @ norm(x, block.norm2) + block.linear1.bias).relu()
            h.append(x + block.linear2.weight @ inner + block.linear2.bias)
    return torch.stack([norm(x, users.norm) for x in h])


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("learns", [True, False])  # torch takes another way where nothing learns
def test_the_equations_of_the_paper(layers, heads, learns):
    users = users_of(layers, heads)
    vectors = torch.randn(3, LENGTH, WIDTH).double()
    with torch.set_grad_enabled(learns):
        found = users.read(vectors)
    for one, own in zip(found, vectors, strict=True):
        torch.testing.assert_close(one, literal(users, own))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("learns", [True, False])
def test_what_is_taken_later_changes_nothing_before(heads, learns):
    users = users_of(heads=heads)
    vectors = torch.randn(4, LENGTH, WIDTH).double()
    with torch.set_grad_enabled(learns):
        before = users.read(vectors)
        vectors[:, 3] = torch.tensor(1e6)
        after = users.read(vectors)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert ((after - before)[:, 4:].abs() > 1e-3).any(dim=2).all()


def test_longer_neighbours_change_nobody():
    users, items = users_of(), torch.randn(9, WIDTH).double()
    taken = torch.tensor([[3, 1, -1, -1], [5, 2, 8, 0], [-1] * 4])
    together = users.after(taken, items)
    for line, own in zip(together, taken, strict=True):
        alone = users.after(own[own >= 0][None], items)
        torch.testing.assert_close(line, alone[0])
    torch.testing.assert_close(together[2], literal(users, items[:0])[0])  # the learned start


def test_dropout_is_for_training():
    users, vectors = users_of(), torch.randn(2, LENGTH, WIDTH).double()
    assert torch.equal(users.read(vectors), users.read(vectors))
    users.train()
    assert not torch.equal(users.read(vectors), users.read(vectors))


def sequence_model(data, content="none", backbone=None, fusion=None, length=LENGTH, **options):
    model = planted_model(
        data,
        ItemVectors(WIDTH, content=content),
        SASRecUsers(length, heads=2, dropout=0.0),
        backbone,
        fusion,
        **options,
    )
    model.attach(data.catalogue if fusion else None, data.interactions)
    data.remember(length)
    return model


BACKBONES = {
    "none": lambda: None,
    "item graph": lambda: Chain([ItemGraph(3, residual=True)]),
}


def with_content(**options):
    return chained(content=True, users=40, items=20, **{"each": 7, **options})


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("content", ["none", "concat", "add"])
def test_a_batch_has_users_as_they_were_before_each_pair(backbone, content):
    data = with_content(each=[3, 4, 7, 8, 12])  # of which two are held out
    model = sequence_model(data, content, BACKBONES[backbone](), small_tower())
    batch = next(iter(data.train_dataloader()))
    output, every = model.eval()(batch), model.represent()
    histories = data.interactions.histories("train")
    ends = histories.offsets.tolist()
    for b, (user, item) in enumerate(zip(batch.users.tolist(), batch.items.tolist(), strict=True)):
        own = histories.items[ends[user] : ends[user + 1]].tolist()[-LENGTH - 1 :]
        before = torch.tensor([own[: own.index(item)]], dtype=torch.long)
        wanted = model.user.after(before, every.items)[0]
        torch.testing.assert_close(output.users[b], wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.items, every.items[batch.all_items()])
    pairs = torch.tensor([1, 2, 5, 6, LENGTH])[torch.arange(40) % 5]
    assert torch.equal(batch.users.bincount(minlength=40), pairs * batch.users.bincount().bool())
    assert len(batch.users.unique()) == 32
    assert torch.equal(output.content.batch.index[output.places], batch.all_items())


def small_tower():
    from mmfuse import DataSpec, FusionModel, ModalitySpec
    from mmfuse_encoders import LinearEncoder

    widths = {"image": 12, "sound": 8}
    spec = DataSpec({m: ModalitySpec.of(w) for m, w in widths.items()})
    made = {m: LinearEncoder(w, out_dim=4) for m, w in widths.items()}
    return FusionModel(spec, made, MeanFusion(dict.fromkeys(widths, 4)), {})


def test_each_split_is_ranked_for_with_what_came_before_it():
    data = with_content()
    model = sequence_model(data, length=3)
    for split, before in (("train", 5), ("val", 5), ("test", 6)):
        found = model.represent(split=split)
        lists = {}
        for u, i, t in zip(
            data.interactions.user.tolist(),
            data.interactions.item.tolist(),
            data.interactions.time.tolist(),
            strict=True,
        ):
            lists.setdefault(u, []).append((t, i))
        taken = [[i for _, i in sorted(lists[u])][:before][-3:] for u in range(40)]
        wanted = model.eval().user.after(torch.tensor(taken), found.items)
        torch.testing.assert_close(found.users, wanted, atol=1e-5, rtol=1e-4)


def test_blocks_of_users_are_the_same_as_all(monkeypatch):
    data = with_content()
    model = sequence_model(data)
    whole = model.represent().users
    monkeypatch.setattr("mmfuse.recommend.sequence_users._TOGETHER", 7)
    torch.testing.assert_close(model.represent().users, whole)
    histories = data.interactions.histories("train")
    some = model.eval().user(torch.tensor([9, 2]), model.represent().items, histories)
    torch.testing.assert_close(some, whole[[9, 2]])


def test_who_took_nothing_gets_the_mean_of_the_others():
    source = InteractionArrays(
        [0, 0, 0, 1, 1, 2], [0, 1, 2, 2, 1, 0], time=[1, 2, 3, 1, 2, 1],
        split=["train", "train", "val", "train", "train", "val"],
    )  # fmt: skip
    data = RecommendationData(source)
    model = sequence_model(data)
    for split in ("val", "test"):
        users = model.represent(split=split).users
        torch.testing.assert_close(users[2], users[:2].mean(dim=0))
    batch = next(iter(data.train_dataloader()))
    assert batch.users.unique().tolist() == [0, 1]  # who took nothing trains nothing


def test_everything_that_takes_part_learns():
    data = with_content()
    model = sequence_model(data, "add", fusion=small_tower()).train()
    batch = next(iter(data.train_dataloader()))
    model(batch).users.square().sum().backward()
    users = model.user
    longest = 1 + max(block.shape[1] for block in batch.sequences.blocks)
    assert users.positions.grad.any(dim=1).tolist() == [t < longest for t in range(1 + LENGTH)]
    touched = model.item.table.weight.grad.any(dim=1).nonzero().squeeze(1)
    # Items that are to be found alone learn from their own side, which is left out here.
    assert torch.equal(touched, batch.sequences.taken.unique())
    for name, parameter in model.named_parameters():
        if name.startswith(("user.", "tower.encoders")):
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_has_every_pair_once_and_no_negative_that_was_taken(workers):
    data = with_content(each=[3, 5, 8], batch_size=7, negatives=3, workers=workers)
    data.remember(LENGTH)
    train, pairs = data.interactions.lists("train"), []
    for batch in data.train_dataloader():
        pairs += zip(batch.users.tolist(), batch.items.tolist(), strict=True)
        assert not train.contains(batch.users[:, None], batch.negatives).any()
    assert sorted(pairs) == sorted(zip(*(x.tolist() for x in train.pairs()), strict=True))


def test_objectives_over_users_see_each_after_all_that_the_batch_tells():
    data = with_content(each=[4, 6])
    data.remember(LENGTH)
    batch = next(iter(data.train_dataloader()))
    rows = distinct_users(batch)
    assert torch.equal(batch.users[rows], batch.users.unique())
    histories = data.interactions.histories("train")
    last = histories.items[histories.offsets[1:] - 1]
    assert torch.equal(batch.items[rows], last[batch.users[rows]])


def test_a_step_encodes_the_items_of_the_batch_alone():
    data = with_content(batch_size=2)
    model, asked = sequence_model(data, "add", fusion=small_tower()), []
    batch = next(iter(data.train_dataloader()))

    class Asked:
        def batch(self, codes=None, split="train"):
            asked.append(codes)
            return data.catalogue.batch(codes, split)

    model.catalogue = Asked()
    model(batch)
    assert len(asked) == 1
    assert torch.equal(asked[0], batch.distinct_items())
    assert len(asked[0]) < 20


def test_rows_that_the_loader_brings_are_those_of_the_catalogue():
    data = with_content()
    model = sequence_model(data, "add", fusion=small_tower()).eval()
    carrying = with_content(resident_limit=0)
    carrying.remember(LENGTH)
    batch, carried = next(iter(data.train_dataloader())), next(iter(carrying.train_dataloader()))
    assert torch.equal(carried.content.index, batch.distinct_items())
    expected = model(batch)
    model.catalogue = None
    found = model(carried)
    assert torch.equal(found.users, expected.users)
    assert torch.equal(found.items, expected.items)


@pytest.mark.parametrize("garbage", [float("nan"), 1e9])
def test_what_stands_in_an_absent_slot_changes_no_user(garbage):
    data = with_content()
    found = []
    for value in (0.0, garbage):
        model = sequence_model(data, "add", fusion=small_tower())
        batch = data.catalogue.batch(None)
        for i, m in enumerate(batch.modalities):
            batch.inputs[m][~batch.present[:, i]] = value
        found.append(model.represent(model.encode(given=batch).vector).users)
    assert torch.equal(*found)


def test_a_description_and_weights_are_the_model():
    data = with_content()
    model = sequence_model(data, "concat", ItemGraph(3, residual=True), small_tower())
    again = RecommendationModel.rebuild(model.describe())
    again.load_state_dict(model.state_dict())
    again.attach(data.catalogue, data.interactions)
    assert again.describe() == model.describe()
    for split in ("val", "test"):
        assert torch.equal(again.represent(split=split).users, model.represent(split=split).users)


def test_models_to_which_order_is_nothing_train_on_pairs():
    data = with_content()
    data.remember(LENGTH)
    assert next(iter(data.train_dataloader())).sequences is not None
    data.remember(UserVectors().length)
    batch = next(iter(data.train_dataloader()))
    assert batch.sequences is None
    assert len(batch) == 32


def timeless():
    return RecommendationData(InteractionArrays([0, 0, 1], [0, 1, 1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SASRecUsers(0), "length 0"),
        (lambda: SASRecUsers(layers=0), "layers 0"),
        (lambda: SASRecUsers(heads=0), "heads 0"),
        (lambda: SASRecUsers(dropout=1.0), "dropout 1.0"),
        (lambda: users_of(heads=4), "4 heads do not divide the width of the items' vectors, 6"),
        (
            lambda: sequence_model(with_content(), backbone=LightGCN(1)),
            "LightGCN passes the vectors of users along",
        ),
        (lambda: sequence_model(timeless()), "SASRecUsers reads users' items in the order of time"),
        (
            lambda: planted_model(with_content(), ItemVectors(6), SASRecUsers()).represent(),
            "Give them to its attach",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_batch_without_sequences_is_refused():
    data = with_content()
    model = sequence_model(data)
    data.remember(0)
    with pytest.raises(ConfigError, match="the batch has no sequences"):
        model(next(iter(data.train_dataloader())))
