import pytest
import torch

from mmfuse import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import ConcatFusion, LateMeanFusion, SequentialFusion
from mmfuse.objectives import StateChangePenalty, SupervisedLoss, UnimodalLoss
from mmfuse.recorded import describe, rebuild

ALL = ("kind", "ill", "tags", "size")


@pytest.fixture
def run():
    """An objective's losses on a batch."""

    def losses(objective, model, batch):
        objective.build(model)
        objective.double()
        return objective(model, batch, model.encode(batch), model(batch))

    return losses


def only(batch, *names):
    return Batch(batch.modalities, batch.inputs, batch.present, {t: batch.target[t] for t in names})


def dropped(batch):
    """The same rows with every label unknown."""
    unknown = {
        t: torch.full_like(y, torch.nan if y.is_floating_point() else -1)
        for t, y in batch.target.items()
    }
    return Batch(batch.modalities, batch.inputs, batch.present, unknown)


# SupervisedLoss.


@pytest.mark.parametrize("fusion", [ConcatFusion, LateMeanFusion])
def test_each_target_is_its_equation_over_the_labelled_rows(
    make_model, batch, run, mean_loss, fusion
):
    model = make_model(fusion)
    found = run(SupervisedLoss(), model, batch)
    assert tuple(found) == ALL
    for name, spec in model.spec.targets.items():
        pairs = zip(model(batch).logits[name], batch.target[name], strict=True)
        assert found[name].item() == pytest.approx(mean_loss(spec, pairs) / 4, rel=1e-9)


def test_a_sequential_loss_averages_the_steps_that_happened(make_model, batch, run, mean_loss):
    model = make_model(SequentialFusion)
    found = run(SupervisedLoss(), model, batch)
    for name, spec in model.spec.targets.items():
        steps = model(batch).step_logits[name]
        pairs = [
            (steps[i, s], batch.target[name][i])
            for i in range(len(batch))
            for s in range(4)
            if s == 0 or batch.present[i, s - 1]
        ]
        assert found[name].item() == pytest.approx(mean_loss(spec, pairs) / 4, rel=1e-9)


def test_the_last_state_alone_is_read_when_asked(make_model, batch, run, mean_loss):
    model = make_model(SequentialFusion)
    found = run(SupervisedLoss(read_every_step=False), model, batch)
    for name, spec in model.spec.targets.items():
        pairs = zip(model(batch).logits[name], batch.target[name], strict=True)
        assert found[name].item() == pytest.approx(mean_loss(spec, pairs) / 4, rel=1e-9)


def test_a_target_without_any_label_leaves_the_others_as_they_are(make_model, batch, run):
    model = make_model()
    before = run(SupervisedLoss(), model, batch)
    batch.target["size"].fill_(torch.nan)
    after = run(SupervisedLoss(), model, batch)
    assert after["size"] == 0
    assert all(torch.equal(after[t], before[t]) for t in ("kind", "ill", "tags"))


def test_a_batch_without_any_label_teaches_nothing(make_model, batch, run):
    model = make_model(SequentialFusion)
    sum(run(SupervisedLoss(), model, dropped(batch)).values()).backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in model.parameters())


def test_one_target_may_come_as_a_plain_tensor(make_model, batch, run):
    model = make_model(targets=("kind",))
    plain = Batch(batch.modalities, batch.inputs, batch.present, batch.target["kind"])
    named = run(SupervisedLoss(), model, only(batch, "kind"))
    assert torch.equal(run(SupervisedLoss(), model, plain)["kind"], named["kind"])


def test_several_targets_cannot_come_as_one_tensor(make_model, batch, run):
    plain = Batch(batch.modalities, batch.inputs, batch.present, batch.target["kind"])
    with pytest.raises(DataError, match=r"one tensor; the model learns \['ill', 'kind'"):
        run(SupervisedLoss(), make_model(), plain)


def test_a_batch_that_lacks_a_target_is_refused_with_both_sides_shown(make_model, batch, run):
    with pytest.raises(DataError, match=r"are \['kind'\]; the model learns \['ill', 'kind'"):
        run(SupervisedLoss(), make_model(), only(batch, "kind"))
    bare = Batch(batch.modalities, batch.inputs, batch.present)
    with pytest.raises(DataError, match="targets are none; the model learns"):
        run(SupervisedLoss(), make_model(), bare)


# UnimodalLoss.


@pytest.mark.parametrize("hidden", [0, 4])
def test_each_modality_is_judged_alone_on_the_rows_that_have_it(
    make_model, batch, run, mean_loss, hidden
):
    model, objective = make_model(), UnimodalLoss(hidden=hidden)
    found = run(objective, model, batch)
    tokens = model.encode(batch)
    for i, m in enumerate(model.modalities):
        here = batch.present[:, i]
        expected = 0
        for name, spec in model.spec.targets.items():
            logits = objective.heads[m][name](tokens[m].values[:, 0])
            pairs = zip(logits[here], batch.target[name][here], strict=True)
            expected += mean_loss(spec, pairs) / 4
        assert found[m].item() == pytest.approx(expected, rel=1e-9)


