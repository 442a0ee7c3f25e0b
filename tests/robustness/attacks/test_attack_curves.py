import numpy as np
import pandas as pd
import pytest
import torch
from attack_models import curved_model, labelled_as_predicted, linear_model, rows
from numpy.testing import assert_array_equal

from mmfuse import Batch
from mmfuse.errors import ConfigError, DataError, MissingFileError, UnknownModalityError
from mmfuse.robustness.attacks import (
    FGM,
    PGD,
    AttackCurves,
    AutoPGD,
    Noise,
    Threat,
    attack_curves,
    strike,
)

QUICK = (FGM(), PGD(steps=4))
BUDGETS = [0.5, 2.0, 8.0]


def curves(model=None, batch=None, **options):
    batches = [rows(40)] if batch is None else batch
    return attack_curves(model or curved_model(), batches, BUDGETS, QUICK, bootstrap=50, **options)


def test_budget_zero_is_the_clean_accuracy_of_every_curve():
    model, batch = curved_model(), rows(40)
    found = curves(model, [batch])
    with torch.no_grad():
        hit = model.eval()(batch).logits["y"].argmax(dim=1) == batch.target
    clean = hit[batch.target >= 0].float().mean()
    zero = found.table[found.table["budget"] == 0]
    np.testing.assert_allclose(zero["accuracy"], float(clean), rtol=1e-6)
    assert (found.table["rows"] == int((batch.target >= 0).sum())).all()


def test_each_set_has_both_losses_noise_and_the_worst():
    table = curves().table
    for attacked in ("a", "b", "a + b"):
        mine = table[table["attacked"] == attacked]
        assert set(zip(mine["attack"], mine["loss"], strict=True)) == {
            ("Noise", "none"),
            ("FGM", "ce"),
            ("FGM", "margin"),
            ("PGD", "ce"),
            ("PGD", "margin"),
            ("worst", "all"),
        }
        assert sorted(set(mine["budget"])) == [0.0, *BUDGETS]


def test_the_worst_is_no_better_than_any_attack_and_never_rises():
    found = curves()
    table = found.table
    lowest = table.groupby(["attacked", "budget"])["accuracy"].min()
    for attacked in ("a", "b", "a + b"):
        worst = found.worst(attacked)["accuracy"].to_numpy()
        assert (np.diff(worst) <= 0).all()
        assert (worst <= lowest[attacked].to_numpy()).all()
    joint = found.worst("a + b")["accuracy"].to_numpy()
    for alone in ("a", "b"):
        assert (joint <= found.worst(alone)["accuracy"].to_numpy()).all()
    assert joint[-1] < joint[0]


def test_each_curve_is_what_its_attack_finds():
    model, batch = curved_model(), rows(40)
    table = curves(model, [batch]).table
    fooled = strike(model, batch, PGD("ce", steps=4), Threat(("b",)), BUDGETS).fooled
    known = batch.target >= 0
    wrong = strike(model, batch, Noise(), Threat(("b",)), [0.0]).fooled[0]
    expected = 1 - (fooled | wrong)[:, known].double().mean(dim=1)
    mine = table[(table["attacked"] == "b") & (table["attack"] == "PGD") & (table["loss"] == "ce")]
    np.testing.assert_allclose(mine["accuracy"][1:], expected, rtol=1e-9)


def test_rows_tell_the_smallest_budget_that_broke_them():
    model, batch = curved_model(), rows(40)
    found = curves(model, [batch])
    for (attacked, norm), group in found.rows.groupby(["attacked", "norm"]):
        worst = found.worst(attacked, norm)
        for budget, accuracy in zip(worst["budget"], worst["accuracy"], strict=True):
            assert (group["broken_at"] > budget).mean() == pytest.approx(accuracy)
    known = batch.target >= 0
    assert_array_equal(group["row"], batch.index[known])
    assert_array_equal(group["label"], batch.target[known])


def test_batches_may_be_cut_as_one_likes():
    model, batch = curved_model(), rows(40)
    parts = [batch.rows(i) for i in torch.arange(40).split(9)]
    pd.testing.assert_frame_equal(curves(model, [batch]).table, curves(model, parts).table)


def test_norms_have_budgets_of_their_own():
    found = attack_curves(
        curved_model(), [rows()], {"l2": [1.0], "linf": [0.1, 0.3]}, [FGM()], [("a",)], bootstrap=0
    )
    assert sorted(set(found.table.loc[found.table["norm"] == "linf", "budget"])) == [0, 0.1, 0.3]
    assert set(found.table["attacked"]) == {"a"}
    assert found.table["low"].isna().all()
    exposed = rows().present[rows().target >= 0, 0].double().mean()
    assert found.table["exposed"].iloc[0] == pytest.approx(float(exposed))


def test_a_saturated_model_is_caught_masking_its_gradient():
    model = linear_model(torch.float32)
    batch = labelled_as_predicted(model, rows(300, gaps=False))
    attacks = (PGD(steps=20), AutoPGD(steps=20))
    honest = attack_curves(model, [batch], BUDGETS, attacks, [("a", "b")], bootstrap=50)
    with torch.no_grad():
        model.heads["y"].weight.mul_(1e5)
        model.heads["y"].bias.mul_(1e5)
    masked = attack_curves(model, [batch], BUDGETS, attacks, [("a", "b")], bootstrap=50)
    assert not honest.table["gradient_masking"].any()
    at = masked.table["gradient_masking"]
    assert at.any()
    assert not at[masked.table["budget"] == 0].any()
    assert any(s.startswith("Gradient masking") for s in masked.sentences)
    assert not any(s.startswith("Gradient masking") for s in honest.sentences)
    # The worst attack sees through it.
    np.testing.assert_allclose(
        masked.worst("a + b")["accuracy"], honest.worst("a + b")["accuracy"], atol=0.05
    )


def test_intervals_hold_the_accuracy():
    table = curves().table
    assert (table["low"] <= table["accuracy"]).all()
    assert (table["accuracy"] <= table["high"]).all()


def test_tokens_can_be_attacked():
    table = curves(on="tokens", shared="each").table
    assert table["accuracy"].min() < table["accuracy"].max()


def test_curves_survive_a_folder(tmp_path):
    found = curves()
    again = AttackCurves.load(found.save(tmp_path / "attacks"))
    pd.testing.assert_frame_equal(again.table, found.table)
    pd.testing.assert_frame_equal(again.rows, found.rows)
    assert again.meta == found.meta
    with pytest.raises(MissingFileError, match=r"table\.parquet is missing"):
        AttackCurves.load(tmp_path)
    (tmp_path / "attacks" / "rows.parquet").write_bytes(b"half of one")
    with pytest.raises(DataError, match=r"attack result in .* is corrupt"):
        AttackCurves.load(tmp_path / "attacks")


def test_mistakes_are_refused_in_words():
    model = curved_model()
    for attacks in ([], [PGD(), PGD("ce")], [Noise()]):
        with pytest.raises(ConfigError, match="different names"):
            attack_curves(model, [rows()], [1.0], attacks)
    with pytest.raises(UnknownModalityError, match="'c'"):
        attack_curves(model, [rows()], [1.0], [FGM()], [("c",)])
    batch = rows()
    unlabelled = Batch(batch.modalities, batch.inputs, batch.present, torch.full((len(batch),), -1))
    for batches in ([], [unlabelled]):
        with pytest.raises(DataError, match="no row with a label"):
            attack_curves(model, batches, [1.0], [AutoPGD(steps=2)])
