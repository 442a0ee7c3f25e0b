"""Loading: the same batches and the same masks, whoever fetches them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse.batch import Batch
from mmfuse.data import ArrayData
from mmfuse.data.loader import BatchOrder
from mmfuse.errors import DataError
from mmfuse.missing import MAR, MCAR, LabelMNAR, Missingness, ValueMNAR
from mmfuse.recorded import rebuild
from mmfuse.spec import DataSpec
from mmfuse.tokens import Tokens

ROWS = 60
RNG = np.random.default_rng(0)
INPUTS = {
    "a": np.where(RNG.random((ROWS, 1)) < 0.8, RNG.normal(size=(ROWS, 3)), np.nan),
    "b": [RNG.normal(size=(1 + i % 4, 2)) if i % 5 else None for i in range(ROWS)],
    "c": RNG.normal(size=(ROWS, 2)),
}
LABELS = ["no", "yes"] * (ROWS // 2)
SPLIT = ["train"] * 40 + ["val"] * 10 + ["test"] * 10


def make(**options: object) -> ArrayData:
    return ArrayData(INPUTS, LABELS, split=SPLIT, **{"batch_size": 7, **options})


def flat(batch: Batch) -> list[torch.Tensor]:
    values = [x.values if isinstance(x, Tokens) else x for x in batch.inputs.values()]
    return [batch.index, batch.present, batch.target["y"], *values]


def orders(data: ArrayData, epochs: int = 1) -> list[list[int]]:
    loader = data.train_dataloader()
    found = []
    for epoch in range(epochs):
        loader.order.set_epoch(epoch)
        found.append([i for batch in loader.order for i in batch])
    return found


def test_workers_change_nothing_about_batches() -> None:
    alone, helped = (list(make(workers=w, missing=MCAR(0.4)).train_dataloader()) for w in (0, 2))
    assert len(alone) == len(helped) == 6
    for one, other in zip(alone, helped, strict=True):
        for x, y in zip(flat(one), flat(other), strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)


def test_every_training_row_comes_once_an_epoch_in_a_new_order() -> None:
    first, second = orders(make(), epochs=2)
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


def test_the_order_follows_the_seed() -> None:
    assert orders(make(seed=1)) == orders(make(seed=1)) != orders(make(seed=2))


def test_validation_and_test_rows_come_in_order() -> None:
    data = make(eval_batch_size=4)
    for loader, start in ((data.val_dataloader(), 40), (data.test_dataloader(), 50)):
        assert torch.cat([b.index for b in loader]).tolist() == list(range(start, start + 10))
        assert [len(b) for b in loader] == [4, 4, 2]


def test_a_loader_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    list(make().train_dataloader())
    assert torch.equal(state, torch.get_rng_state())


def test_an_interrupted_epoch_goes_on_where_it_stopped() -> None:
    whole = [b.index.tolist() for b in make().train_dataloader()]
    loader = make().train_dataloader()
    batches = iter(loader)
    next(batches), next(batches)
    resumed = make().train_dataloader()
    resumed.load_state_dict(loader.state_dict())
    assert [b.index.tolist() for b in resumed] == whole[2:]
    assert [b.index.tolist() for b in resumed] == whole  # the epoch after is whole again


def test_an_epoch_may_be_interrupted_twice() -> None:
    whole = [b.index.tolist() for b in make().train_dataloader()]
    state = {"epoch": 0, "batches": 2}
    for _ in range(2):
        loader = make().train_dataloader()
        loader.load_state_dict(state)
        next(iter(loader))
        state = loader.state_dict()
    assert state == {"epoch": 0, "batches": 4}
    loader.load_state_dict(state)
    assert [b.index.tolist() for b in loader] == whole[4:]


@pytest.mark.parametrize("rows", [1, 2, 5, 8, 23])
@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_training_rows_evenly(rows: int, world: int) -> None:
    orders = [
        BatchOrder(torch.arange(rows), 2, shuffle=True, rank=r, world=world, is_even=True)
        for r in range(world)
    ]
    shares = [list(order) for order in orders]
    assert len({len(share) for share in shares}) == 1
    assert all(len(order) == len(share) for order, share in zip(orders, shares, strict=True))
    assert {i for share in shares for batch in share for i in batch} == set(range(rows))


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 23])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_evaluation_rows_without_repeats(rows: int, world: int) -> None:
    orders = [BatchOrder(torch.arange(rows), 4, rank=r, world=world) for r in range(world)]
    shares = [list(order) for order in orders]
    assert sorted(i for share in shares for batch in share for i in batch) == list(range(rows))
    assert [len(order) for order in orders] == [len(share) for share in shares]
    assert all(0 < len(batch) <= 4 for share in shares for batch in share)
    if rows >= world:
        assert len({len(share) for share in shares}) == 1


def test_processes_that_train_need_a_row_each_to_validate_on() -> None:
    split = ["train"] * 10 + ["val"] + ["test"] * 9
    data = ArrayData({"a": np.arange(40).reshape(20, 2)}, ["no", "yes"] * 10, split=split)
    data.setup("fit")
    state = SimpleNamespace(fn="fit")
    data.trainer = SimpleNamespace(global_rank=0, world_size=2, state=state)
    with pytest.raises(DataError, match=r"val split has fewer rows \(1\) than .* processes \(2\)"):
        data.val_dataloader()


# Simulated absence.

EVERY = [
    MCAR(0.5, seed=1),
    MAR(0.4, "c", seed=1),
    LabelMNAR(0.8, seed=1),
    ValueMNAR(0.4, seed=1),
]


def mask_of(data: ArrayData, split: str = "train", is_training: bool = True) -> torch.Tensor:
    batches = list(data.loader(split, is_training=is_training))
    index = torch.cat([b.index for b in batches])
    return torch.cat([b.present for b in batches])[index.argsort()]


@pytest.mark.parametrize("missing", EVERY, ids=lambda m: type(m).__name__)
def test_the_mask_depends_on_neither_batches_nor_order(missing: Missingness) -> None:
    first = mask_of(make(missing=missing))
    assert not first.all()
    assert torch.equal(first, mask_of(make(missing=missing, batch_size=1, seed=9)))
    assert torch.equal(first, mask_of(make(missing=missing, eval_batch_size=40), is_training=False))


def test_simulated_absence_never_makes_anyone_present() -> None:
    natural, shown = mask_of(make()), mask_of(make(missing=MCAR(0.5)))
    assert (shown <= natural).all()
    assert shown.sum() < natural.sum()


def test_test_rows_have_their_own_simulator() -> None:
    data = make(missing=MCAR(0.9), test_missing=MCAR({"c": 1.0}, keep_one=False))
    natural = make().dataset("test").present
    assert torch.equal(mask_of(data, "test", False)[:, :2], natural[50:, :2])
    assert not mask_of(data, "test", False)[:, 2].any()
    assert torch.equal(mask_of(make(missing=MCAR(0.9)), "test", False), natural[50:])


def test_a_value_is_its_place_among_present_training_values() -> None:
    rows = [[1.0], [2.0], None, [2.0], [4.0], [2.0], [9.0]]
    split = ["train"] * 5 + ["test"] * 2
    data = ArrayData({"a": rows}, split=split, val=0, on_duplicates="allow")
    expected = [0.5 / 4, 2 / 4, 0.5, 2 / 4, 3.5 / 4]  # ties share the middle of their places
    assert data.facts("train").value[:, 0].tolist() == pytest.approx(expected)
    assert data.facts("test").value[:, 0].tolist() == pytest.approx([2 / 4, 1])


def test_the_group_of_a_regression_row_is_its_side_of_the_training_median() -> None:
    target = [0.5, 1.5, 2.5, float("nan"), 99.5, 1.0]
    data = ArrayData({"a": np.eye(6)}, target, split=["train"] * 3 + ["test"] * 3, val=0)
    assert data.facts("train").group.tolist() == [0, 0, 1]
    assert data.facts("test").group.tolist() == [-1, 1, 0]


def test_statistics_and_facts_do_not_see_simulated_absence() -> None:
    plain, shown = make(), make(missing=MCAR(0.9))
    assert plain.spec == shown.spec
    assert torch.equal(plain.facts("train").value, shown.facts("train").value)


def test_a_text_that_was_taken_away_never_reaches_its_encoder() -> None:
    seen: list[str] = []

    def read(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        return torch.ones(len(texts), 1)

    texts = [f"text {i}" for i in range(ROWS)]
    data = ArrayData({"t": texts, "c": INPUTS["c"]}, split=SPLIT, missing=MCAR({"t": 0.5}))
    data.attach({"t": read})
    batches = list(data.train_dataloader())
    kept = [texts[i] for b in batches for i in b.index[b.present[:, 0]].tolist()]
    assert sorted(seen) == sorted(kept)
    assert 0 < len(seen) < 40


# What is saved with a run.


def test_the_realised_masks_are_saved_with_the_run(tmp_path: Path) -> None:
    data = make(missing=MCAR(0.5, seed=3))
    data.save(tmp_path)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["row"].tolist() == list(range(ROWS))
    assert rows["split"].tolist() == SPLIT
    natural = data.dataset("train").present
    assert rows[["has_a", "has_b", "has_c"]].to_numpy().tolist() == natural.tolist()
    shown = torch.tensor(rows[["shown_a", "shown_b", "shown_c"]].to_numpy())
    assert torch.equal(shown[:40], mask_of(data))
    assert torch.equal(shown[50:], natural[50:])


def test_settings_and_spec_are_saved_with_the_run(tmp_path: Path) -> None:
    data = make(missing=MCAR(0.5, seed=3))
    data.save(tmp_path)
    saved = json.loads((tmp_path / "data.json").read_text())
    assert DataSpec.from_dict(saved["spec"]) == data.spec
    assert saved["settings"] == data.settings()
    again = rebuild(saved["settings"]["init_args"]["missing"])
    assert torch.equal(again.keep(data.facts("train")), data.missing.keep(data.facts("train")))
