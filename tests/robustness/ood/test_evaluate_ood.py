"""Evaluation out of distribution: planted rows are found, each is encoded once, faults are told."""

from __future__ import annotations

import math

import pytest
import torch
from planted_classes import CENTRES, WIDTHS, rows, unlabelled

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.fusion import ConcatFusion
from mmfuse.objectives import UnimodalLoss
from mmfuse.robustness.ood import MSP, Mahalanobis, evaluate_ood, ood_intervals, ood_metrics
from mmfuse_encoders import MLPEncoder

TRAIN, KNOWN = rows(range(3), 200, seed=1), rows(range(3), 80, seed=2)
NEAR = unlabelled(rows(range(3, 5), 70, seed=3))
FAR = Batch(NEAR.modalities, {m: 20 + x for m, x in NEAR.inputs.items()}, NEAR.present)


@pytest.fixture(scope="module")
def found(trained):
    model, heads = trained
    sets = {"unseen": [NEAR], "elsewhere": [FAR]}
    shifts = {"unseen": "near", "elsewhere": "far"}
    return evaluate_ood(
        model, [TRAIN], [KNOWN], sets, heads=heads, shifts=shifts, bootstrap=50, seed=5
    )


def test_planted_unknown_rows_are_found(found):
    wide = found.wide().set_index(["set", "score"])
    for score in ("knn", "mahalanobis", "vim", "disagreement_l1"):
        assert wide.loc[("unseen", score), "auroc"] > 0.9, score
    assert wide.loc[("elsewhere", "mahalanobis"), "fpr95_out"] < 0.05
    assert found.accuracy > 0.95


def test_the_table_has_a_line_for_each_set_score_and_metric(found):
    table = found.table
    assert len(table) == 2 * 12 * 5
    assert not table.duplicated(["set", "score", "metric"]).any()
    assert dict(zip(table["set"], table["shift"], strict=True)) == {
        "unseen": "near",
        "elsewhere": "far",
    }
    assert (table["low"] <= table["value"] + 1e-12).all()
    assert (table["value"] <= table["high"] + 1e-12).all()
    assert (table["in_rows"] == 80).all()
    assert (table["out_rows"] == 70).all()
    lower = table.loc[~table["higher_is_better"], "metric"].unique()
    assert set(lower) == {"fpr95_out", "fpr95_in"}


def test_the_table_is_what_the_rows_say(found):
    rows_of = found.rows.groupby("set")["energy"]
    known, unseen = (rows_of.get_group(s).to_numpy() for s in ("in", "unseen"))
    lines = found.table.query("set == 'unseen' and score == 'energy'").set_index("metric")
    assert lines["value"].to_dict() == ood_metrics(known, unseen)
    spread = ood_intervals(known, unseen, 50, seed=5)
    assert {m: (v["low"], v["high"]) for m, v in lines.iterrows()} == spread


def test_the_rows_have_what_the_model_says(found, trained):
    with torch.no_grad():
        said = trained[0](KNOWN).logits["kind"].argmax(dim=1)
    inside = found.rows.query("set == 'in'")
    assert inside["prediction"].tolist() == said.tolist()
    assert inside["label"].tolist() == KNOWN.target["kind"].tolist()
    assert found.accuracy == (said == KNOWN.target["kind"]).double().mean().item()
    assert found.rows.query("set != 'in'")["label"].isna().all()


def test_every_row_is_encoded_once_in_batches_of_any_size(trained, found):
    model, heads = trained
    seen = []
    hooks = [e.register_forward_hook(lambda _, x, __: seen.append(len(x[0]))) for e in
             model.encoders.values()]  # fmt: skip

    def split(batch):
        return [batch.rows(part) for part in torch.arange(len(batch)).split(33)]

    again = evaluate_ood(
        model, split(TRAIN), split(KNOWN), {"unseen": split(NEAR)}, heads=heads, bootstrap=0
    )
    for hook in hooks:
        hook.remove()
    assert sum(seen) == 2 * (200 + 80 + 70)
    same = found.rows.query("set != 'elsewhere'").reset_index(drop=True)
    for score in set(same.columns) - {"set", "row", "label", "prediction"}:
        assert again.rows[score].to_numpy() == pytest.approx(same[score].to_numpy(), abs=1e-4)
    assert again.table["low"].isna().all()


def test_a_set_may_lack_a_modality_and_its_rows_have_no_disagreement(trained):
    model, heads = trained
    sound = Batch(("a",), {"a": CENTRES["a"][[3, 4]].repeat(20, 1)}, torch.ones(40, 1).bool())
    found = evaluate_ood(model, [TRAIN], [KNOWN], {"a alone": [sound]}, heads=heads, bootstrap=5)
    lines = found.table.set_index("score")
    assert (lines.loc["disagreement_l1", "out_rows"] == 0).all()
    assert lines.loc["disagreement_l1", ["value", "low", "high"]].isna().all(axis=None)
    assert (lines.loc["knn", "out_rows"] == 40).all()
    assert lines.loc["knn", "value"].notna().all()


def test_rows_with_nothing_present_are_scored_by_the_prior(trained):
    nothing = NEAR.keep(torch.zeros(1, 2).bool())
    found = evaluate_ood(trained[0], [TRAIN], [KNOWN], {"nothing": [nothing]}, bootstrap=0)
    outside = found.rows.query("set == 'nothing'")
    assert outside["msp"].nunique() == 1
    assert outside.drop(columns=["label"]).notna().all(axis=None)


