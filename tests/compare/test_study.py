"""A study: what it runs again, what the test rows may decide, and what its table holds."""

import json

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from mmfuse.baselines import BASELINES
from mmfuse.compare import Study
from mmfuse.data import ArrayData
from mmfuse.errors import ConfigError, DataError, OutputError
from mmfuse.fusion import ConcatFusion
from mmfuse.missing import MCAR, FixedPattern
from mmfuse.objectives import UnimodalLoss
from mmfuse.tasks import SupervisedTask
from mmfuse.trainer import Trainer

FUSIONS = {"mean": "MeanFusion", "gated": "GatedFusion"}
HONEST, BEST = "validation-selected", "best test epoch"
ROWS = 120


def arrays(labels=None, **options):
    """Two modalities that tell a noisy label; 60 rows train, 30 validate, 30 test."""
    draw = np.random.default_rng(0)
    label = np.arange(ROWS) % 2
    inputs = {m: draw.normal(size=(ROWS, 3)) + 0.7 * label[:, None] for m in "ab"}
    split = np.repeat(["train", "val", "test"], [60, 30, 30])
    given = label if labels is None else labels
    return ArrayData(inputs, given, **{"split": split, "batch_size": 20} | options)


def task(**options):
    encoder = {"class_path": "MLPEncoder", "init_args": {"hidden": [4], "out_dim": 4}}
    return SupervisedTask({"a": encoder, "b": encoder}, **options)


def trainer(folder, max_epochs=2, **options):
    return Trainer(max_epochs=max_epochs, default_root_dir=str(folder), logger=False, **options)


def study(folder, fusions=FUSIONS, seeds=(0, 1), conditions=None, **options):
    made = options.pop("trainer", None) or trainer(folder)
    given = {"task": task(), "data": arrays(), "baselines": False} | options
    return Study(
        make_trainer=made.fresh,
        fusions=fusions,
        seeds=list(seeds),
        conditions=conditions or {},
        folder=folder / "study",
        **given,
    )


def files(folder):
    return {p: p.stat().st_mtime_ns for p in (folder / "study/cells").glob("*.json")}


def contents(folder):
    return [json.loads(p.read_text()) for p in files(folder)]


class Trained:
    """Keeps the weights of the model that each run of a study chose."""

    def __init__(self, monkeypatch):
        self.weights = []
        monkeypatch.setattr("mmfuse.compare.study.load", self._load)
        from mmfuse.checkpoint import load

        self._real = load

    def _load(self, path):
        model = self._real(path)
        self.weights.append({k: v.clone() for k, v in model.state_dict().items()})
        return model


def same(one, other):
    return all(torch.equal(one[k], other[k]) for k in one)


# What is run again.


