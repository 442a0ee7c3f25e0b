"""The recommender at work: raw ids, seen items, unknown users, checkpoints."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from mmfuse import checkpoint
from mmfuse.errors import CheckpointError, ConfigError, DataError, UnknownIdError
from mmfuse.recommend import ItemLists
from mmfuse.recommend.explanation import shapley_parts
from mmfuse.recommend.scores import Score
from mmfuse.recommend.serving import Recommender, from_state, serving_state

USERS, ITEMS, WIDTH = 6, 9, 4
USER_IDS = [f"user-{u}" for u in range(USERS)]
ITEM_IDS = [100 + 7 * i for i in range(ITEMS)]


class Distance(Score):
    """The nearer the better, by a scale that is learned."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power
        self.scale = nn.Parameter(torch.tensor(1.0))

    def pairs(self, users, items):
        return -self.scale * (items - users.unsqueeze(1)).norm(dim=2) ** self.power

    def matrix(self, users, items):
        return -self.scale * torch.cdist(users, items) ** self.power


def recommender_of(score=None, parts=False, user_ids=USER_IDS):
    draw = torch.Generator().manual_seed(0)
    users = torch.randn(USERS, WIDTH, generator=draw)
    pieces = {n: torch.randn(ITEMS, WIDTH, generator=draw) for n in ("id", "image")}
    pairs = torch.rand(USERS, ITEMS, generator=draw) < 0.3
    pairs[2] = True  # one who has seen all
    seen = ItemLists.of(*pairs.nonzero(as_tuple=True), USERS, ITEMS)
    items = pieces["id"] + pieces["image"]
    return Recommender(users, items, seen, user_ids, ITEM_IDS, score, pieces if parts else None)


def test_recommendations_are_the_best_unseen_items():
    found = recommender_of()
    table = found.recommend(["user-4", "user-0"], k=3)
    assert table["user"].tolist() == ["user-4"] * 3 + ["user-0"] * 3
    assert table["rank"].tolist() == [1, 2, 3] * 2
    for code, lines in ((4, table[:3]), (0, table[3:])):
        scores = found.items @ found.users[code]
        scores[found.seen.items[found.seen.offsets[code] : found.seen.offsets[code + 1]]] = -9e9
        best = scores.topk(3)
        assert lines["item"].tolist() == [ITEM_IDS[i] for i in best.indices]
        np.testing.assert_allclose(lines["score"], best.values, rtol=1e-5)


def test_seen_items_come_back_when_asked_for():
    found = recommender_of()
    assert "user-2" not in set(found.recommend(k=5)["user"])  # has seen all there is
    assert len(found.recommend("user-2", k=5, exclude_seen=False)) == 5


def test_a_k_beyond_the_catalogue_gives_every_candidate():
    found = recommender_of()
    sizes = found.recommend(k=50).groupby("user").size()
    wanted = ITEMS - found.seen.sizes()
    assert [sizes.get(u, 0) for u in USER_IDS] == wanted.tolist()
    with pytest.raises(ConfigError, match="k is 0"):
        found.recommend(k=0)


def test_among_narrows_the_candidates():
    table = recommender_of().recommend(k=9, among=[100, 114], exclude_seen=False)
    assert table.groupby("user")["item"].agg(set).map(lambda s: s == {100, 114}).all()


def test_no_user_gives_no_line():
    table = recommender_of().recommend([], k=3)
    assert list(table) == ["user", "item", "rank", "score"]
    assert table.empty


def test_an_unknown_user_is_named_with_the_nearest():
    with pytest.raises(UnknownIdError, match=r"no user 'usr-3'.*mean 'user-3'"):
        recommender_of().recommend("usr-3")
    with pytest.raises(UnknownIdError, match=r"no user 44, nor 1 more.* from 0 to 5"):
        recommender_of(user_ids=range(USERS)).recommend([44, 3, 45])
    with pytest.raises(KeyError, match="no item 3"):
        recommender_of().similar_items(3)


def test_similar_items_point_the_same_way():
    found = recommender_of()
    table = found.similar_items([107, 100], k=2)
    assert table["item"].tolist() == [107, 107, 100, 100]
    assert not (table["item"] == table["similar"]).any()
    cosine = torch.cosine_similarity(found.items[1:2], found.items)
    cosine[1] = -2
    np.testing.assert_allclose(table["cosine"][:2], cosine.topk(2).values, rtol=1e-5)
    assert len(found.similar_items(100, k=99)) == ITEMS - 1


@pytest.mark.parametrize("user_ids", [USER_IDS, range(3, 3 + USERS)])
@pytest.mark.parametrize("has_parts", [True, False])
def test_a_saved_recommender_is_the_same(tmp_path, user_ids, has_parts):
    found = recommender_of(parts=has_parts, user_ids=user_ids)
    again = Recommender.load(found.save(tmp_path / "served.ckpt"))
    assert again.recommend(k=4).equals(found.recommend(k=4))
    if has_parts:
        assert again.explain([user_ids[0]], [107]).equals(found.explain([user_ids[0]], [107]))