def test_a_modality_that_no_row_has_gets_no_loss(make_model, batch, run):
    keep = torch.tensor([True, False, True]).expand(len(batch), -1)
    assert set(run(UnimodalLoss(), make_model(), batch.keep(keep))) == {"a", "c"}


def test_a_batch_with_other_columns_is_judged_by_name(make_model, batch, run):
    model = make_model()
    turned = Batch(("c", "b", "a"), batch.inputs, batch.present.flip(1), batch.target)
    torch.manual_seed(3)
    expected = run(UnimodalLoss(), model, batch)
    torch.manual_seed(3)
    assert run(UnimodalLoss(), model, turned) == expected


def test_the_unimodal_heads_learn_and_the_fusion_does_not(make_model, batch, run):
    model, objective = make_model(), UnimodalLoss()
    sum(run(objective, model, batch).values()).backward()
    assert all(p.grad is not None for p in objective.parameters())
    assert all(p.grad is not None for p in model.encoders.parameters())
    assert all(p.grad is None for p in model.fusion.parameters())


# StateChangePenalty.


def test_the_penalty_is_the_mean_squared_change_of_the_steps_that_happened(make_model, batch, run):
    model = make_model(SequentialFusion)
    states = model(batch).fused.steps.tolist()
    changes = []
    for i in range(len(batch)):
        for s in range(1, 4):
            if batch.present[i, s - 1]:
                pairs = zip(states[i][s], states[i][s - 1], strict=True)
                changes.append(sum((new - old) ** 2 for new, old in pairs) / 6)
    found = run(StateChangePenalty(), model, batch)
    assert found["state_change"].item() == pytest.approx(sum(changes) / len(changes), rel=1e-12)


def test_the_penalty_follows_the_paper_when_everything_is_present(make_model, batch, run):
    """(1/M) sum_m mean((s_m - s_{m-1})^2), as the authors' code has it."""
    model = make_model(SequentialFusion)
    batch = Batch(batch.modalities, batch.inputs, torch.ones(12, 3, dtype=torch.bool), batch.target)
    states = model(batch).fused.steps
    expected = sum((states[:, m] - states[:, m - 1]).square().mean() for m in (1, 2, 3)) / 3
    torch.testing.assert_close(run(StateChangePenalty(), model, batch)["state_change"], expected)


def test_rows_without_any_step_cost_nothing(make_model, batch, run):
    model = make_model(SequentialFusion)
    empty = batch.keep(torch.zeros(1, 3, dtype=torch.bool))
    loss = run(StateChangePenalty(), model, empty)["state_change"]
    loss.backward()
    assert loss == 0


def test_the_penalty_needs_a_fusion_with_steps(make_model):
    with pytest.raises(ConfigError, match=r"ConcatFusion has none\. Use SequentialFusion"):
        StateChangePenalty().build(make_model())


# Together.


@pytest.mark.parametrize("objective", [SupervisedLoss, UnimodalLoss])
def test_a_supervised_objective_needs_a_target(make_model, objective):
    with pytest.raises(ConfigError, match=f"{objective.__name__} needs a target"):
        objective().build(make_model(targets=()))


@pytest.mark.parametrize("objective", [SupervisedLoss, UnimodalLoss, StateChangePenalty])
def test_the_weight_follows_its_schedule(objective):
    factors = {
        s: [objective(2.0, schedule=s).factor(p) for p in (0.0, 0.25, 1.0)]
        for s in ("constant", "linear_up", "linear_down")
    }
    assert factors == {
        "constant": [2.0, 2.0, 2.0],
        "linear_up": [0.0, 0.5, 2.0],
        "linear_down": [2.0, 1.5, 0.0],
    }


def test_a_phase_has_the_weight_between_its_ends_alone():
    first, second = (SupervisedLoss(2.0, schedule=s) for s in ([0, 0.25], (0.25, 1)))
    assert [first.factor(p) for p in (0.0, 0.24, 0.25, 1.0)] == [2.0, 2.0, 0.0, 0.0]
    assert [second.factor(p) for p in (0.0, 0.24, 0.25, 1.0)] == [0.0, 0.0, 2.0, 2.0]


def test_a_phase_is_recorded_in_plain_data():
    objective = SupervisedLoss(schedule=(0.5, 0.75))
    assert describe(objective)["init_args"] == {"schedule": [0.5, 0.75]}
    assert rebuild(describe(objective)).factor(0.5) == 1.0


@pytest.mark.parametrize(
    "phase", [[0.5], [0.5, 0.5], [0.7, 0.2], [-0.1, 1], [0, 2], [0, float("nan")], []]
)
def test_a_phase_that_is_none_is_refused(phase):
    with pytest.raises(ConfigError, match="0 <= start < stop <= 1"):
        SupervisedLoss(schedule=phase)


def test_an_unknown_schedule_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'cosine'; expected 'constant', 'linear_up'"):
        SupervisedLoss(schedule="cosine")


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_would_undo_learning_is_refused(weight):
    with pytest.raises(ConfigError, match="weight is"):
        SupervisedLoss(weight=weight)