def test_without_labels_there_is_no_accuracy(trained):
    scores = {"msp": MSP()}
    found = evaluate_ood(
        trained[0], [TRAIN], [unlabelled(KNOWN)], {"o": [NEAR]}, scores, bootstrap=0
    )
    assert math.isnan(found.accuracy)
    assert found.table["score"].unique() == ["msp"]


def test_training_rows_are_read_for_what_learns_alone(trained):
    def forbidden():
        raise AssertionError("read")
        yield

    found = evaluate_ood(trained[0], forbidden(), [KNOWN], {"o": [NEAR]}, {"s": MSP()}, bootstrap=0)
    assert found.table["value"].notna().all()
    with pytest.raises(AssertionError, match="read"):
        run(trained[0], train=forbidden(), scores={"s": Mahalanobis()})


def test_the_model_s_mode_is_restored_and_progress_is_told(trained):
    model, told = trained[0], []
    model.train()
    evaluate_ood(
        model, [TRAIN], [KNOWN, KNOWN], {"o": [NEAR]}, bootstrap=0,
        progress=lambda name, done: told.append((name, done)),
    )  # fmt: skip
    assert model.fusion.training
    model.eval()
    assert told == [("train", 1), ("in", 1), ("in", 2), ("o", 1)]


# What cannot be evaluated.


def run(model, train=(TRAIN,), known=(KNOWN,), sets=None, **options):
    return evaluate_ood(model, train, known, {"o": [NEAR]} if sets is None else sets, **options)


def test_an_unknown_modality_is_refused_with_the_set_s_name(trained):
    other = Batch(("a", "smell"), {"a": NEAR.inputs["a"]}, NEAR.present)
    with pytest.raises(UnknownModalityError, match=r"The set 'o' has \['smell'\]; the model knows"):
        run(trained[0], sets={"o": [other]})


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"train": []}, "The set 'train' has no rows"),
        ({"known": []}, "The set 'in' has no rows"),
        ({"sets": {"o": []}}, "The set 'o' has no rows"),
        ({"sets": {"o": [NEAR.rows(torch.tensor([]).long())]}}, "The set 'o' has no rows"),
        ({"train": [unlabelled(TRAIN)]}, "No training row has a label of 'kind'"),
        ({"train": [TRAIN.rows(torch.arange(20))]}, "neighbour 50 among 20 training rows"),
    ],
)
def test_sets_that_are_too_small_are_refused(trained, options, match):
    with pytest.raises(DataError, match=match):
        run(trained[0], **options)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"sets": {}}, "needs a set out of distribution and a score"),
        ({"scores": {}}, "needs a set out of distribution and a score"),
        ({"sets": {"in": [NEAR]}}, r"are called \['in'\]; rename them"),
        ({"shifts": {"p": "far"}}, r"shifts names \['p'\]; the sets are \['o'\]"),
        ({"shifts": {"o": "middling"}}, r"shifts are \['middling'\]; expected 'near' or 'far'"),
        ({"scores": {"row": MSP()}}, r"Scores are called \['row'\]"),
        ({"scores": {"msp": MSP()}, "heads": UnimodalLoss()}, "heads are for the standard scores"),
        ({"target": "colour"}, "the target of classes 'colour'; those of the model are"),
    ],
)
def test_settings_that_mean_nothing_are_refused(trained, options, match):
    with pytest.raises(ConfigError, match=match):
        run(trained[0], **options)


def made(targets, heads=None) -> FusionModel:
    spec = DataSpec({m: ModalitySpec.of(w) for m, w in WIDTHS.items()}, targets)
    encoders = {m: MLPEncoder(w, out_dim=4) for m, w in WIDTHS.items()}
    return FusionModel(spec, encoders, ConcatFusion(dict.fromkeys(WIDTHS, 4)), heads)


def test_a_model_without_classes_is_refused():
    size = {"size": TargetSpec("regression")}
    with pytest.raises(ConfigError, match="one target of classes; those of the model are none"):
        run(made(size))
    with pytest.raises(ConfigError, match="one target of classes; those of the model are none"):
        run(made({"kind": TargetSpec("binary")}, heads={}))


def test_a_single_class_is_refused():
    with pytest.raises(ConfigError, match=r"'kind' has the one class \['red'\]"):
        run(made({"kind": TargetSpec("multiclass", ("red",))}))


def test_of_several_targets_one_must_be_named():
    two = {"kind": TargetSpec("multiclass", tuple("xyz")), "ill": TargetSpec("binary")}
    with pytest.raises(ConfigError, match=r"those of the model are \['kind', 'ill'\]\. Name one"):
        run(made(two))


def test_a_binary_target_is_two_classes(train):
    model, heads = train(target=TargetSpec("binary", ("no", "yes")))
    two = [rows(range(2), 100, seed=s) for s in (1, 2)]
    found = run(model, two[:1], two[1:], heads=heads, bootstrap=0)
    assert found.table["value"].notna().all()
    assert found.accuracy > 0.95
    mahalanobis = Mahalanobis()
    run(model, two[:1], two[1:], scores={"m": mahalanobis}, bootstrap=0)
    assert len(mahalanobis.means) == 2