def test_a_score_comes_back_with_what_it_learned():
    score = Distance(power=2.0)
    score.scale.data.fill_(3.0)
    found = recommender_of(score)
    description, tensors = serving_state(found)
    again = from_state(description, tensors)
    assert (again.score.power, again.score.scale.item()) == (2.0, 3.0)
    assert again.recommend(k=4).equals(found.recommend(k=4))
    assert not found.recommend(k=4)["item"].equals(recommender_of().recommend(k=4)["item"])


def test_other_checkpoints_hold_no_recommender(tmp_path):
    checkpoint.write({"mmfuse": {"format": 1}, "state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(CheckpointError, match="holds no recommender"):
        Recommender.load(tmp_path / "other.ckpt")
    description, tensors = serving_state(recommender_of())
    del tensors["seen"]
    with pytest.raises(CheckpointError, match="lacks seen"):
        from_state(description, tensors)
    description, tensors = serving_state(recommender_of())
    other = {"class_path": "mmfuse.missing.MCAR", "init_args": {"rate": 0.5}}
    with pytest.raises(CheckpointError, match="not a Score"):
        from_state(description | {"score": other}, tensors)


def test_shares_of_the_parts_add_up_to_the_score():
    found = recommender_of(parts=True)
    table = found.recommend(k=2)
    shares = found.explain(table["user"], table["item"])
    assert list(shares) == ["user", "item", "from_id", "from_image"]
    np.testing.assert_allclose(shares["from_id"] + shares["from_image"], table["score"], rtol=1e-4)


def test_what_holds_no_parts_explains_nothing():
    with pytest.raises(ConfigError, match="no parts"):
        recommender_of().explain(["user-0"], [100])
    with pytest.raises(ConfigError, match="explain a dot product"):
        recommender_of(Distance(), parts=True)


def test_new_items_are_recommended_beside_the_old():
    found = recommender_of()
    more = found.with_items(9 * found.users[:1], [5])
    assert more.recommend("user-0", k=1)["item"].tolist() == [5]
    assert more.recommend("user-2", k=9)["item"].tolist() == [5]
    with pytest.raises(DataError, match="two codes"):
        found.with_items(found.users[:1], [100])
    with pytest.raises(DataError, match="expected one kind"):
        found.with_items(found.users[:1], ["a"])


def test_what_does_not_agree_is_refused():
    found = recommender_of()
    users, items, seen = found.users, found.items, found.seen
    with pytest.raises(DataError, match="one row for each of 5 user ids"):
        Recommender(users, items, seen, USER_IDS[:5], ITEM_IDS)
    with pytest.raises(DataError, match="two codes"):
        Recommender(users, items, seen, ["a"] * USERS, ITEM_IDS)
    with pytest.raises(DataError, match="whole numbers or texts"):
        Recommender(users, items, seen, [0.5] * USERS, ITEM_IDS)
    with pytest.raises(DataError, match="lists are of 6 users and 9 items"):
        Recommender(users[:5], items, seen, USER_IDS[:5], ITEM_IDS)
    broken = items.clone()
    broken[1, 1] = torch.nan
    with pytest.raises(DataError, match="item 107 holds NaN"):
        Recommender(users, broken, seen, USER_IDS, ITEM_IDS)
    with pytest.raises(DataError, match="do not add up"):
        Recommender(users, items, seen, USER_IDS, ITEM_IDS, parts={"id": items * 1.1})
    with pytest.raises(DataError, match="part 'id'"):
        Recommender(users, items, seen, USER_IDS, ITEM_IDS, parts={"id": items[1:]})


def test_parts_by_modality_are_the_shapley_values_of_each_score():
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(ITEMS, 3, WIDTH, generator=draw).double()
    present = torch.rand(ITEMS, 3, generator=draw) < 0.7

    def encode(there):  # not linear in what is there
        return torch.tanh((features * there.unsqueeze(2)).sum(1) + 0.3)

    parts = shapley_parts(encode, present, ["a", "b", "c"])
    torch.testing.assert_close(sum(parts.values()), encode(present))
    assert torch.equal(parts["base"], encode(torch.zeros_like(present)))
    assert not parts["b"][~present[:, 1]].abs().max() > 1e-12
    # Literally, for one item and one user: over all orders of joining.
    user, item, orders = torch.randn(WIDTH, generator=draw).double(), 0, 0
    wanted = dict.fromkeys("abc", 0.0)
    for order in permutations(range(3)):
        there = torch.zeros_like(present)
        for m in order:
            before = encode(there)[item] @ user
            there[:, m] = present[:, m]
            wanted["abc"[m]] += (encode(there)[item] @ user - before).item()
        orders += 1
    for name, total in wanted.items():
        assert (parts[name][item] @ user).item() == pytest.approx(total / orders)


def test_a_modality_that_takes_the_name_of_the_rest_is_refused():
    with pytest.raises(ConfigError, match="'base'"):
        shapley_parts(lambda p: p.float(), torch.ones(1, 1).bool(), ["base"])
