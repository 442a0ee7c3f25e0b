"""RecommendationData: batches that seed, epoch and place decide; users to evaluate; bad input."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from mmfuse.data import ArrayData
from mmfuse.errors import ConfigError, DataError
from mmfuse.missing import MCAR
from mmfuse.recommend import (
    ColdStartSplit,
    InteractionArrays,
    LeaveOneOut,
    RandomSplit,
    RankingBatch,
    RecommendationData,
    TimeSplit,
)
from mmfuse.spec import DataSpec

RNG = np.random.default_rng(0)
USERS, ITEMS = 12, 30
DENSE = RNG.random((USERS, ITEMS)) < 0.4
WHO, WHAT = np.nonzero(DENSE)
WHEN = RNG.integers(0, 1000, len(WHO))


def make(**options: object) -> RecommendationData:
    source = InteractionArrays(WHO, WHAT, time=WHEN)
    return RecommendationData(source, **{"batch_size": 16, "negatives": 3, **options})


def flat(batches: list[RankingBatch]) -> list[list]:
    return [[b.users.tolist(), b.items.tolist(), b.negatives.tolist()] for b in batches]


def epoch(data: RecommendationData, number: int = 0) -> list[list]:
    loader = data.train_dataloader()
    loader.order.set_epoch(number)
    return flat(list(loader))


def test_every_training_pair_comes_once_an_epoch() -> None:
    data = make()
    found = [pair for users, items, _ in epoch(data) for pair in zip(users, items, strict=True)]
    users, items = data.interactions.pairs("train")
    assert sorted(found) == sorted(zip(users.tolist(), items.tolist(), strict=True))


@pytest.mark.parametrize("popularity", [0.0, 0.75])
def test_negatives_are_any_item_that_is_not_taken_in_training(popularity: float) -> None:
    data = make(popularity=popularity)
    train, held = data.interactions.lists("train"), data.interactions.lists("val", "test")
    drawn, held_drawn = set(), 0
    for number in range(20):
        for users, _, negatives in epoch(data, number):
            users, negatives = torch.tensor(users)[:, None], torch.tensor(negatives)
            assert not train.contains(users, negatives).any()
            held_drawn += int(held.contains(users, negatives).sum())
            drawn |= set(negatives.flatten().tolist())
    assert held_drawn > 0
    assert len(drawn) == data.interactions.item_count


def test_leaky_negatives_leave_out_what_is_to_be_found() -> None:
    data = make(leaky_negatives=True)
    known = data.interactions.lists("train", "val", "test")
    for users, _, negatives in epoch(data):
        assert not known.contains(torch.tensor(users)[:, None], torch.tensor(negatives)).any()


def test_by_popularity_cold_items_are_never_drawn() -> None:
    data = make(split=ColdStartSplit(0.2, 0.2), popularity=0.5)
    warm = set(data.interactions.pairs("train")[1].tolist())
    drawn = {i for n in range(5) for b in epoch(data, n) for row in b[2] for i in row}
    assert drawn <= warm < set(range(data.interactions.item_count))


def test_batches_depend_on_seed_and_epoch_alone() -> None:
    first = epoch(make())
    assert first == epoch(make())
    assert first == epoch(make(workers=2))
    assert first != epoch(make(), 1)
    moved = epoch(make(seed=1, split_seed=0))
    assert moved != first
    known = make(seed=1, split_seed=0).interactions.split
    assert torch.equal(known, make().interactions.split)


def test_negatives_are_drawn_anew_in_each_batch_and_epoch() -> None:
    whole = [(tuple(u), tuple(map(tuple, n))) for e in range(3) for u, _, n in epoch(make(), e)]
    assert len({n for _, n in whole}) == len(whole)


def test_an_interrupted_epoch_goes_on_with_the_same_negatives() -> None:
    whole = epoch(make(), 2)
    loader = make().train_dataloader()
    loader.order.set_epoch(2)
    batches = iter(loader)
    next(batches), next(batches)
    resumed = make().train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert flat(list(resumed)) == whole[2:]
    assert flat(list(resumed)) == whole


def on_process(data: RecommendationData, rank: int, world: int) -> RecommendationData:
    state = SimpleNamespace(fn="fit")
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world, state=state)
    return data


def test_two_processes_share_the_batches_of_one() -> None:
    whole = epoch(make())
    shares = [epoch(on_process(make(), rank, 2)) for rank in range(2)]
    joined = [batch for pair in zip(*shares, strict=True) for batch in pair]
    assert joined[: len(whole)] == whole
    for name in ("val_dataloader", "test_dataloader"):
        blocks = [
            block.tolist()
            for rank in range(3)
            for block in getattr(on_process(make(eval_batch_size=2), rank, 3), name)()
        ]
        everyone = torch.cat(list(getattr(make(), name)()))
        assert sorted(u for block in blocks for u in block) == everyone.tolist()


def test_a_loader_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    list(make().train_dataloader())
    assert torch.equal(state, torch.get_rng_state())


# Who is evaluated.


def test_users_without_training_stay_and_are_evaluated() -> None:
    source = InteractionArrays([0, 0, 1, 2, 2], [0, 1, 0, 1, 0], time=[1, 2, 9, 1, 8])
    data = RecommendationData(source, split=TimeSplit(val=0, test_from=5))
    assert data.interactions.user_count == 3
    assert data.counts["users_without_training"] == 1
    assert torch.cat(list(data.test_dataloader())).tolist() == [1, 2]
    assert torch.cat(list(data.predict_dataloader())).tolist() == [0, 1, 2]
    assert data.users("train").tolist() == [0, 2]


def test_blocks_have_the_size_that_was_asked_for() -> None:
    assert [len(b) for b in make(eval_batch_size=5).test_dataloader()] == [5, 5, 2]


# Bad input.


def test_an_empty_split_is_told() -> None:
    data = RecommendationData(InteractionArrays([0, 1], [0, 1], split=["train", "train"]))
    assert data.val_dataloader() == []
    with pytest.raises(DataError, match="The test split is empty"):
        data.test_dataloader()
    on_process(data, 0, 1).trainer.state.fn = "validate"
    with pytest.raises(DataError, match="The val split is empty"):
        data.val_dataloader()
    nobody = RecommendationData(InteractionArrays([0, 1], [0, 1], split=["val", "test"]))
    with pytest.raises(DataError, match="The train split has no interaction"):
        nobody.setup()


def test_a_user_who_took_everything_is_named() -> None:
    source = InteractionArrays(["ann", "ann", "bob"], [5, 6, 5])
    data = RecommendationData(source, split=RandomSplit(0, 0))
    with pytest.raises(DataError, match=r"every item that could be a negative.*'ann' with 2 of 2"):
        data.train_dataloader()
    features = ArrayData({"a": np.eye(8)})  # rows 0 to 7, six of which nobody has taken
    wider = RecommendationData(source, features, split=RandomSplit(0, 0))
    assert wider.interactions.item_count == 8
    list(wider.train_dataloader())
    with pytest.raises(DataError, match="'ann' with 2 of 8"):
        RecommendationData(
            source, features, split=RandomSplit(0, 0), popularity=1.0
        ).train_dataloader()


@pytest.mark.parametrize(
    "option",
    ["user_core", "item_core", "batch_size", "eval_batch_size", "negatives", "popularity"],
)
def test_an_option_outside_its_range_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} is -1; expected"):
        make(**{option: -1})


def test_an_unknown_word_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected keep or drop"):
        make(unseen="ignore")


# Records and settings.


def with_items(**options: object) -> RecommendationData:
    features = np.arange(2.0 * ITEMS).reshape(ITEMS, 2)
    return make(items=ArrayData({"a": features}, missing=MCAR(0.5, keep_one=False)), **options)


def test_a_run_leaves_its_interactions_and_masks(tmp_path: Path) -> None:
    data = with_items()
    data.save(tmp_path)
    pairs = pd.read_parquet(tmp_path / "interactions.parquet")
    again = RecommendationData(
        InteractionArrays(pairs["user"], pairs["item"], split=pairs["split"])
    )
    assert torch.equal(again.interactions.split, data.interactions.split)
    assert pairs["time"].tolist() == WHEN.tolist()
    items = pd.read_parquet(tmp_path / "items.parquet")
    assert items["item"].tolist() == data.interactions.item_ids.tolist()
    assert items["has_a"].all()
    assert items["shown_a"].tolist() == data.catalogue.present[:, 0].tolist()
    assert items["shown_in_test_a"].all()
    saved = json.loads((tmp_path / "data.json").read_text())
    assert DataSpec.from_dict(saved["spec"]) == data.spec
    assert saved["counts"] == data.counts
    assert saved["settings"] == json.loads(json.dumps(data.settings()))


def test_content_is_what_loading_does_not_change() -> None:
    first = with_items().content()
    assert with_items(batch_size=7, workers=1, negatives=9, leaky_negatives=True).content() == first
    assert with_items(split=LeaveOneOut()).content() != first
    assert with_items(item_id=list(range(ITEMS))).content() != first


def test_another_seed_moves_split_and_absence() -> None:
    data = with_items()
    other = data.reseeded(5)
    assert other.seed == 5
    assert not torch.equal(other.interactions.split, data.interactions.split)
    assert not torch.equal(other.catalogue.present, data.catalogue.present)
    kept = with_items(split_seed=0).reseeded(5)
    assert torch.equal(kept.interactions.split, data.interactions.split)


def test_yaml_names_source_items_and_split(tmp_path: Path) -> None:
    pd.DataFrame({"u": WHO, "i": WHAT, "t": WHEN}).to_csv(tmp_path / "taken.csv", index=False)
    np.save(tmp_path / "image.npy", np.eye(ITEMS))
    written = f"""
        data:
          class_path: mmfuse.recommend.RecommendationData
          init_args:
            source:
              class_path: InteractionTable
              init_args: {{path: {tmp_path / "taken.csv"}, user: u, item: i, time: t}}
            items:
              class_path: NpyData
              init_args:
                files: {{image: {tmp_path / "image.npy"}}}
                missing: {{class_path: MCAR, init_args: {{rate: 0.5}}}}
            split:
              class_path: UserTimeSplit
              init_args: {{val: 0.2, test: 0.2}}
            user_core: 5
        """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(RecommendationData, "data")
    data = parser.instantiate(parser.parse_object(yaml.safe_load(written))).data
    assert data.interactions.user_count == USERS
    assert data.counts["time_travels"] == 0
    assert list(data.spec.modalities) == ["image"]
    assert isinstance(data.items.missing, MCAR)
    json.dumps(data.settings())
