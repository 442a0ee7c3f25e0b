"""Rankings as items lose modalities: one encoding, masks, stand-ins, intervals, and the command."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from planted import planted, planted_features, planted_model, planted_pairs, tower

from mmfuse.cli import main
from mmfuse.data import ArrayData
from mmfuse.errors import CheckpointError, ConfigError, DataError
from mmfuse.fusion import ConcatFusion, MeanFusion, TransformerFusion
from mmfuse.missing import MCAR, FixedPattern
from mmfuse.recommend import (
    ColdStartSplit,
    InteractionArrays,
    ItemVectors,
    RandomSplit,
    RecommendationData,
    UserVectors,
)
from mmfuse.recommend.content import ItemContent
from mmfuse.recommend.propagation import ItemGraph, LightGCN
from mmfuse.recommend.ranking import evaluate_ranking, restricted
from mmfuse.recommend.robustness import (
    EncodedItems,
    fills_of,
    item_conditions,
    ranking_robustness,
)
from mmfuse.robustness import Condition, complete
from mmfuse.tasks import RecommendationTask
from mmfuse.trainer import Trainer


def model_of(data, fusion=MeanFusion, seed=0, **options):
    item = ItemVectors(6, content="concat")
    return planted_model(
        data, item, UserVectors(), options.pop("backbone", None), tower(fusion), seed=seed
    ).eval()


def condition(missing, name="some"):
    return Condition(name, "mcar", math.nan, missing)


@pytest.mark.parametrize("fusion", [MeanFusion, ConcatFusion, TransformerFusion])
@pytest.mark.parametrize("block", [7, 100])
def test_items_encoded_once_are_those_encoded_anew(fusion, block):
    data = planted()
    model = model_of(data, fusion)
    encoded = EncodedItems.of(model.tower, data.catalogue, block)
    kept = torch.rand(30, 2, generator=torch.Generator().manual_seed(1)) < 0.5
    kept[7:14] = False  # a whole block without anything
    batch = data.catalogue.batch(None).keep(kept)
    with torch.no_grad():
        anew = ItemContent.of(model.tower, batch).vector
    torch.testing.assert_close(encoded.fused(kept & torch.cat(encoded.present)), anew)


@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_a_stand_in_is_read_as_if_the_item_had_it(fill):
    data = planted()
    task = RecommendationTask(item=ItemVectors(6, content="concat"))
    model = task.make_model(data).eval()
    specs = model.tower.spec.modalities
    assert all(s.mean for s in specs.values())
    encoded = EncodedItems.of(model.tower, data.catalogue, 7)
    kept = torch.cat(encoded.present) & (torch.arange(30) % 3 > 0)[:, None]
    batch = data.catalogue.batch(None)
    raw = {}
    for i, (m, spec) in enumerate(specs.items()):
        instead = torch.tensor(spec.mean) if fill == "mean" else torch.zeros(spec.width)
        raw[m] = torch.where(kept[:, i, None], batch.inputs[m], instead)
    full = type(batch)(tuple(specs), raw, torch.ones_like(kept))
    with torch.no_grad():
        wanted = ItemContent.of(model.tower, full).vector
        found = encoded.fused(kept, fills_of(model.tower)[fill])
    torch.testing.assert_close(found, wanted)


def test_without_standardisation_there_is_no_mean_to_stand_in():
    data = planted()
    assert list(fills_of(model_of(data).tower)) == ["absent", "zero"]


def test_lines_are_what_a_ranking_of_the_masked_items_says():
    data = planted()
    model = model_of(data, backbone=LightGCN(2))
    some = MCAR(0.6, seed=3)
    result = ranking_robustness(model, data, [condition(some)], ks=[3, 5], bootstrap=50)
    shown = data.catalogue.presence("test", some)
    affected = (data.catalogue.presence("test", None) & ~shown).any(dim=1)
    interactions = data.interactions

    def ranked(batch, kinds):
        with torch.no_grad():
            vectors = model.represent(ItemContent.of(model.tower, batch).vector)
        return evaluate_ranking(
            vectors.users,
            vectors.items,
            model.score.matrix,
            restricted(interactions.lists("test"), kinds),
            interactions.lists("train", "val"),
            data.users("test"),
            [3, 5],
        ).means()

    natural = data.catalogue.batch(None, "test", missing=None)
    slices = {"all": torch.ones(30, dtype=torch.bool), "affected": affected}
    for name, kinds in slices.items():
        after, before = ranked(natural.keep(shown), kinds), ranked(natural, kinds)
        for metric in ("recall_at_3", "ndcg_at_5"):
            line = result.lines(name, metric).query("fill == 'absent'").iloc[0]
            assert line["value"] == pytest.approx(after[metric], abs=1e-12)
            assert line["drop"] == pytest.approx(before[metric] - after[metric], abs=1e-12)
    had = data.catalogue.presence("test", None).sum()
    assert line["realised_rate"] == pytest.approx(1 - int(shown.sum()) / int(had))
    assert 0 < line["users"] <= len(data.users("test"))


def test_intervals_hold_the_mean_and_complete_items_lose_nothing():
    data = planted()
    result = ranking_robustness(model_of(data), data, ks=[5], bootstrap=200)
    table = result.table
    assert (table["low"] <= table["value"] + 1e-12).all()
    assert (table["value"] <= table["high"] + 1e-12).all()
    inside = table["drop"].between(table["drop_low"] - 1e-12, table["drop_high"] + 1e-12)
    assert inside.all()
    whole = table[table["realised_rate"] == 0]
    assert set(whole["condition"]) == {"complete", "only image + sound"}
    assert (whole[["drop", "drop_low", "drop_high"]] == 0).all(axis=None)
    assert "affected" not in set(whole["slice"])
    bare = ranking_robustness(model_of(data), data, ks=[5], bootstrap=0).table
    assert bare["low"].isna().all()
    assert bare["value"].equals(table["value"])


def test_popular_items_lose_modalities_and_rare_ones_in_the_flip():
    data = planted()
    chosen = {c.name: c for c in item_conditions(["image", "sound"])}
    taken = torch.bincount(data.interactions.pairs("train")[1], minlength=30)
    popular = taken > taken[taken > 0].median()
    natural = data.catalogue.presence("test", None)
    for name, hit in (("mnar 0.8", popular), ("mnar 0.8 flipped", ~popular)):
        shown = data.catalogue.presence("test", chosen[name].missing)
        lost = natural & ~shown
        assert (natural[hit].any(dim=1) & ~shown[hit].any(dim=1)).any()  # all that they had
        assert lost[hit].any()
        assert not lost[~hit].any()


def informative(cold=False):
    """Planted tastes which the image tells alone; sound is noise of the same size."""
    features = planted_features(60, absent=0.0, noise=0.1)
    rng = np.random.default_rng(5)
    sound = rng.normal(size=features["sound"].shape).astype(np.float32)
    pairs = InteractionArrays(*planted_pairs(90, 60, each=12))
    split = ColdStartSplit() if cold else RandomSplit(val=0.1, test=0.2)
    items = ArrayData({"image": features["image"][:-1], "sound": sound[:-1]})
    return RecommendationData(pairs, items, split=split, batch_size=128)


def fitted(data, folder, epochs=30, **options):
    torch.manual_seed(0)
    task = RecommendationTask(
        item=ItemVectors(8, id=False, content="concat"), ks=[5, 10], **options
    )
    trainer = Trainer(
        max_epochs=epochs,
        default_root_dir=str(folder),
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    trainer.fit(task, datamodule=data)
    return task, trainer


def test_more_is_lost_where_what_tells_the_taste_goes(tmp_path):
    data = informative(cold=True)
    task, trainer = fitted(data, tmp_path)
    result = trainer.robustness(task, data, out=tmp_path / "report", bootstrap=200)
    for name in ("all", "cold", "cold_alone"):
        lines = result.lines(name).query("fill == 'absent'").set_index("condition")
        assert lines.loc["only sound", "drop_low"] > 0
        assert lines.loc["only sound", "drop_low"] > lines.loc["only image", "drop_high"]
    (tested,) = trainer.test(task, datamodule=data, verbose=False)
    for metric in ("recall_at_5", "ndcg_at_5"):  # what the test tells of cold items, too
        kinds = {"all": "test/", "cold": "test/cold/", "cold_alone": "test/cold_alone/"}
        for name, prefix in kinds.items():
            whole = result.lines(name, metric).query("fill == 'absent'").iloc[0]
            assert whole["condition"] == "complete"
            assert whole["value"] == pytest.approx(tested[prefix + metric], abs=1e-6)


def test_items_with_one_modality_lose_it_at_rates_too():
    data = planted()
    features = {"image": planted_features()["image"]}
    data = RecommendationData(data.source, ArrayData(features), split=RandomSplit())
    task = RecommendationTask(item=ItemVectors(6, content="concat"))
    model = task.make_model(data)
    result = ranking_robustness(model, data, ks=[5], bootstrap=0)
    lines = result.lines(metric="recall_at_5").query("fill == 'absent'").set_index("condition")
    assert lines.loc["mcar 0.5", "realised_rate"] == pytest.approx(0.5, abs=0.25)
    assert lines.loc["mcar 0.9", "realised_rate"] > lines.loc["mcar 0.1", "realised_rate"]


def test_a_model_of_ids_is_refused(tmp_path):
    data = planted()
    model = planted_model(data, ItemVectors(6), UserVectors(), ItemGraph(), tower(MeanFusion))
    with pytest.raises(ConfigError, match=r"ids alone.*nothing to measure"):
        ranking_robustness(model, data)


def test_what_cannot_be_ranked_is_refused():
    data = planted()
    model = model_of(data)
    with pytest.raises(ConfigError, match="split is 'train'"):
        ranking_robustness(model, data, split="train")
    with pytest.raises(ConfigError, match=r"ks are \[\]"):
        ranking_robustness(model, data, ks=[])
    with pytest.raises(ConfigError, match="names of their own"):
        ranking_robustness(model, data, [complete(), complete()])
    with pytest.raises(DataError, match="trained on"):
        ranking_robustness(model, planted(seed=1))


def test_graphs_of_features_are_told_to_stay():
    data = planted()
    model = model_of(data, backbone=ItemGraph())
    nothing = Condition("nothing", "empty", 1.0, FixedPattern([]))
    meta = ranking_robustness(model, data, [complete(), nothing], ks=[5], bootstrap=0).meta
    assert any(note.startswith("ItemGraph came of features") for note in meta["notes"])


CONFIG = """
model:
  class_path: RecommendationTask
  init_args:
    item: {class_path: ItemVectors, init_args: {dim: 6, content: CONTENT}}
    ks: [5, 20]