def test_a_failed_cell_leaves_the_others_and_is_run_the_next_time(tmp_path, monkeypatch):
    real, runs = Study._run, []

    def failing(self, cell):
        runs.append((cell.variant, cell.seed))
        if len(runs) == 3:
            raise RuntimeError("the machine went away")
        return real(self, cell)

    monkeypatch.setattr(Study, "_run", failing)
    with pytest.raises(RuntimeError, match="went away"):
        study(tmp_path).run()
    before = files(tmp_path)
    assert len(before) == 2
    assert not (tmp_path / "study/table.md").exists()

    summary = study(tmp_path).run()
    assert runs[2] == runs[3] == ("gated", 0)
    assert runs[4:] == [("gated", 1)]
    assert {p: t for p, t in files(tmp_path).items() if p in before} == before
    assert set(summary["seeds"]) == {2}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_cell_leaves_no_folder_behind(tmp_path, error):
    class Interrupt(L.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            raise error

    with pytest.raises((error, SystemExit)):
        study(tmp_path, trainer=trainer(tmp_path, callbacks=[Interrupt()])).run()
    assert list((tmp_path / "study/cells").iterdir()) == []


@pytest.mark.parametrize("content", [b'{"half": ', b"", b"\xff\xfe", b"[]", b"{}"])
def test_a_corrupt_cell_is_named_before_any_work(tmp_path, content, monkeypatch):
    study(tmp_path, seeds=[0]).run()
    path = next(iter(files(tmp_path)))
    path.write_bytes(content)
    monkeypatch.setattr(Study, "_run", lambda *_: pytest.fail("it trained"))
    with pytest.raises(DataError, match=rf"{path.name}.*Delete it to run it again"):
        study(tmp_path, seeds=[0, 1]).run()


def test_a_further_seed_and_a_further_fusion_only_add(tmp_path):
    study(tmp_path, seeds=[0]).run()
    before = files(tmp_path)
    more = FUSIONS | {"concat": ConcatFusion}
    summary = study(tmp_path, more, seeds=[0, 1]).run()
    after = files(tmp_path)
    assert len(after) == 6
    assert {p: after[p] for p in before} == before
    assert list(dict.fromkeys(summary["variant"])) == list(more)


def test_a_changed_fusion_runs_alone(tmp_path):
    study(tmp_path, seeds=[0]).run()
    before = files(tmp_path)
    wider = FUSIONS | {"mean": {"class_path": "MeanFusion", "init_args": {"out_dim": 5}}}
    study(tmp_path, wider, seeds=[0]).run()
    added = set(files(tmp_path)) - set(before)
    assert [json.loads(p.read_text())["variant"] for p in added] == ["mean"]


def test_a_change_of_training_leaves_the_baselines_as_they_were(tmp_path):
    def keys(**options):
        return {c.key: c.variant for c in study(tmp_path, baselines=True, **options).cells()}

    first = keys()
    for changed in (
        {"task": task(modality_dropout=0.3)},
        {"trainer": trainer(tmp_path, gradient_clip_val=1.0)},
        {"best_test_epoch": True},
    ):
        assert {first[k] for k in first.keys() & keys(**changed).keys()} == set(BASELINES)
    assert not first.keys() & keys(conditions={"mcar": MCAR(0.5)}).keys()
    assert not first.keys() & keys(data=arrays(missing=MCAR(0.5))).keys()
    assert not first.keys() & keys(data=arrays(np.roll(np.arange(ROWS) % 3, 1))).keys()
    assert first == keys(trainer=trainer(tmp_path / "elsewhere", enable_progress_bar=False))


def test_a_callbacks_options_count_as_settings(tmp_path):
    def keys(patience):
        stop = EarlyStopping("val/loss", patience=patience)
        return {c.key for c in study(tmp_path, trainer=trainer(tmp_path, callbacks=stop)).cells()}

    assert keys(3) == keys(3)
    assert not keys(3) & keys(4)


def test_a_trainer_whose_callbacks_remember_a_run_is_refused(tmp_path):
    used = trainer(tmp_path, callbacks=EarlyStopping("val/loss"), enable_progress_bar=False)
    used.fit(task(), datamodule=arrays())
    with pytest.raises(ConfigError, match=r"already run.*EarlyStopping.*Make a new Trainer"):
        study(tmp_path, trainer=used).run()


# What the test rows may decide.


def test_the_labels_of_the_test_rows_move_no_weight_and_no_choice(tmp_path, monkeypatch):
    label = np.arange(ROWS) % 2
    permuted = label.copy()
    permuted[90:] = np.random.default_rng(1).permutation(label[90:])
    assert (permuted != label).any()
    trained = Trained(monkeypatch)
    values = []
    for name, given in (("one", label), ("other", permuted)):
        made = study(tmp_path / name, seeds=[0], data=arrays(given), best_test_epoch=True)
        values.append(made.run()["mean"].to_numpy())
    for one, other in zip(trained.weights[:2], trained.weights[2:], strict=True):
        assert same(one, other)
    assert not np.array_equal(*values)


def test_watching_the_test_rows_changes_nothing_of_the_honest_result(tmp_path, monkeypatch):
    trained, tables = Trained(monkeypatch), {}
    encoder = {"class_path": "MLPEncoder", "init_args": {"hidden": [4], "dropout": 0.5}}
    for watched in (False, True):
        given = {"task": SupervisedTask({"a": encoder, "b": encoder}, modality_dropout=0.3)}
        made = study(tmp_path / str(watched), seeds=[0], best_test_epoch=watched, **given)
        table = made.run().drop(columns="seconds_per_epoch")
        tables[watched] = table[table["protocol"] == HONEST].reset_index(drop=True)
    pd.testing.assert_frame_equal(tables[False], tables[True])
    for one, other in zip(trained.weights[:2], trained.weights[2:], strict=True):
        assert same(one, other)


def test_the_best_test_epoch_is_never_below_the_honest_one(tmp_path):
    longer = trainer(tmp_path, max_epochs=6)
    table = study(tmp_path, seeds=range(3), best_test_epoch=True, trainer=longer).run()
    table = table[(table["metric"] == "accuracy") & (table["condition"] == "complete")]
    means = table.pivot(index="variant", columns="protocol", values="mean")
    assert (means[BEST] >= means[HONEST]).all()
    assert (means[BEST] > means[HONEST]).any()


def test_without_validation_rows_the_last_epoch_counts_and_is_called_so(tmp_path):
    data = arrays(split=np.repeat(["train", "test"], [90, 30]), val=0)
    table = study(tmp_path, data=data, best_test_epoch=True).run()
    assert set(table["protocol"]) == {"last epoch", BEST}


def test_a_variant_may_be_a_task_of_its_own(tmp_path, monkeypatch):
    trained = []
    fit = Trainer.fit

    def watching(self, model, *args, **kwargs):
        trained.append([type(o).__name__ for o in model.objectives])
        return fit(self, model, *args, **kwargs)

    monkeypatch.setattr(Trainer, "fit", watching)
    alone = task(objectives=[UnimodalLoss()])
    fusions = {"gated": "GatedFusion", "with heads": alone}
    table = study(tmp_path, fusions=fusions, seeds=[0]).run()
    assert list(dict.fromkeys(table["variant"])) == ["gated", "with heads"]
    assert trained == [["SupervisedLoss"], ["SupervisedLoss", "UnimodalLoss"]]
    before = files(tmp_path)
    study(tmp_path, fusions=fusions, seeds=[0]).run()
    assert files(tmp_path) == before
    other = task(objectives=[UnimodalLoss(weight=0.5)])
    study(tmp_path, fusions=fusions | {"with heads": other}, seeds=[0]).run()
    assert len(files(tmp_path)) == 3


# What the table holds.


def test_the_table_has_every_variant_condition_and_metric_of_both_protocols(tmp_path):
    conditions = {"half": MCAR(0.5), "only a": FixedPattern(["a"])}
    made = study(tmp_path, conditions=conditions, baselines=True, best_test_epoch=True)
    table = made.run(["accuracy", "auroc"])
    assert list(dict.fromkeys(table["variant"])) == [*FUSIONS, *BASELINES]
    honest = table[table["protocol"] == HONEST]
    for _, lines in honest.groupby("variant"):
        assert list(dict.fromkeys(lines["condition"])) == ["complete", *conditions]
        assert lines.groupby("condition")["metric"].apply(tuple).nunique() == 1
        assert set(lines["metric"]) == set(honest["metric"])
    best = table[table["protocol"] == BEST]
    assert set(best["condition"]) == {"complete"}
    assert set(best["metric"]) == set(honest["metric"])

    assert len(pd.read_csv(tmp_path / "study/table.csv")) == len(table)
    assert (tmp_path / "study/table.png").read_bytes().startswith(b"\x89PNG")
    lines = (tmp_path / "study/table.md").read_text().splitlines()
    assert lines[0].startswith(f"| model | {HONEST} accuracy |")
    assert [line.split(" | ")[0][2:] for line in lines[2:6]] == [*FUSIONS, *BASELINES]
    assert lines[-1].endswith("over 2 seeds.")


def test_the_cells_seed_moves_split_weights_and_simulated_absence(tmp_path, monkeypatch):
    seen = []
    real = Study._train

    def watching(self, cell, data, conditions):
        facts = data.facts("test")
        hidden = {c.name: c.missing.keep(facts) for c in conditions if c.missing}
        kept = data.missing.keep(data.facts("train"))
        seen.append((cell, data.rows("test"), hidden["half"], kept))
        return real(self, cell, data, conditions)

    monkeypatch.setattr(Study, "_train", watching)
    trained = Trained(monkeypatch)
    drawn = arrays(split=None, missing=MCAR(0.3))
    study(tmp_path, data=drawn, conditions={"half": MCAR(0.5)}).run()
    cells, *drawings = zip(*seen, strict=True)
    order = [("mean", 0), ("mean", 1), ("gated", 0), ("gated", 1)]
    assert [(c.variant, c.seed) for c in cells] == order
    for mean_0, mean_1, gated_0, gated_1 in drawings:
        assert mean_0.tolist() == gated_0.tolist() != mean_1.tolist() == gated_1.tolist()
    assert not same(*trained.weights[:2])


def test_a_cell_gives_the_same_numbers_whatever_ran_before_it(tmp_path):
    study(tmp_path / "all").run()
    study(tmp_path / "one", {"gated": "GatedFusion"}, seeds=[1]).run()
    (alone,) = contents(tmp_path / "one")
    among = [c for c in contents(tmp_path / "all") if (c["variant"], c["seed"]) == ("gated", 1)]
    assert among[0]["scores"] == alone["scores"]


def test_the_study_leaves_the_task_and_the_data_it_was_given_alone(tmp_path):
    given, data = task(), arrays()
    before = data.settings()
    study(tmp_path, seeds=[3], task=given, data=data).run()
    assert given.model is None
    assert data.settings() == before


def test_facts_of_a_run_are_on_record(tmp_path):
    study(tmp_path, seeds=[0]).run()
    for cell in contents(tmp_path):
        assert cell["facts"]["epochs"] == 2
        assert cell["facts"]["parameters"] > 0
        assert cell["facts"]["seconds_per_epoch"] > 0


# Regression, several targets, unlabelled rows.


def test_a_study_of_several_targets_chooses_the_best_test_epoch_by_the_first(tmp_path):
    draw = np.random.default_rng(2)
    targets = {"value": draw.normal(size=ROWS), "kind": np.arange(ROWS) % 3}
    table = study(tmp_path, data=arrays(targets), baselines=True, best_test_epoch=True).run()
    assert set(table["target"]) == {"value", "kind"}
    rmse = table[(table["metric"] == "rmse") & ~table["variant"].isin(BASELINES)]
    means = rmse.pivot(index="variant", columns="protocol", values="mean")
    assert (means[BEST] <= means[HONEST]).all()


# Mistakes.


def test_a_study_without_fusions_or_seeds_is_refused(tmp_path):
    for given in ({"fusions": {}}, {"seeds": []}):
        with pytest.raises(ConfigError, match="at least one fusion and one seed"):
            study(tmp_path, **given)


def test_a_fusion_with_a_baselines_name_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="baselines' names"):
        study(tmp_path, {BASELINES[0]: "MeanFusion"})


def test_the_complete_condition_cannot_be_another(tmp_path):
    with pytest.raises(ConfigError, match="'complete' takes nothing away"):
        study(tmp_path, conditions={"complete": MCAR(0.5)})
    assert study(tmp_path, conditions={"complete": None}).conditions == {"complete": None}


def test_an_unknown_metric_is_refused_before_any_work(tmp_path):
    with pytest.raises(ConfigError, match=r"'acuracy'.*Did you mean 'accuracy'\?"):
        study(tmp_path).run(["acuracy"])
    with pytest.raises(ConfigError, match="'rmse'"):
        study(tmp_path).run(["rmse"])
    assert not (tmp_path / "study").exists()


def test_a_folder_that_cannot_be_written_is_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "study").write_text("a file stands where the folder should be")
    monkeypatch.setattr(Study, "_run", lambda *_: pytest.fail("it trained"))
    with pytest.raises(OutputError, match="study"):
        study(tmp_path).run()


def test_compare_refuses_a_task_that_it_cannot_vary(tmp_path):
    with pytest.raises(ConfigError, match="found LightningModule"):
        trainer(tmp_path).compare(L.LightningModule(), arrays(), FUSIONS)
