"""search_curves: what is still found once inputs are moved, and on which rows it is counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import UnitMeanFusion
from mmfuse.model import Towers
from mmfuse.robustness.attacks import (
    SearchCurves,
    SetGuidedAttack,
    Threat,
    search_curves,
    transfer_table,
)
from mmfuse.robustness.attacks.movable import movable, typical_lengths
from mmfuse.robustness.attacks.search_result import OWN
from mmfuse.robustness.attacks.transfer import finds
from mmfuse_encoders import HashedNgramEncoder, LinearEncoder

UNITS = {"a": 1.0, "b": 2.0}


@pytest.fixture
def towers():
    """Two models whose second modality reads a rotation of the first's input."""
    torch.manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6)).Q
    spec = DataSpec({"a": ModalitySpec.of(6), "b": ModalitySpec.of(6)})
    models = []
    for _ in range(2):
        a, b = LinearEncoder(6, 6), LinearEncoder(6, 6)
        with torch.no_grad():
            b.map.weight.copy_(a.map.weight @ turn.T)
            b.map.bias.copy_(a.map.bias)
        models.append(Towers(spec, {"a": a, "b": b}))
    x = torch.randn(30, 6)
    present = torch.ones(30, 2, dtype=torch.bool)
    present[0, 0] = present[1, 1] = False
    return models, Batch(("a", "b"), {"a": x, "b": x @ turn.T}, present)


def test_an_item_is_found_where_too_few_others_are_as_near():
    draw = torch.Generator().manual_seed(0)
    vectors = {m: torch.randn(40, 3, generator=draw).round() for m in "ab"}  # many ties
    vectors = {m: v / v.norm(dim=1, keepdim=True).clamp(min=1) for m, v in vectors.items()}
    present = {m: torch.rand(40, generator=draw) < 0.8 for m in "ab"}
    group = torch.randint(0, 15, (40,), generator=draw)
    scores = vectors["a"] @ vectors["b"].T
    for at in (1, 5):
        wanted = []
        for i in range(40):
            items = [j for j in range(40) if present["b"][j]]
            own = [float(scores[i, j]) for j in items if group[j] == group[i]]
            others = [float(scores[i, j]) for j in items if group[j] != group[i]]
            nearer = sum(s >= max(own, default=2) - 1e-6 for s in others)
            wanted.append(bool(own) and bool(present["a"][i]) and nearer < at)
        assert finds(vectors, present, ("a", "b"), group, at).tolist() == wanted
        assert 0 < sum(wanted) < 40
    alike = {m: torch.ones_like(v) for m, v in vectors.items()}
    assert not finds(alike, present, ("a", "b"), group, 1).any()  # collapsed, it finds nothing


def test_success_is_the_share_of_the_right_that_is_lost(towers):
    models, batch = towers
    found = search_curves(models[0], [batch], [0.3, 0.1], UNITS, bootstrap=200)
    assert found.table["rows"].eq(28).all()
    assert found.table["right"].eq(28).all()
    attack = SetGuidedAttack({"a": 0.3, "b": 0.6})
    table = transfer_table({OWN: models[0]}, batch, attack, "a", "b")
    for _, line in table.iterrows():
        curve = found.curve("a", "b", line["moved"], line["by"])
        assert curve["budget"].tolist() == [0.1, 0.3]
        assert curve["success"].iloc[-1] == line["success"]
        assert (curve["low"] <= curve["success"]).all()
        assert (curve["success"] <= curve["high"]).all()
    lost = 1 - found.table["found"] / found.table["right"]  # as all were right
    assert found.table["success"].to_numpy() == pytest.approx(lost.to_numpy())
    both = found.curve("a", "b", "a + b")["success"]
    assert both.is_monotonic_increasing
    assert both.iloc[-1] > found.curve("a", "b", "a + b", "noise")["success"].iloc[-1] + 0.2