data:
  class_path: mmfuse.recommend.RecommendationData
  init_args:
    source:
      class_path: InteractionTable
      init_args: {path: pairs.csv}
    items:
      class_path: TableData
      init_args:
        path: items.csv
        modalities: {image: {columns: [i0, i1, i2, i3, i4, i5]}, sound: {columns: [s0, s1, s2, s3]}}
    item_id: item
trainer: {max_epochs: 2, enable_progress_bar: true}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    users, items = planted_pairs()
    pd.DataFrame({"user": users, "item": items}).to_csv(tmp_path / "pairs.csv", index=False)
    found = planted_features()
    columns = {f"i{k}": found["image"][:, k] for k in range(6)}
    columns |= {f"s{k}": found["sound"][:, k] for k in range(4)}
    table = pd.DataFrame({"item": np.arange(30), **columns})
    table.to_csv(tmp_path / "items.csv", index=False)
    (tmp_path / "config.yaml").write_text(CONFIG.replace("CONTENT", "concat"))
    (tmp_path / "ids.yaml").write_text(CONFIG.replace("CONTENT", "none"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_reports_on_a_checkpoint(folder, capsys):
    assert main(["fit", "--config", "config.yaml"]) == 0
    assert main(["test", "--config", "config.yaml", "--ckpt_path", "best"]) == 0
    capsys.readouterr()
    words = ["robustness", "--config", "config.yaml", "--ckpt_path", "best", "--out", "report"]
    assert main([*words, "--mcar_rates=[0.5]", "--bootstrap", "100"]) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "Report: report"
    assert "mnar 0.8 flipped" in told
    assert max(map(len, told.splitlines())) <= 80
    table = pd.read_csv("report/robustness.csv")
    assert set(table["fill"]) == {"absent", "zero", "mean"}
    meta = json.loads((folder / "report/meta.json").read_text())
    assert meta["main_metric"] == "recall_at_20"
    assert meta["checkpoint"] == "best.ckpt"
    for name in ("mcar.png", "subsets.png"):
        assert (folder / "report" / name).read_bytes().startswith(b"\x89PNG")
    scores = pd.read_csv("runs/version_1/metrics.csv")
    whole = table.query("condition == 'complete' and fill == 'absent' and slice == 'all'")
    value = whole.set_index("metric").loc["ndcg_at_5", "value"]
    assert value == pytest.approx(scores["test/ndcg_at_5"].iloc[0], abs=1e-6)

    # Without a progress bar there is no table either, but where the report is.
    quiet = [w for w in words if w not in ("--out", "report")]
    quiet += ["--mcar_rates=[0.5]", "--bootstrap", "20", "--trainer.enable_progress_bar=false"]
    assert main(quiet) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[-1].startswith("Report: runs/version_")
    assert (folder / told[-1].removeprefix("Report: ") / "robustness.csv").is_file()


def test_the_command_tells_mistakes(folder, capsys):
    assert main(["fit", "--config", "ids.yaml"]) == 0
    capsys.readouterr()
    words = ["robustness", "--config", "ids.yaml"]
    assert main([*words, "--ckpt_path", "best"]) == 2
    assert "ids alone" in capsys.readouterr().err
    assert main(words) == 2
    assert "no trained recommender" in capsys.readouterr().err
    assert main([*words, "--ckpt_path", "best", "--data.seed", "7"]) == 2
    assert "other training interactions" in " ".join(capsys.readouterr().err.split())


def test_vectors_alone_are_no_model(tmp_path):
    data = planted()
    task, trainer = fitted(data, tmp_path, epochs=1)
    path = task.recommender().save(tmp_path / "vectors.ckpt")
    with pytest.raises(CheckpointError, match="no model that made them"):
        trainer.robustness(datamodule=data, ckpt_path=path)
