"""MaskedModalityLoss by a loop, with any fusion, and as a stage before fine-tuning."""

import copy

import numpy as np
import pytest
import torch

from mmfuse import (
    ArrayData,
    Batch,
    DataSpec,
    FusionModel,
    ModalitySpec,
    SupervisedTask,
    TargetSpec,
    Trainer,
)
from mmfuse.errors import ConfigError
from mmfuse.fusion import ConcatFusion, LateMeanFusion, SequentialFusion
from mmfuse.objectives import MaskedModalityLoss, SupervisedLoss
from mmfuse_encoders import IdentityEncoder, MLPEncoder

WIDTHS = {"a": 2, "b": 3, "c": 2}


def make_model(fusion, encoder=MLPEncoder):
    torch.manual_seed(0)
    spec = DataSpec({m: ModalitySpec.of(d) for m, d in WIDTHS.items()}, {"y": TargetSpec("binary")})
    encoders = {m: encoder(d) for m, d in WIDTHS.items()}
    dims = {m: e.out_dim for m, e in encoders.items()}
    return FusionModel(spec, encoders, fusion(dims, out_dim=6)).double().eval()


@pytest.mark.parametrize("targets", ["own", "start"])
@pytest.mark.parametrize("fusion", [ConcatFusion, SequentialFusion, LateMeanFusion])
def test_it_is_the_error_of_what_the_rest_tells_of_the_hidden(fusion, targets):
    model = make_model(fusion)
    objective = MaskedModalityLoss(targets=targets, hidden=5)
    objective.build(model)
    objective.double().eval()
    start = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.encoders.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    present = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 1, 1]]).bool()
    inputs = {m: torch.randn(5, d, dtype=torch.float64) for m, d in WIDTHS.items()}
    batch = Batch(tuple(WIDTHS), inputs, present)
    found = objective(model, batch, model.encode(batch), model(batch))
    errors = {m: [] for m in WIDTHS}
    for i in range(5):
        having = [m for k, m in enumerate(WIDTHS) if present[i, k]]
        if len(having) < 2:
            continue
        hidden = having[i % len(having)]
        kept = torch.tensor([[m in having and m != hidden for m in WIDTHS]])
        one = Batch(tuple(WIDTHS), {m: x[[i]] for m, x in inputs.items()}, kept)
        vector = model.fuse(model.encode(one), kept).vector
        source = start if targets == "start" else model
        aim = source.encoders[hidden](inputs[hidden][[i]])[0]
        mean = aim.mean()
        aim = (aim - mean) / ((aim - mean).square().mean() + 1e-5).sqrt()
        gap = objective.decode[hidden](vector)[0] - aim
        errors[hidden].append((gap**2).mean())
    assert sum(map(bool, errors.values())) > 1
    for m, error in errors.items():
        wanted = sum(error) / len(error) / 3 if error else torch.zeros(()).double()
        torch.testing.assert_close(found[m], wanted)


def test_encoders_that_do_not_learn_are_not_copied():
    objective = MaskedModalityLoss(targets="start")
    objective.build(make_model(ConcatFusion, IdentityEncoder))
    assert objective.aims.start is None


def data(labelled):
    draw = np.random.default_rng(0)
    hidden = draw.normal(size=(200, 2))
    inputs = {
        "a": hidden @ draw.normal(size=(2, 4)) + 0.1 * draw.normal(size=(200, 4)),
        "b": hidden @ draw.normal(size=(2, 3)) + 0.1 * draw.normal(size=(200, 3)),
    }
    return ArrayData(inputs, {"kind": (hidden[:, 0] > 0).astype(int)} if labelled else None)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_fit_starts_from_what_was_pretrained(tmp_path, labelled):
    torch.manual_seed(0)
    encoders = {"*": {"class_path": "mmfuse_encoders.MLPEncoder", "init_args": {"out_dim": 8}}}

    def trainer(name, epochs):
        return Trainer(
            default_root_dir=str(tmp_path / name),
            max_epochs=epochs,
            enable_progress_bar=False,
            logger=False,
        )

    terms = [SupervisedLoss(weight=0.0), MaskedModalityLoss(targets="start", hidden=16)]
    first = SupervisedTask(encoders, "GatedFusion", terms)
    run = trainer("first", 15)
    run.fit(first, datamodule=data(labelled))
    told = {k: float(v) for k, v in run.callback_metrics.items()}
    # Standardised targets have a mean square of 1; half of it is each modality's share.
    assert told["train/MaskedModalityLoss/a"] < 0.3
    second, rows = SupervisedTask(encoders, "GatedFusion"), data(True)
    fresh = second.start_from(run.checkpoint_callback.best_model_path, rows)
    assert fresh == ([] if labelled else ["kind"])
    moved, pretrained = second.model.state_dict(), first.model.state_dict()
    assert all(torch.equal(moved[n], v) for n, v in pretrained.items() if "heads" not in n)
    trainer("second", 1).fit(second, datamodule=rows)


@pytest.mark.parametrize("options", [{"targets": "teacher"}, {"hidden": 0}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ConfigError, match="expected"):
        MaskedModalityLoss(**options)
