"""Running statistics of a merged model are those of its own activations."""

import pytest
import torch
from merge_samples import _Normed, made

from mmfuse import Batch
from mmfuse.merging import interpolate, reestimate
from mmfuse.merging.running import running


def batches(count=3, rows=16, share=0.7):
    torch.manual_seed(5)
    found = []
    for _ in range(count):
        present = torch.rand(rows, 2) < share
        inputs = {"a": torch.randn(rows, 3) * 2 + 1, "b": torch.randn(rows, 2)}
        inputs["a"][~present[:, 0]] = float("nan")
        found.append(Batch(("a", "b"), inputs, present))
    return found


def test_a_batch_norm_takes_the_statistics_of_the_rows_that_are_present():
    model = interpolate(*(made(s, encoder=_Normed) for s in (0, 1)), 0.5)
    given = batches()
    assert reestimate(model, given) == 1
    encoder, means, variances = model.encoders["a"], [], []
    for batch in given:
        x = encoder.map(batch.inputs["a"][batch.present[:, 0]])
        means.append(x.mean(dim=0))
        variances.append(x.var(dim=0))
    assert torch.allclose(encoder.norm.running_mean, torch.stack(means).mean(0), atol=1e-6)
    assert torch.allclose(encoder.norm.running_var, torch.stack(variances).mean(0), atol=1e-5)
    assert encoder.norm.momentum == 0.1


def test_nothing_but_statistics_moves_and_the_modes_stay():
    model = made(0, encoder=_Normed)
    model.heads.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    reestimate(model, batches())
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert {k.rpartition(".")[2] for k in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    assert [m.training for m in model.modules()] == modes


def test_dropout_is_off_and_twice_gives_the_same():
    model = made(0, encoder=lambda spec: _Normed(spec, dropout=0.5))
    found = []
    for _ in range(2):
        reestimate(model, batches())
        found.append(model.encoders["a"].norm.running_var.clone())
    assert torch.equal(*found)


def test_the_running_mean_that_fills_gaps_is_estimated_too():
    model = made(0, fill="mean", dropout=0.5)
    given = batches()
    assert reestimate(model, given) == 1
    wanted = []
    for batch in given:
        tokens = model.encode(batch)["b"].pooled()
        wanted.append(tokens[batch.present[:, 1]].mean(dim=0))
    assert torch.allclose(model.fusion.absent_b, torch.stack(wanted).mean(0), atol=1e-6)
    assert model.fusion.momentum == 0.1
    assert not model.training


def test_a_frozen_encoder_keeps_its_statistics():
    model = made(0, encoder=lambda spec: _Normed(spec, frozen=True))
    assert running(model) == []
    assert reestimate(model, batches()) == 0


def test_a_modality_that_one_row_has_sits_the_batch_out():
    model = made(0, encoder=_Normed)
    lonely = batches(1)[0]
    present = torch.zeros_like(lonely.present)
    present[:, 1] = True
    present[3, 0] = True
    lonely = Batch(lonely.modalities, {**lonely.inputs, "a": torch.randn(16, 3)}, present)
    reestimate(model, [lonely, lonely.rows(torch.tensor([3])), *batches(2)])
    alone = made(0, encoder=_Normed)
    reestimate(alone, batches(2))
    found = [m.encoders["a"].norm.running_mean for m in (model, alone)]
    assert torch.equal(*found)


@pytest.mark.parametrize("fill", ["zero", "learned"])
def test_a_model_without_running_statistics_reads_no_batch(fill):
    def unread():
        raise AssertionError
        yield

    assert reestimate(made(0, fill=fill), unread()) == 0
