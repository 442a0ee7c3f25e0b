"""evaluate_corruptions: against a model run by hand, what it costs, its tables and its folder."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError, DataError, MissingFileError, UnknownModalityError
from mmfuse.fusion import ConcatFusion
from mmfuse.missing.hashing import uniform
from mmfuse.robustness import complete, evaluate
from mmfuse.robustness.corruptions import (
    SEVERITIES,
    CellNoise,
    Corruption,
    CorruptionResult,
    Draws,
    Measured,
    MissingCells,
    SwappedCells,
    effective_robustness,
    evaluate_corruptions,
)
from mmfuse.robustness.corruptions.measures import MEASURES, measures
from mmfuse.robustness.corruptions.passes import Corrupted, rows_of_batches
from mmfuse.robustness.corruptions.result import COLUMNS
from mmfuse.robustness.metrics import metric_names, score
from mmfuse_encoders import (
    MLPEncoder,
)

WIDTHS = {"a": 3, "b": 4, "c": 5}
MEASURED = {m: Measured(ModalitySpec.of(w), (0.0,) * w, (1.0,) * w) for m, w in WIDTHS.items()}
PLAN: dict[str, list[Corruption]] = {
    "a": [CellNoise(), MissingCells()],
    "b": [CellNoise()],
    "c": [SwappedCells(), CellNoise([1, 2, 3, 4, 5])],
}
QUICK = {"measured": MEASURED, "bootstrap": 20}


def result(model, batches, plan=None, **options) -> CorruptionResult:
    return evaluate_corruptions(model, batches, PLAN if plan is None else plan, **QUICK | options)


def by_hand(model: FusionModel, batch: Batch) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        logits = model.eval()(batch).logits
    return {t: model.spec.targets[t].predict(x) for t, x in logits.items()}


def changed(batch: Batch, chosen: dict[str, torch.Tensor], severity: int) -> Batch:
    """Each modality of each row under the corruption that ``chosen`` numbers, -1 for none."""
    inputs = dict(batch.inputs)
    for m, choice in chosen.items():
        for i in range(len(batch)):
            column = batch.modalities.index(m)
            if choice[i] < 0 or not batch.present[i, column]:
                continue
            draws = Draws(batch.index[i : i + 1], 0, m)
            found = PLAN[m][int(choice[i])](
                batch.inputs[m][i : i + 1], severity, draws, MEASURED[m]
            )
            inputs[m] = inputs[m].clone()
            inputs[m][i] = found[0]
    return replace(batch, inputs=inputs)


def corrupted(model, batches) -> Corrupted:
    found = Corrupted(model, PLAN, MEASURED, 0)
    found.read(rows_of_batches(model, batches, PLAN), None)
    return found


def test_predictions_are_those_of_the_model_on_corrupted_rows(model, rows, batches):
    found = corrupted(model, batches)
    order = rows.index.argsort()
    for place, (m, name) in enumerate(found.curves[:-1]):
        which = [c.name for c in PLAN[m]].index(name)
        chosen = {m: torch.full((len(rows),), which)}
        for severity in (2, 5):
            wanted = by_hand(model, changed(rows, chosen, severity))
            for target, values in wanted.items():
                ours = found.curve(target, place)[severity]
                np.testing.assert_allclose(ours, values[order], rtol=1e-4, atol=1e-5)


def test_all_at_once_each_modality_has_one_of_its_own_corruptions(model, rows, batches):
    found = corrupted(model, batches)
    assert found.curves[-1] == (None, None)
    chosen = {
        m: (uniform(0, rows.index, "corrupted together", m) * len(PLAN[m])).long() for m in PLAN
    }
    assert {int(c.max()) for c in chosen.values()} == {0, 1}
    wanted = by_hand(model, changed(rows, chosen, 4))
    for target, values in wanted.items():
        ours = found.curve(target, len(found.curves) - 1)[4]
        np.testing.assert_allclose(ours, values[rows.index.argsort()], rtol=1e-4, atol=1e-5)


def test_rows_without_the_modality_are_predicted_as_before_bit_for_bit(model, rows, batches):
    found = corrupted(model, batches)
    for place, (m, _) in enumerate(found.curves[:-1]):
        lacks = ~found.present[:, model.modalities.index(m)]
        assert lacks.any()
        for target in model.spec.targets:
            curve = found.curve(target, place)
            assert (curve[1:, lacks] == curve[0, lacks]).all()
            assert (curve[1:, ~lacks] != curve[0, ~lacks]).any()


def test_content_of_absent_slots_changes_nothing(model, rows, batches):
    spoilt = dict(rows.inputs)
    for i, m in enumerate(rows.modalities):
        spoilt[m] = torch.where(rows.present[:, i : i + 1], rows.inputs[m], torch.nan)
    spoilt_rows = replace(rows, inputs=spoilt)
    parts = [spoilt_rows.rows(part) for part in torch.arange(len(rows)).split(25)]
    pd.testing.assert_frame_equal(
        result(model, batches).scores, result(model, parts).scores, check_exact=True
    )


def test_scores_are_the_library_s_and_severity_0_is_the_clean_score(model, facts, batches):
    found, spread = result(model, batches), corrupted(model, batches)
    clean = evaluate(model, batches, facts, [complete()], bootstrap=20).conditions
    for target, spec in model.spec.targets.items():
        for wanted in score(spec, spread.curve(target, 1), spread.labels(target), 20):
            lines = found.scores.query(
                "target == @target and metric == @wanted.metric and modality == 'a' "
                "and corruption == 'MissingCells'"
            )
            assert lines["severity"].tolist() == [0, *SEVERITIES]
            for column in ("value", "low", "high"):
                np.testing.assert_array_equal(lines[column], getattr(wanted, column))
        mine = found.scores.query("target == @target and severity == 0")
        theirs = clean.query("target == @target").set_index("metric")
        for column in ("value", "low", "high", "rows"):
            wanted_values = theirs.loc[mine["metric"], column]
            np.testing.assert_allclose(mine[column], wanted_values, rtol=1e-5, atol=1e-7)
    assert tuple(found.scores.columns) == COLUMNS["scores"]


def test_exposed_is_the_share_of_labelled_rows_with_the_modality(model, rows, batches):
    found = result(model, batches).scores.query("target == 'kind'")
    known = rows.target["kind"] >= 0
    anyone = rows.present[known].any(dim=1, keepdim=True)
    there = torch.cat([rows.present[known], anyone], dim=1).double().mean(dim=0)
    for m, share in zip([*rows.modalities, ""], there.tolist(), strict=True):
        np.testing.assert_allclose(found[found["modality"] == m]["exposed"], share)
    assert set(found["rows"]) == {int(known.sum())}


def test_only_the_corrupted_modality_is_encoded_again(model, batches):
    calls = []
    for m, encoder in model.encoders.items():
        encoder.register_forward_hook(lambda *_, m=m: calls.append(m))
    result(model, batches, bootstrap=0)
    for m, corruptions in PLAN.items():
        assert calls.count(m) == len(batches) * (1 + 5 * len(corruptions))


def test_the_order_and_the_size_of_batches_change_nothing(model, rows, batches):
    backwards = [rows.rows(part) for part in torch.arange(len(rows)).flip(0).split(7)]
    twice = [*batches, batches[0]]
    for others in (backwards, twice):
        pd.testing.assert_frame_equal(
            result(model, batches).scores, result(model, others).scores, atol=1e-5, rtol=1e-5
        )


def test_the_seed_decides(model, batches):
    one, other = result(model, batches, seed=1), result(model, batches, seed=2)
    assert not one.scores["value"].equals(other.scores["value"])
    pd.testing.assert_frame_equal(one.scores, result(model, batches, seed=1).scores)


def test_the_model_s_mode_is_restored_and_batches_are_not_written(model, rows, batches):
    model.train()
    model.encoders["a"].eval()
    before = {m: x.clone() for m, x in rows.inputs.items()}
    steps = []
    result(model, batches, progress=steps.append)
    assert steps == [1, 2, 3]
    assert model.training
    assert not model.encoders["a"].training
    assert all(torch.equal(x, before[m]) for m, x in rows.inputs.items())


def test_measures_against_sums_by_hand():
    curve = np.random.default_rng(0).random((6, 3))
    found = measures(curve)
    for k in range(3):
        area = sum((curve[s, k] + curve[s + 1, k]) / 2 / 5 for s in range(5))
        assert found["area"][k] == pytest.approx(area)
        assert found["relative_area"][k] == pytest.approx(area / curve[0, k])
        assert found["mean"][k] == pytest.approx(sum(curve[1:, k]) / 5)
        assert found["retained"][k] == pytest.approx(curve[5, k] / curve[0, k])
    flat = measures(np.full((6, 1), 0.7))
    assert [float(v[0]) for v in flat.values()] == pytest.approx([0.7, 0.7, 0.7, 1.0, 1.0])
    for worthless in (0.0, -0.2):  # such as an R2
        found = measures(np.full((6, 1), worthless))
        assert math.isnan(found["retained"][0])
        assert math.isnan(found["relative_area"][0])


def test_the_summary_measures_each_curve_and_the_mean_curve_of_each_modality(model, batches):
    found = result(model, batches)
    line = "target == 'kind' and metric == 'accuracy' and modality == 'a'"
    curves = found.scores.query(line).pivot(index="corruption", columns="severity", values="value")
    for name, curve in [*curves.iterrows(), ("mean", curves.mean())]:
        lines = found.summary.query(line).set_index("corruption").loc[name].set_index("measure")
        assert tuple(lines.index) == MEASURES
        for measure_name, value in measures(curve.to_numpy()[:, None]).items():
            assert lines.loc[measure_name, "value"] == pytest.approx(float(value[0]))
        assert (lines["low"] <= lines["high"]).all()
    assert tuple(found.summary.columns) == COLUMNS["summary"]
    assert set(found.main("kind")["metric"]) == {"accuracy"}
    assert len(found.sentences) == 4 * 4
    assert found.sentences[0].startswith("kind: with a under ")


def scores_of(curves: dict[str, list[float]], metric: str = "accuracy") -> CorruptionResult:
    lines = [
        ("y", metric, "a", name, s, 10, 1.0, v, v, v, metric == "accuracy")
        for name, values in curves.items()
        for s, v in enumerate(values)
    ]
    return CorruptionResult(
        pd.DataFrame(lines, columns=list(COLUMNS["scores"])),
        pd.DataFrame(),
        {"rows": 10, "seed": 0},
    )


def test_effective_robustness_of_a_flat_curve_is_what_the_reference_loses():
    late = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    reference = scores_of({"one": late, "two": late, "three": late})
    ours = scores_of({"one": [0.7] * 6, "two": late, "three": [v - 0.1 for v in late]})
    found = effective_robustness(ours, reference).set_index("corruption")
    assert found["effective"].tolist() == pytest.approx([0.1 + 0.2 + 0.3 + 0.4 + 0.5, 0, 0])
    assert found["error_ratio"].tolist() == pytest.approx([1.5 / 2, 1, 2.5 / 2])
    errors = scores_of({"one": [1, 2, 3, 4, 5, 6]}, "mae")
    grows_less = scores_of({"one": [2, 2, 2, 2, 2, 2]}, "mae")
    line = effective_robustness(grows_less, errors).iloc[0]
    assert line["effective"] == pytest.approx(1 + 2 + 3 + 4 + 5)
    assert line["error_ratio"] == pytest.approx(10 / 20)


def test_a_reference_of_other_curves_or_rows_is_refused():
    ours = scores_of({"one": [0.7] * 6})
    with pytest.raises(DataError, match="no curve of 1 among 1"):
        effective_robustness(ours, scores_of({"two": [0.7] * 6}))
    other = scores_of({"one": [0.7] * 6})
    other.meta["rows"] = 11
    with pytest.raises(DataError, match="on the same rows"):
        effective_robustness(ours, other)


def test_a_result_is_read_back_as_it_was_kept(tmp_path, model, batches):
    found = result(model, batches)
    again = CorruptionResult.load(found.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(again.scores, found.scores)
    pd.testing.assert_frame_equal(again.summary, found.summary)
    assert again.meta == found.meta
    assert again.meta["corruptions"]["c"][1]["levels"] == [1, 2, 3, 4, 5]
    (tmp_path / "kept" / "scores.parquet").write_bytes(b"no")
    with pytest.raises(DataError, match="is corrupt"):
        CorruptionResult.load(tmp_path / "kept")
    with pytest.raises(MissingFileError, match=r"CorruptionResult\.save"):
        CorruptionResult.load(tmp_path)


def simple(widths: dict[str, int], rows: int = 30) -> tuple[FusionModel, Batch]:
    torch.manual_seed(0)
    spec = DataSpec({m: ModalitySpec.of(w) for m, w in widths.items()}, {"y": TargetSpec("binary")})
    encoders = {m: MLPEncoder(w, out_dim=4, hidden=(4,)) for m, w in widths.items()}
    model = FusionModel(spec, encoders, ConcatFusion(dict.fromkeys(widths, 4), out_dim=4))
    inputs = {m: torch.randn(rows, w) for m, w in widths.items()}
    present = torch.rand(rows, len(widths)) < 0.8
    return model, Batch(tuple(widths), inputs, present, torch.randint(0, 2, (rows,)))


def known(widths: dict[str, int]) -> dict[str, Measured]:
    return {m: Measured(ModalitySpec.of(w), (0.0,) * w, (1.0,) * w) for m, w in widths.items()}


def test_one_modality_has_no_curve_of_all_at_once_and_twelve_have():
    model, batch = simple({"only": 3})
    found = evaluate_corruptions(model, [batch], measured=known({"only": 3}), bootstrap=0)
    assert set(found.scores["modality"]) == {"only"}
    widths = {f"m{i}": 2 for i in range(12)}
    model, batch = simple(widths)
    found = evaluate_corruptions(model, [batch], measured=known(widths), bootstrap=0)
    assert set(found.scores["modality"]) == {*widths, ""}
    assert len(found.scores) == (12 * 5 + 1) * 6 * len(metric_names(model.spec.targets["y"]))


def test_a_modality_that_no_row_has_keeps_every_score():
    model, batch = simple({"a": 3, "b": 2})
    gone = batch.keep(torch.tensor([True, False]))
    for given in (gone, replace(gone, inputs={"a": gone.inputs["a"]})):
        found = evaluate_corruptions(
            model, [given], measured=known({"a": 3, "b": 2}), bootstrap=0
        ).scores
        mine = found.query("modality == 'b' and metric == 'accuracy'")
        assert mine["value"].nunique() == 1
        assert set(mine["exposed"]) == {0.0}


def test_names_and_descriptions_stand_for_corruptions():
    model, batch = simple({"a": 3})
    path = "mmfuse.robustness.corruptions.RoundedCells"
    named = ["CellNoise", {"class_path": path, "init_args": {"levels": [1, 2, 3, 4, 5]}}]
    found = evaluate_corruptions(
        model, [batch], {"a": named}, measured=known({"a": 3}), bootstrap=0
    )
    assert list(found.scores["corruption"].unique()) == ["CellNoise", "RoundedCells"]
    assert found.meta["corruptions"]["a"][1]["levels"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"corruptions": {"a": ["KeyboardTypos"]}}, ConfigError, "'a': KeyboardTypos takes text"),
        ({"corruptions": {"a": ["CellNois"]}}, ConfigError, "Did you mean 'CellNoise'"),
        ({"corruptions": {"x": ["CellNoise"]}}, UnknownModalityError, r"given for \['x'\]"),
        ({"corruptions": {"a": ["CellNoise", CellNoise()]}}, ConfigError, "given twice"),
        ({"corruptions": {"a": []}}, ConfigError, "no corruption"),
        ({"valid": {"x": (0, 1)}}, UnknownModalityError, "valid names 'x'"),
        ({"valid": {"a": (1, 1)}}, ConfigError, "valid is from 1 to 1"),
        ({"measured": None}, ConfigError, "are known of 0 numbers"),
    ],
)
def test_mistakes_are_told(options, error, said):
    model, batch = simple({"a": 3})
    with pytest.raises(error, match=said):
        evaluate_corruptions(model, [batch], **{"measured": known({"a": 3})} | options)


def test_no_rows_and_no_target_are_refused():
    model, batch = simple({"a": 3})
    with pytest.raises(DataError, match="no rows"):
        evaluate_corruptions(model, [batch.rows(torch.tensor([], dtype=torch.long))])
    bare = FusionModel(model.spec, {"a": model.encoders["a"]}, model.fusion, heads={})
    with pytest.raises(ConfigError, match="needs a target"):
        evaluate_corruptions(bare, [batch])
    with pytest.raises(DataError, match="target"):
        evaluate_corruptions(model, [replace(batch, target=None)])
