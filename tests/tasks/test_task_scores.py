import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn import metrics as sk

from mmfuse import Batch, DataSpec, ModalitySpec, Output, TargetSpec
from mmfuse.fusion import Fused
from mmfuse.tasks.scores import Scores

TARGETS = {
    "ill": TargetSpec("binary", ("no", "yes")),
    "kind": TargetSpec("multiclass", ("x", "y", "z")),
    "tags": TargetSpec("multilabel", ("p", "q")),
    "size": TargetSpec("regression", mean=(2000.0,), std=(10.0,)),
    "place": TargetSpec("regression", width=2),
}
CPU = torch.device("cpu")
ROWS = 60


@pytest.fixture
def epoch():
    """Scores and labels of all rows, some labels unknown."""
    draw = torch.Generator().manual_seed(0)
    logits = {t: torch.randn(ROWS, s.out_dim, generator=draw) for t, s in TARGETS.items()}
    unknown = torch.rand(ROWS, generator=draw) < 0.2
    target = {
        "ill": torch.randint(0, 2, (ROWS,), generator=draw).masked_fill(unknown, -1),
        "kind": torch.randint(0, 3, (ROWS,), generator=draw).masked_fill(unknown.flip(0), -1),
        "tags": torch.randint(0, 2, (ROWS, 2), generator=draw).float(),
        "size": (torch.randn(ROWS, generator=draw) * 10 + 2000).masked_fill(unknown, torch.nan),
        "place": torch.randn(ROWS, 2, generator=draw),
    }
    target["tags"][5:15, 0] = target["tags"][10:30, 1] = torch.nan
    target["place"][7, 1] = torch.nan
    return logits, target


def scored(logits, target, targets=tuple(TARGETS), sizes=(7, 32, 20, 1)):
    """The scores of an epoch that came in uneven batches, whose losses are 0, 1, 2, ..."""
    spec = DataSpec({"a": ModalitySpec.of(1)}, {t: TARGETS[t] for t in targets})
    scores = Scores.metrics(spec, "val")
    for step, part in enumerate(torch.arange(ROWS).split(list(sizes))):
        batch = Batch(
            ("a",),
            {"a": torch.zeros(len(part), 1)},
            torch.ones(len(part), 1).bool(),
            {t: target[t][part] for t in targets},
        )
        some = {t: logits[t][part] for t in targets}
        scores.update(
            Output(some, Fused(torch.zeros(len(part), 1)), {}), batch, torch.tensor(float(step))
        )
    return {k: v.item() for k, v in scores.compute(CPU).items()}, scores


def test_the_scores_of_an_epoch_are_those_of_all_its_rows_joined(epoch):
    logits, target = epoch
    found, _ = scored(logits, target)
    expected = {"val/loss": (0 * 7 + 1 * 32 + 2 * 20 + 3 * 1) / ROWS}

    y = target["ill"].numpy()
    p = expit(logits["ill"][:, 0].numpy())[y >= 0]
    y = y[y >= 0]
    expected |= {
        "val/ill/accuracy": sk.accuracy_score(y, p > 0.5),
        "val/ill/f1": sk.f1_score(y, p > 0.5),
        "val/ill/auroc": sk.roc_auc_score(y, p),
    }
    y = target["kind"].numpy()
    p = softmax(logits["kind"].numpy(), axis=1)[y >= 0]
    y = y[y >= 0]
    expected |= {
        "val/kind/accuracy": sk.accuracy_score(y, p.argmax(1)),
        "val/kind/f1": sk.f1_score(y, p.argmax(1), average="macro"),
        "val/kind/auroc": sk.roc_auc_score(y, p, multi_class="ovr"),
    }
    y, p = target["tags"].numpy(), expit(logits["tags"].numpy())
    known = [np.isfinite(y[:, k]) for k in range(2)]
    columns = [(y[rows, k], p[rows, k]) for k, rows in enumerate(known)]
    expected |= {
        "val/tags/accuracy": np.mean([sk.accuracy_score(a, b > 0.5) for a, b in columns]),
        "val/tags/f1": np.mean([sk.f1_score(a, b > 0.5) for a, b in columns]),
        "val/tags/auroc": np.mean([sk.roc_auc_score(a, b) for a, b in columns]),
    }
    for name, scale, shift in (("size", 10, 2000), ("place", 1, 0)):
        y = target[name].double().view(ROWS, -1).numpy()
        p = logits[name].double().numpy() * scale + shift
        y, p = y[np.isfinite(y).all(1)], p[np.isfinite(y).all(1)]
        expected |= {
            f"val/{name}/mae": sk.mean_absolute_error(y, p),
            f"val/{name}/rmse": np.sqrt(sk.mean_squared_error(y, p)),
            f"val/{name}/r2": sk.r2_score(y, p),
        }
    assert found.keys() == expected.keys()
    assert found == pytest.approx(expected, rel=1e-4)


