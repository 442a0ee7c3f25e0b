"""Encode once, fuse many: the same predictions as running the model anew under each condition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmfuse import Batch
from mmfuse.errors import DataError, UnknownModalityError
from mmfuse.fusion import ConcatFusion, SequentialFusion
from mmfuse.missing import MCAR, FixedPattern, RowFacts
from mmfuse.robustness import Condition, passes, standard_conditions
from mmfuse.robustness.passes import predict_under

CONDITIONS = standard_conditions("abc", groups=[1, 2], seed=4)


@pytest.mark.parametrize("fusion", [SequentialFusion, ConcatFusion])
@pytest.mark.parametrize("rows_at_once", [7, 1024])
def test_every_condition_equals_running_the_model_on_masked_data(
    make_model, rows, facts, batches, fusion, rows_at_once, monkeypatch
):
    monkeypatch.setattr(passes, "_ROWS_AT_ONCE", rows_at_once)
    model = make_model(fusion)
    found = predict_under(model, batches, facts, CONDITIONS)
    order = rows.index.argsort()
    model.eval()
    for c, condition in enumerate(CONDITIONS):
        masked = rows.keep(condition.missing.keep(facts)) if condition.missing else rows
        assert np.array_equal(found.kept[c], masked.present[order].numpy())
        with torch.no_grad():
            logits = model(masked).logits
        for target, spec in model.spec.targets.items():
            wanted = spec.predict(logits[target])[order]
            np.testing.assert_allclose(found.values[target][c], wanted, rtol=1e-5, atol=1e-6)


def test_each_batch_is_encoded_once_and_each_encoder_sees_present_rows_alone(
    model, rows, facts, batches
):
    seen = {m: [] for m in model.modalities}
    for m, encoder in model.encoders.items():
        encoder.register_forward_hook(lambda _, args, __, m=m: seen[m].append(len(args[0])))
    predict_under(model, batches, facts, CONDITIONS)
    for i, m in enumerate(model.modalities):
        assert len(seen[m]) == len(batches)
        assert sum(seen[m]) == int(rows.present[:, i].sum())


def test_a_row_and_pattern_that_conditions_share_is_fused_once(model, rows, facts):
    fused = []
    model.fusion.register_forward_pre_hook(lambda _, args: fused.append(len(args[1])))
    predict_under(model, [rows], facts, CONDITIONS)
    patterns = sum(2 ** int(row.sum()) for row in rows.present)
    steps = len(rows)  # the pass that reads every step
    assert sum(fused) <= patterns + steps


def test_batches_in_any_size_and_order_give_the_same(model, rows, facts, batches):
    one = predict_under(model, [rows], facts, CONDITIONS)
    # A distributed sampler repeats rows at the end.
    other = predict_under(
        model, [*reversed(batches), rows.rows(torch.arange(5))], facts, CONDITIONS
    )
    assert np.array_equal(one.rows, other.rows)
    assert np.array_equal(one.kept, other.kept)
    for target in one.values:
        np.testing.assert_allclose(one.values[target], other.values[target], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(one.labels[target], other.labels[target])


def test_facts_may_come_from_a_function_of_the_batch(model, facts, batches):
    by_index = predict_under(model, batches, facts, CONDITIONS)
    place = {row: i for i, row in enumerate(facts.index.tolist())}
    by_call = predict_under(
        model,
        batches,
        lambda batch: facts.rows(torch.tensor([place[r] for r in batch.index.tolist()])),
        CONDITIONS,
    )
    assert np.array_equal(by_index.kept, by_call.kept)


def test_columns_may_stand_in_another_order_or_lack_a_modality(model, rows, facts):
    turned = [2, 0]
    names = tuple(rows.modalities[i] for i in turned)
    inputs = {m: rows.inputs[m] for m in names}
    fewer = Batch(names, inputs, rows.present[:, turned], rows.target, rows.index)
    fewer_facts = RowFacts(names, facts.index, fewer.present, facts.group, facts.value[:, turned])
    found = predict_under(model, [fewer], fewer_facts, CONDITIONS)
    without_b = rows.keep(FixedPattern(["a", "c"]).keep(facts))
    wanted = predict_under(model, [without_b], facts, CONDITIONS)
    assert np.array_equal(found.kept, wanted.kept)
    np.testing.assert_allclose(found.values["ill"], wanted.values["ill"], rtol=1e-5, atol=1e-6)


def test_nothing_absent_reaches_a_prediction(model, rows, facts):
    torn = {m: x.clone() for m, x in rows.inputs.items()}
    for i, m in enumerate(rows.modalities):
        torn[m][~rows.present[:, i]] = torch.nan
    other = Batch(rows.modalities, torn, rows.present, rows.target, rows.index)
    clean = predict_under(model, [rows], facts, CONDITIONS)
    found = predict_under(model, [other], facts, CONDITIONS)
    for target in clean.values:
        assert np.array_equal(clean.values[target], found.values[target])


def test_more_modalities_than_bits_are_fused_all_the_same():
    kept = torch.rand(3, 4, 50) < 0.5
    first, inverse = passes.distinct(kept)
    flat = kept.flatten(0, 1)
    assert torch.equal(flat[first[inverse]], flat)


def test_distinct_pairs_lead_back_to_their_own_row_and_pattern():
    kept = torch.rand(20, 6, 3, generator=torch.Generator().manual_seed(0)) < 0.5
    first, inverse = passes.distinct(kept)
    flat = kept.flatten(0, 1)
    assert torch.equal(flat[first[inverse]], flat)
    assert torch.equal(first[inverse] % 6, torch.arange(120) % 6)
    assert len(first) <= 6 * 8


def test_the_state_after_each_step_is_read_on_the_data_as_they_are(model, rows, facts, batches):
    found = predict_under(model, batches, facts, CONDITIONS)
    assert found.step_names == ("", "a", "b", "c")
    np.testing.assert_allclose(
        found.steps["kind"][-1], found.values["kind"][0], rtol=1e-5, atol=1e-6
    )
    only_a = [c.name for c in CONDITIONS].index("only a")
    np.testing.assert_allclose(
        found.steps["kind"][1], found.values["kind"][only_a], rtol=1e-5, atol=1e-6
    )


def test_a_fusion_without_steps_has_none(make_model, rows, facts):
    found = predict_under(make_model(ConcatFusion), [rows], facts, CONDITIONS)
    assert found.steps == {}
    assert found.step_names == ()


def test_the_modes_of_all_modules_are_restored_even_after_an_error(model, rows, facts):
    model.train()
    model.encoders["a"].eval()
    before = [module.training for module in model.modules()]
    predict_under(model, [rows], facts, CONDITIONS)
    assert [module.training for module in model.modules()] == before
    with pytest.raises(UnknownModalityError):
        predict_under(model, [rows], facts, [Condition("x", "x", 0.5, MCAR({"smell": 0.5}))])
    assert [module.training for module in model.modules()] == before


def test_no_gradient_is_recorded(model, rows, facts):
    recorded = []
    model.fusion.register_forward_hook(lambda _, __, out: recorded.append(out.vector.requires_grad))
    predict_under(model, [rows], facts, CONDITIONS)
    assert recorded
    assert not any(recorded)


def test_rows_that_the_facts_do_not_know_are_refused(model, rows, facts):
    for known in (facts.rows(torch.arange(10)), facts.rows(torch.arange(0))):
        with pytest.raises(DataError, match="do not cover"):
            predict_under(model, [rows], known, CONDITIONS)


def test_no_batch_is_refused(model, facts):
    with pytest.raises(DataError, match="no rows"):
        predict_under(model, [], facts, CONDITIONS)


def test_progress_counts_batches(model, facts, batches):
    calls: list[int] = []
    predict_under(model, batches, facts, CONDITIONS, progress=calls.append)
    assert calls == [1, 2, 3]
