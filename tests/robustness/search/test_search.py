"""evaluate on a model without targets: rows search for their own items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import ConcatFusion, UnitMeanFusion
from mmfuse.missing import MCAR, RowFacts
from mmfuse.robustness import (
    Condition,
    RobustnessResult,
    absence_matrix,
    complete,
    evaluate,
    standard_conditions,
)
from mmfuse.robustness.report import write_report
from mmfuse_encoders import MLPEncoder

CONDITIONS = standard_conditions("abc", groups=[2], mcar_rates=(0.3, 0.7))


def of(table: pd.DataFrame, searched: str, condition: str | None = None) -> pd.DataFrame:
    lines = table[table["target"] == f"→ {searched}"]
    return lines if condition is None else lines[lines["condition"] == condition]


def slowly(model: FusionModel, rows: Batch, keep: torch.Tensor, searched: str) -> pd.DataFrame:
    """A line for each row that has an item, one row and one item at a time."""
    m = model.modalities.index(searched)
    here = rows.present[:, m].nonzero().squeeze(1).tolist()
    with torch.no_grad():
        tokens = model.eval().encode(rows)
        items = {i: tokens[searched].pooled()[i].double() for i in here}
        lines = []
        for i in here:
            present = keep[i : i + 1].clone()
            present[0, m] = False
            one = {n: t.rows(torch.tensor([i])) for n, t in tokens.items()}
            query = model.fuse(one, present).vector[0].double() * bool(present.any())
            size = query.norm() or 1.0
            near = {j: float(query @ v / (size * v.norm())) for j, v in items.items()}
            above = sum(s > near[i] + 1e-6 for s in near.values())
            tied = sum(abs(s - near[i]) <= 1e-6 for s in near.values())
            places = range(above + 1, above + tied + 1)
            line = {f"r_at_{k}": np.mean([p <= k for p in places]) for k in (1, 5, 10)}
            line |= {"mrr": np.mean([1 / p for p in places]), "rank": np.mean(places)}
            lines.append({"row": int(rows.index[i]), **line, "map": by_class(rows, near, i)})
    return pd.DataFrame(lines).sort_values("row", ignore_index=True)


def by_class(rows: Batch, near: dict[int, float], i: int) -> float:
    """Average precision over the items of known class; of items all alike the mean over orders."""
    kind = rows.target["kind"]
    if kind[i] < 0:
        return np.nan
    known = [j for j in near if kind[j] >= 0]
    draw, found = np.random.default_rng(0), []
    level = np.round(np.array([near[j] for j in known]) / 1e-6)
    for _ in range(200 if len(set(level)) == 1 else 1):
        order = np.lexsort([draw.random(len(known)), -level])
        right = np.array([kind[known[o]] == kind[i] for o in order])
        found.append(np.mean([right[: p + 1].mean() for p in np.flatnonzero(right)]))
    return float(np.mean(found))


def test_scores_are_those_of_a_slow_search_under_every_condition(aligned, rows, batches, facts):
    result = evaluate(aligned, batches, facts, CONDITIONS, bootstrap=0)
    for condition in CONDITIONS[:1] + CONDITIONS[5::3]:
        keep = rows.present
        if condition.missing is not None:
            keep = keep & condition.missing.keep(facts)
        for m in aligned.modalities:
            if condition.kept is not None and m in condition.kept:
                continue
            wanted = slowly(aligned, rows, keep, m)
            lines = of(result.conditions, m, condition.name)
            found = lines.set_index("metric")
            for metric in ("r_at_1", "r_at_5", "r_at_10", "mrr"):
                assert found.loc[metric, "value"] == pytest.approx(wanted[metric].mean(), abs=1e-6)
                assert found.loc[metric, "rows"] == len(wanted)
            assert found.loc["map", "value"] == pytest.approx(wanted["map"].mean(), abs=5e-3)
            assert found.loc["map", "rows"] == wanted["map"].notna().sum()
            told = of(result.predictions, m, condition.name).dropna(subset="label")
            assert told["row"].tolist() == wanted["row"].tolist()
            assert told["prediction"].to_numpy() == pytest.approx(wanted["rank"], abs=1e-5)


def test_what_stands_in_absent_slots_never_reaches_the_scores(aligned, rows, facts):
    other = {
        m: torch.where(rows.present[:, i : i + 1], x, torch.nan)
        for i, (m, x) in enumerate(rows.inputs.items())
    }
    one = evaluate(aligned, [rows], facts, CONDITIONS, bootstrap=5)
    two = evaluate(aligned, [replace(rows, inputs=other)], facts, CONDITIONS, bootstrap=5)
    pd.testing.assert_frame_equal(one.conditions, two.conditions)
    pd.testing.assert_frame_equal(one.predictions, two.predictions)


def test_encoders_run_once_a_batch_and_batches_and_repeats_change_nothing(
    aligned, rows, batches, facts
):
    calls = []
    for m, encoder in aligned.encoders.items():
        encoder.register_forward_hook(lambda *_, m=m: calls.append(m))
    one = evaluate(aligned, batches, facts, CONDITIONS, bootstrap=0)
    assert sorted(calls) == sorted(list(aligned.modalities) * len(batches))
    again = [rows.rows(torch.tensor([20, 21, 2])), *reversed(batches)]
    two = evaluate(aligned, again, facts, CONDITIONS, bootstrap=0)
    pd.testing.assert_frame_equal(one.predictions, two.predictions, rtol=1e-5)
    # Average precision goes by steps of 1e-6, to either side of which rounding may fall.
    pd.testing.assert_frame_equal(one.conditions, two.conditions, rtol=1e-5, atol=2e-3)


def test_with_nothing_present_a_search_is_chance_and_so_is_a_collapsed_model(
    aligned, batches, facts, rows
):
    for encoder in aligned.encoders.values():
        last = [p for p in encoder.parameters() if p.dim() > 1][-1]
        torch.nn.init.zeros_(last)
    result = evaluate(aligned, batches, facts, CONDITIONS, bootstrap=0)
    for m in aligned.modalities:
        count = int(rows.present[:, aligned.modalities.index(m)].sum())
        told = result.meta["targets"][f"→ {m}"]
        assert told["items"] == count
        assert told["chance"]["r_at_5"] == pytest.approx(5 / count)
        assert told["chance"]["mrr"] == pytest.approx(sum(1 / np.arange(1, count + 1)) / count)
        for _, line in of(result.conditions, m).iterrows():
            assert line["value"] == pytest.approx(told["chance"][line["metric"]], abs=1e-6)


def test_vectors_that_know_nothing_of_each_other_score_like_chance(aligned):
    draw = torch.Generator().manual_seed(3)
    inputs = {
        m: torch.randn(600, e.spec.shape[0], generator=draw) for m, e in aligned.encoders.items()
    }
    batch = Batch(("a", "b", "c"), inputs, torch.ones(600, 3).bool())
    known = RowFacts(
        batch.modalities, batch.index, batch.present, torch.full((600,), -1), torch.rand(600, 3)
    )
    result = evaluate(aligned, [batch], known, [complete()], bootstrap=300)
    # No class is told, and so there is no map.
    assert set(result.conditions["metric"]) == {"r_at_1", "r_at_5", "r_at_10", "mrr"}
    for target, facts in result.meta["targets"].items():
        value = result.main(target)["value"].item()
        assert value == pytest.approx(facts["chance"]["mrr"], rel=0.5)


def test_subsets_that_differ_by_what_is_searched_have_one_line(aligned, batches, facts):
    result = evaluate(aligned, batches, facts, CONDITIONS, bootstrap=0)
    subsets = result.main("→ b").query("family == 'subset'")
    assert subsets["present"].tolist() == ["a", "c", "a,c"]
    parts = result.importance.query("target == '→ b'").set_index("modality")
    value = result.main("→ b").set_index("condition")["value"]
    assert list(parts.index) == ["a", "c"]
    gained = value["only a + c"] - value["nothing"]
    assert parts["shapley"].sum() == pytest.approx(gained)
    assert parts.loc["a", "alone"] == value["only a"]
    assert result.meta["shapley"] == "exact"


def test_the_realised_rate_is_that_of_what_rows_ask_with(aligned, rows, batches, facts):
    result = evaluate(aligned, batches, facts, CONDITIONS, bootstrap=0)
    asks = rows.present[:, 1]
    kept = (rows.present & MCAR(0.7).keep(facts))[asks][:, [0, 2]]
    wanted = 1 - kept.sum().item() / rows.present[asks][:, [0, 2]].sum().item()
    line = result.main("→ b").query("condition == 'mcar 0.7'").iloc[0]
    assert line["realised_rate"] == pytest.approx(wanted)


def test_of_many_modalities_worth_is_an_estimate():
    names = [f"m{i}" for i in range(10)]
    spec = DataSpec({m: ModalitySpec.of(2) for m in names})
    encoders = {m: MLPEncoder(2, out_dim=4) for m in names}
    model = FusionModel(spec, encoders, UnitMeanFusion(dict.fromkeys(names, 4)), heads={})
    batch = Batch(tuple(names), {m: torch.randn(12, 2) for m in names}, torch.ones(12, 10).bool())
    known = RowFacts(
        batch.modalities, batch.index, batch.present, torch.full((12,), -1), torch.rand(12, 10)
    )
    result = evaluate(model, [batch], known, bootstrap=0)
    assert result.meta["shapley"] == "estimate"
    assert result.importance["shapley"].notna().all()
    assert not set(result.conditions["family"]) & {"mnar", "mnar_flipped"}  # there is no label


def test_a_result_is_kept_and_shown(aligned, batches, facts, tmp_path):
    result = evaluate(aligned, batches, facts, CONDITIONS, bootstrap=10)
    found = RobustnessResult.load(result.save(tmp_path))
    pd.testing.assert_frame_equal(found.conditions, result.conditions)
    assert found.meta == result.meta
    page = write_report({"one": found, "two": result}, tmp_path).read_text(encoding="utf-8")
    assert "random order" in page
    assert "None" not in page[page.index("<body") : page.index("<script")]
    matrix = absence_matrix({"one": aligned}, batches, facts, CONDITIONS, bootstrap=0)
    complete_data = found.main("→ a")["value"].iloc[0]
    assert matrix.wide("→ a")["complete"].item() == pytest.approx(complete_data)


def test_models_without_one_space_and_rows_without_anything_are_refused(aligned, batches, facts):
    spec = DataSpec({m: ModalitySpec.of(3) for m in "ab"})
    unequal = {"a": MLPEncoder(3, out_dim=8), "b": MLPEncoder(3, out_dim=4)}
    model = FusionModel(spec, unequal, ConcatFusion({"a": 8, "b": 4}, out_dim=8), heads={})
    with pytest.raises(ConfigError, match=r"widths \{'a': 8, 'b': 4, 'fused': 8\}"):
        evaluate(model, batches, facts)
    nothing = [b.keep(torch.zeros(len(b), 3).bool()) for b in batches]
    with pytest.raises(DataError, match="nothing to find"):
        evaluate(aligned, nothing, facts, [complete()])
    with pytest.raises(DataError, match="no batch"):
        evaluate(aligned, [], facts, [Condition("x", "x", 0.5, MCAR(0.5))])