def test_batches_of_any_size_give_the_same_scores(epoch):
    once, _ = scored(*epoch, sizes=(ROWS,))
    often, _ = scored(*epoch, sizes=(1,) * ROWS)
    del once["val/loss"], often["val/loss"]
    assert often == pytest.approx(once, rel=1e-4)


def test_one_target_needs_no_name_among_the_scores(epoch):
    found, _ = scored(*epoch, targets=("ill",))
    assert set(found) == {"val/loss", "val/accuracy", "val/f1", "val/auroc"}


def test_a_new_epoch_starts_empty(epoch):
    logits, target = epoch
    found, scores = scored(logits, target)
    right = {t: y * 0 for t, y in logits.items()}
    right["size"] = ((target["size"] - 2000) / 10).unsqueeze(1)
    everyone = torch.ones(ROWS, 1).bool()
    batch = Batch(("a",), {"a": torch.zeros(ROWS, 1)}, everyone, target)
    scores.update(Output(right, Fused(torch.zeros(ROWS, 1)), {}), batch, torch.tensor(5.0))
    again = scores.compute(CPU)
    assert again["val/loss"] == 5
    assert again["val/size/mae"].item() == pytest.approx(0, abs=1e-3) != found["val/size/mae"]


def test_a_target_without_any_label_has_no_scores(epoch):
    logits, target = epoch
    target["ill"].fill_(-1)
    target["size"].fill_(torch.nan)
    found, _ = scored(logits, target)
    assert not [name for name in found if "ill" in name or "size" in name]
    assert "val/kind/accuracy" in found


@pytest.mark.parametrize("target", TARGETS)
def test_a_single_labelled_row_is_no_reason_to_stop(epoch, target):
    logits, labels = epoch
    unknown = -1 if target in ("ill", "kind") else torch.nan
    labels[target][:-1] = unknown
    labels[target][-1] = 1
    found, _ = scored(logits, labels, targets=(target,))
    assert found["val/loss"] > 0


def test_a_class_that_the_split_lacks_raises_no_warning(epoch):
    logits, target = epoch
    target["kind"] = target["kind"].clamp(max=1)
    target["ill"] = target["ill"].clamp(max=0)
    found, _ = scored(logits, target, targets=("ill", "kind"))
    assert 0 <= found["val/kind/accuracy"] <= 1


def test_half_precision_scores_are_judged_in_the_units_of_the_target():
    target = {"size": torch.full((ROWS,), 2003.0)}
    logits = {"size": torch.full((ROWS, 1), 0.296875, dtype=torch.bfloat16)}
    found, _ = scored(logits, target, targets=("size",))
    assert found["val/mae"] == pytest.approx(0.03125)


def test_the_mean_of_a_loss_weighs_batches_by_their_rows():
    scores = Scores()
    scores.add({"loss": torch.tensor(1.0)}, 3)
    scores.add({"loss": torch.tensor(5.0)}, 1)
    assert scores.mean("train/") == {"train/loss": torch.tensor(2.0)}
    assert scores.mean("train/") == {}


def test_a_loss_that_some_batches_lack_is_the_mean_of_the_others():
    scores = Scores()
    scores.add({"loss": torch.tensor(1.0), "rare": torch.tensor(4.0)}, 2)
    scores.add({"loss": torch.tensor(1.0)}, 6)
    assert scores.mean("")["rare"] == 4


def test_gathering_losses_holds_no_graph():
    scores = Scores()
    scores.add({"loss": torch.ones((), requires_grad=True) * 2}, 1)
    assert not scores.mean("")["loss"].requires_grad
