"""evaluate: its tables, what it costs, and its folder on disk."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

from mmfuse import DataSpec, FusionModel, ModalitySpec
from mmfuse.errors import ConfigError, DataError, MissingFileError, OutputError
from mmfuse.fusion import ConcatFusion
from mmfuse.missing import MCAR, Missingness
from mmfuse.recorded import rebuild
from mmfuse.robustness import Condition, RobustnessResult, complete, evaluate, standard_conditions
from mmfuse.robustness.metrics import is_labelled, score
from mmfuse.robustness.passes import predict_under
from mmfuse.robustness.result import COLUMNS
from mmfuse_encoders import MLPEncoder

TABLES = tuple(COLUMNS)
CONDITIONS = standard_conditions("abc", groups=[2])


@pytest.fixture
def result(model, facts, batches) -> RobustnessResult:
    return evaluate(model, batches, facts, bootstrap=10, trained_with={"dropout": {"rate": 0.3}})


def same(one: RobustnessResult, other: RobustnessResult) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.meta == other.meta


def test_encoders_run_once_a_batch_whatever_the_number_of_conditions(model, facts, batches):
    calls = []
    for m, encoder in model.encoders.items():
        encoder.register_forward_hook(lambda *_, m=m: calls.append(m))
    evaluate(model, batches, facts, bootstrap=0)
    assert sorted(calls) == sorted(list(model.modalities) * len(batches))


def test_every_condition_target_and_metric_has_its_line(model, facts, batches, result):
    found = predict_under(model, batches, facts, CONDITIONS)
    for target, spec in model.spec.targets.items():
        for wanted in score(spec, found.values[target], found.labels[target], 10):
            lines = result.conditions.query("target == @target and metric == @wanted.metric")
            assert lines["condition"].tolist() == [c.name for c in CONDITIONS]
            for column in ("value", "low", "high"):
                np.testing.assert_array_equal(lines[column], getattr(wanted, column))
            assert set(lines["rows"]) == {is_labelled(spec, found.labels[target]).sum()}


def test_the_realised_rate_is_the_share_of_present_modalities_taken_away(facts, result):
    there = facts.present.sum().item()
    for condition in CONDITIONS:
        lines = result.conditions.query("condition == @condition.name")
        kept = facts.present
        if condition.missing:
            kept = kept & condition.missing.keep(facts)
        assert lines["realised_rate"].to_numpy() == pytest.approx(1 - kept.sum().item() / there)


def test_subsets_name_what_they_keep(result):
    subsets = result.main("kind").query("family == 'subset'")
    assert subsets["present"].tolist() == ["a", "b", "c", "a,b", "a,c", "b,c", "a,b,c"]
    others = result.main("kind").query("family != 'subset'")
    assert (others["present"] == "").all()


def test_importance_comes_from_the_subsets_scores(result):
    lines = result.main("kind").set_index("condition")["value"]
    table = result.importance.query("target == 'kind'").set_index("modality")
    full = lines["only a + b + c"]
    assert table.loc["b", "leave_one_out"] == pytest.approx(full - lines["only a + c"])
    assert table.loc["b", "alone"] == lines["only b"]
    assert table["shapley"].sum() == pytest.approx(full - lines["nothing"])
    assert result.meta["shapley"] == "exact"


def test_predictions_give_the_scores_back(result):
    table = result.predictions.query("target == 'kind' and label == label")
    hits = (table["prediction"] == table["label"]).groupby(table["condition"], observed=True).mean()
    scores = result.main("kind").set_index("condition")["value"]
    np.testing.assert_allclose(hits[scores.index], scores)
    chances = table[["p_red", "p_green", "p_blue"]].to_numpy()
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(chances.argmax(axis=1), table["prediction"])


def test_steps_of_a_sequential_fusion_end_at_the_complete_score(result):
    for target, metric in result.meta["main_metrics"].items():
        lines = result.steps
        steps = lines[(lines["target"] == target) & (lines["metric"] == metric)]
        assert steps["step"].tolist() == [0, 1, 2, 3]
        assert steps["modality"].tolist() == ["", "a", "b", "c"]
        lines = result.main(target).set_index("condition")
        for column in ("value", "low", "high"):
            wanted = lines.loc[["nothing", "only a", "only a + b", "complete"], column]
            np.testing.assert_allclose(steps[column], wanted, atol=1e-6)


def test_another_fusion_has_no_steps(make_model, facts, batches):
    found = evaluate(make_model(ConcatFusion), batches, facts, bootstrap=0)
    assert found.steps.empty
    assert tuple(found.steps.columns) == COLUMNS["steps"]


def test_conditions_of_ones_own_replace_the_standard_ones(model, facts, batches):
    own = [complete(), Condition("sensor fails", "sensors", 0.5, MCAR({"a": 0.5}))]
    found = evaluate(model, batches, facts, own, bootstrap=0)
    assert found.main("kind")["condition"].tolist() == ["complete", "sensor fails"]
    assert found.importance.empty
    assert found.meta["shapley"] == "none"


def test_importance_can_be_left_out(model, facts, batches):
    found = evaluate(model, batches, facts, bootstrap=0, importance=False)
    assert found.importance.empty
    assert tuple(found.importance.columns) == COLUMNS["importance"]


def test_the_same_seed_gives_the_same_numbers(model, facts, batches, result):
    again = evaluate(model, batches, facts, bootstrap=10)
    for name in TABLES:
        pd.testing.assert_frame_equal(getattr(result, name), getattr(again, name))
    other = evaluate(model, batches, facts, bootstrap=10, seed=1)
    mcar = [r.main("kind").query("family == 'mcar'") for r in (result, other)]
    assert (mcar[0]["realised_rate"] != mcar[1]["realised_rate"]).any()


def test_the_result_says_how_it_came_about(result, rows):
    meta = result.meta
    assert meta["fusion"] == "SequentialFusion"
    assert meta["modalities"] == ["a", "b", "c"]
    assert meta["rows"] == len(rows)
    assert meta["trained_with"] == {"dropout": {"rate": 0.3}}
    assert meta["main_metrics"] == {
        "kind": "accuracy",
        "ill": "auroc",
        "tags": "auroc",
        "size": "r2",
    }
    assert json.loads(json.dumps(meta)) == meta


def test_a_result_survives_its_folder(result, tmp_path):
    folder = result.save(tmp_path / "new" / "folder")
    same(RobustnessResult.load(folder), result)


def test_a_result_without_importance_and_steps_survives_its_folder(
    make_model, facts, batches, tmp_path
):
    found = evaluate(make_model(ConcatFusion), batches, facts, [complete()], bootstrap=0)
    loaded = RobustnessResult.load(found.save(tmp_path))
    assert loaded.importance.empty
    assert loaded.steps.empty
    pd.testing.assert_frame_equal(loaded.conditions, found.conditions)


def test_a_file_in_the_way_of_the_folder_is_an_output_error(result, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"Cannot write .*conditions.parquet"):
        result.save(tmp_path / "file" / "result")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_an_output_error(result, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Cannot write"):
        result.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_the_old_result(result, tmp_path, monkeypatch):
    result.save(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)  # of meta.json, the last one
    newer = evaluate_changed(result)
    with pytest.raises(OutputError, match="No space left"):
        newer.save(tmp_path)
    monkeypatch.undo()
    same(RobustnessResult.load(tmp_path), result)
    assert len(list(tmp_path.iterdir())) == len(TABLES) + 1


def evaluate_changed(result: RobustnessResult) -> RobustnessResult:
    tables = {name: getattr(result, name) for name in TABLES}
    tables["conditions"] = tables["conditions"].assign(value=0.0)
    return RobustnessResult(**tables, meta=result.meta)


def test_a_folder_without_a_file_is_refused(result, tmp_path):
    result.save(tmp_path)
    (tmp_path / "steps.parquet").unlink()
    with pytest.raises(MissingFileError, match=r"steps\.parquet is missing"):
        RobustnessResult.load(tmp_path)


@pytest.mark.parametrize("file", ["meta.json", "summary.parquet"])
def test_half_a_file_is_refused(result, tmp_path, file):
    result.save(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="corrupt"):
        RobustnessResult.load(tmp_path)


def test_a_result_of_a_later_mmfuse_is_refused(result, tmp_path):
    result.save(tmp_path)
    meta = {**result.meta, "format": 99}
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="format 99"):
        RobustnessResult.load(tmp_path)


def test_a_copied_folder_is_complete(result, tmp_path):
    shutil.copytree(result.save(tmp_path / "one"), tmp_path / "two")
    same(RobustnessResult.load(tmp_path / "two"), result)


def test_a_result_of_an_earlier_mmfuse_has_no_masks_and_no_coverage(result, tmp_path):
    result.save(tmp_path)
    for name in ("masks", "coverage"):
        (tmp_path / f"{name}.parquet").unlink()
    with pytest.raises(MissingFileError, match="missing"):
        RobustnessResult.load(tmp_path)
    (tmp_path / "meta.json").write_text(json.dumps({**result.meta, "format": 1}))
    found = RobustnessResult.load(tmp_path)
    pd.testing.assert_frame_equal(found.conditions, result.conditions)
    for name in ("masks", "coverage"):
        assert getattr(found, name).empty
        assert tuple(getattr(found, name).columns) == COLUMNS[name]
    with pytest.raises(ConfigError, match="an earlier mmfuse wrote it"):
        found.kept("complete")


def test_masks_say_who_was_left_under_each_condition(result, facts):
    order = facts.index.argsort()
    assert result.masks["row"].tolist() == facts.index[order].tolist()
    for condition in CONDITIONS:
        wanted = facts.present
        if condition.missing:
            wanted = wanted & condition.missing.keep(facts)
        assert np.array_equal(result.kept(condition.name), wanted[order].numpy())
    with pytest.raises(ConfigError, match="no masks of a condition 'mcar 2'"):
        result.kept("mcar 2")


def test_masks_can_be_made_again_from_what_is_recorded(result, facts):
    order = facts.index.argsort()
    for condition, description in result.meta["simulators"].items():
        if description is None:
            continue
        missing = rebuild(description, base=Missingness)
        kept = (facts.present & missing.keep(facts))[order]
        assert np.array_equal(result.kept(condition), kept.numpy())


def test_a_simulator_that_nothing_could_import_is_named(model, facts, batches):
    class Strike(MCAR):
        """Everybody."""

    found = evaluate(model, batches, facts, [Condition("x", "own", 0.5, Strike(0.5))], bootstrap=0)
    assert found.meta["simulators"]["x"]["class_path"].endswith("Strike")


def test_coverage_says_how_often_the_surest_rows_are_wrong(result):
    assert set(result.coverage["target"]) == {"kind", "ill"}
    table = result.predictions.query("target == 'kind' and label == label")
    classes = ["p_red", "p_green", "p_blue"]
    for condition in ("complete", "mcar 0.5", "only a"):
        rows = table[table["condition"] == condition]
        sure = rows[classes].max(axis=1).sort_values(ascending=False, kind="stable")
        wrong = (rows["prediction"] != rows["label"]).loc[sure.index].to_numpy()
        next_sure = [*sure.to_numpy()[1:], -1]
        lines = result.coverage.query("target == 'kind' and condition == @condition")
        assert lines["rows"].tolist() == [math.ceil(c * len(rows)) for c in lines["coverage"]]
        for line in lines.itertuples():
            if sure.iloc[line.rows - 1] > next_sure[line.rows - 1]:  # no tie
                assert line.value == pytest.approx(wrong[: line.rows].mean())
            assert line.low <= line.value <= line.high
    last = result.coverage.query("coverage == 1 and target == 'kind'").set_index("condition")
    accuracy = result.main("kind").set_index("condition")["value"]
    np.testing.assert_allclose(1 - last["value"], accuracy[last.index])


def test_a_condition_called_row_is_refused(model, facts, batches):
    with pytest.raises(ConfigError, match="rename it"):
        evaluate(model, batches, facts, [Condition("row", "own", 0.5, MCAR(0.5))])


def test_a_model_without_a_target_is_refused(facts, batches):
    spec = DataSpec({"a": ModalitySpec.of(3)})
    encoders = nn.ModuleDict({"a": MLPEncoder(3, out_dim=8)})
    model = FusionModel(spec, dict(encoders.items()), ConcatFusion({"a": 8}, out_dim=8))
    with pytest.raises(ConfigError, match="needs a target"):
        evaluate(model, batches, facts)


def test_conditions_that_share_a_name_are_refused(model, facts, batches):
    with pytest.raises(ConfigError, match="complete"):
        evaluate(model, batches, facts, [complete(), complete()])