def test_batches_and_what_stands_in_absent_slots_change_nothing(towers):
    models, batch = towers
    one = search_curves(models[0], [batch], [0.3], UNITS, bootstrap=20)
    hidden = {
        m: x.masked_fill(~batch.present[:, i : i + 1], torch.nan)
        for i, (m, x) in enumerate(batch.inputs.items())
    }
    parts = [replace(batch, inputs=hidden).rows(p) for p in torch.arange(30).split(13)]
    two = search_curves(models[0], parts, [0.3], UNITS, bootstrap=20)
    pd.testing.assert_frame_equal(one.table, two.table)


def test_others_are_attacked_at_the_highest_budget_and_asked_at_all(towers, tmp_path):
    models, batch = towers
    others = {"second": (models[1], [batch])}
    found = search_curves(models[0], [batch], [0.1, 0.3], UNITS, others, bootstrap=0)
    table = found.table
    assert set(table.query("source == 'second'")["budget"]) == {0.3}
    assert set(table.query("target == 'second' and source != 'second'")["budget"]) == {0.1, 0.3}
    wanted = transfer_table(
        {OWN: models[0], "second": models[1]},
        batch,
        SetGuidedAttack({"a": 0.3, "b": 0.6}),
        "b",
        "a",
    )
    lines = found.last.query("query == 'b' and item == 'a'")
    keys = ["source", "target", "moved", "by"]
    pd.testing.assert_series_equal(
        lines.set_index(keys)["success"].sort_index(),
        wanted.set_index(keys)["success"].sort_index(),
    )
    again = SearchCurves.load(found.save(tmp_path))
    pd.testing.assert_frame_equal(again.table, table)
    assert again.meta == found.meta
    assert table["low"].isna().all()


def test_what_was_never_found_has_no_success(towers):
    models, batch = towers
    with torch.no_grad():
        for p in models[0].parameters():
            p.zero_()
    table = search_curves(models[0], [batch], [0.1], UNITS, bootstrap=5).table
    assert table["right"].eq(0).all()
    assert np.isnan(table["success"]).all()


def test_mistakes_are_refused_in_words(towers):
    models, batch = towers
    for budgets, units, at in (([0.0], UNITS, 1), ([0.1], {}, 1), ([0.1], UNITS, 0)):
        with pytest.raises(ConfigError, match="expected a budget above 0"):
            search_curves(models[0], [batch], budgets, units, at=at)
    with pytest.raises(DataError, match="no rows"):
        search_curves(models[0], [], [0.1], UNITS)
    with pytest.raises(ConfigError, match="rename the other"):
        search_curves(models[0], [batch], [0.1], UNITS, {OWN: (models[1], [batch])})


def test_texts_and_encoders_without_a_gradient_are_not_moved():
    class Stepped(LinearEncoder):
        def forward(self, x):
            return super().forward(x).detach()

    spec = DataSpec(
        {"x": ModalitySpec.of(4), "y": ModalitySpec.of(4), "text": ModalitySpec("text")}
    )
    encoders = {
        "x": LinearEncoder(4, 8),
        "y": Stepped(4, 8),
        "text": HashedNgramEncoder(spec.modalities["text"], 8),
    }
    text = encoders["text"].preprocess(["one", "two", "three"])
    inputs = {"x": torch.randn(3, 4), "y": torch.randn(3, 4), "text": text}
    batch = Batch(("x", "y", "text"), inputs, torch.ones(3, 3).bool())
    why = movable(Towers(spec, encoders), [batch])
    assert why["x"] == ""
    assert "passes no gradient" in why["y"]
    assert "cannot be moved a little" in why["text"]


def test_a_typical_length_is_that_of_the_median_row():
    spec = DataSpec({"a": ModalitySpec.of(4), "b": ModalitySpec.of(2)})
    encoders = {m: LinearEncoder(s, 3) for m, s in spec.modalities.items()}
    model = FusionModel(spec, encoders, UnitMeanFusion({"a": 3, "b": 3}), heads={})
    x = torch.randn(9, 4)
    batch = Batch(("a", "b"), {"a": x, "b": torch.zeros(9, 2)}, torch.ones(9, 2).bool())
    for norm, size in (("l2", 1), ("linf", 2)):
        found = typical_lengths(model, [batch], Threat(("a", "b"), norm))
        assert found["a"] == pytest.approx(float(x.norm(dim=1).median()) / size)
        assert found["b"] == 1  # zeros have no length to take a share of
