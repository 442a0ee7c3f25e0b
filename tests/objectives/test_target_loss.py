import pytest
import torch

from mmfuse import TargetSpec
from mmfuse.objectives.target_loss import TargetLoss, weighted_mean

NAN = float("nan")
SPECS = [
    TargetSpec("multiclass", ("x", "y", "z")),
    TargetSpec("multiclass", ("x", "y", "z"), weights=(0.25, 1.0, 5.0)),
    TargetSpec("binary", ("no", "yes")),
    TargetSpec("binary", ("no", "yes"), weights=(0.5, 3.0)),
    TargetSpec("multilabel", ("p", "q", "r")),
    TargetSpec("multilabel", ("p", "q", "r"), weights=(0.5, 1.0, 3.0)),
    TargetSpec("regression"),
    TargetSpec("regression", width=3, mean=(1.0, 100.0, -5.0), std=(0.125, 20.0, 3.0)),
]


def labels(spec, rows=40):
    """Labels of every kind, about a quarter of them unknown."""
    draw = torch.Generator().manual_seed(0)
    unknown = torch.rand(rows, generator=draw) < 0.25
    if spec.kind in ("binary", "multiclass"):
        label = torch.randint(0, len(spec.classes), (rows,), generator=draw)
        return label.masked_fill(unknown, -1)
    values = torch.randn(rows, spec.out_dim, generator=draw, dtype=torch.float64)
    values = (values > 0).double() if spec.kind == "multilabel" else values * 30
    values[torch.rand(rows, spec.out_dim, generator=draw) < 0.2] = NAN
    return values.masked_fill(unknown.unsqueeze(1), NAN)


def scores(spec, *shape):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(*shape, spec.out_dim, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("spec", SPECS)
def test_the_loss_is_its_equation(spec, mean_loss):
    logits, target = scores(spec, 40), labels(spec)
    found = weighted_mean(*TargetLoss(spec).double()(logits, target))
    assert found.item() == pytest.approx(
        mean_loss(spec, zip(logits, target, strict=True)), rel=1e-12
    )


@pytest.mark.parametrize("spec", SPECS)
def test_steps_are_so_many_rows(spec):
    logits, target = scores(spec, 40, 3), labels(spec)
    wide = target.unsqueeze(1).expand(-1, 3, *target.shape[1:])
    loss, weight = TargetLoss(spec).double()(logits, wide)
    assert loss.shape == weight.shape == (40, 3)
    for s in range(3):
        one_loss, one_weight = TargetLoss(spec).double()(logits[:, s], target)
        torch.testing.assert_close(loss[:, s], one_loss)
        torch.testing.assert_close(weight[:, s], one_weight)


@pytest.mark.parametrize("spec", SPECS)
def test_unlabelled_rows_send_no_gradient(spec):
    logits, target = scores(spec, 40).requires_grad_(), labels(spec)
    weighted_mean(*TargetLoss(spec).double()(logits, target)).backward()
    unknown = target < 0 if target.dim() == 1 else target.isnan().all(dim=1)
    assert unknown.any()
    assert logits.grad.isfinite().all()
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).any(dim=1).all()


@pytest.mark.parametrize("spec", SPECS)
def test_a_batch_without_any_label_costs_nothing(spec):
    logits = scores(spec, 4).requires_grad_()
    target = labels(spec, 4)
    target = torch.full_like(target, -1 if target.dim() == 1 else NAN)
    loss = weighted_mean(*TargetLoss(spec).double()(logits, target))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_an_unknown_label_among_several_leaves_the_others_their_full_say():
    loss = TargetLoss(TargetSpec("multilabel", ("p", "q")))
    logits = torch.tensor([[2.0, -1.0]])
    both, _ = loss(logits, torch.tensor([[1.0, NAN]]))
    one, _ = TargetLoss(TargetSpec("multilabel", ("p",)))(logits[:, :1], torch.tensor([[1.0]]))
    torch.testing.assert_close(both, one)


def test_a_class_with_weight_zero_is_not_learned_from():
    loss = TargetLoss(TargetSpec("multiclass", ("x", "y"), weights=(0.0, 1.0)))
    logits = torch.tensor([[9.0, -9.0], [0.0, 0.0]])
    found = weighted_mean(*loss(logits, torch.tensor([0, 1])))
    assert found.item() == pytest.approx(0.6931472)


def test_one_regression_value_a_row_may_come_flat():
    loss = TargetLoss(TargetSpec("regression", mean=(1.0,), std=(2.0,)))
    logits = torch.tensor([[0.0], [1.0]])
    flat, _ = loss(logits, torch.tensor([1.0, 5.0]))
    deep, _ = loss(logits, torch.tensor([[1.0], [5.0]]))
    assert flat.tolist() == deep.tolist() == [0.0, 1.0]


def test_a_target_in_large_units_keeps_its_digits_beside_half_precision_scores():
    loss = TargetLoss(TargetSpec("regression", mean=(2000.0,), std=(1.0,)))
    found, _ = loss(torch.zeros(1, 1, dtype=torch.bfloat16), torch.tensor([2003.0]))
    assert found.item() == 9.0


def test_statistics_and_class_weights_stay_out_of_the_checkpoint():
    assert not TargetLoss(SPECS[1]).state_dict()
