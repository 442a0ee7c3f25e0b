"""Every recipe under experiments/ runs through the command, on a small stand-in for its data."""

import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import mmfuse
from mmfuse.baselines import BASELINES
from mmfuse.cli import main
from mmfuse.data import CatalogueData

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
#: Those of recommenders, whose data and models are files apart, have tests of their own.
RECIPES = sorted(p for p in EXPERIMENTS.glob("*/*.yaml") if p.parent.name != "recommend")


def content(recipe):
    return yaml.safe_load(recipe.read_text())


def named(recipe):
    return recipe.relative_to(EXPERIMENTS).as_posix()


def comparisons():
    return [r for r in RECIPES if "fusions" in content(r)]


def single_runs():
    return [r for r in RECIPES if "fusions" not in content(r)]


def archive(path, widths, classes, rows):
    """Vectors in an archive with a training and a test part, as the mirror's archives are."""
    draw = np.random.default_rng(0)
    arrays = {}
    for split, count in rows.items():
        label = np.arange(count) % classes
        arrays[f"y_{split}"] = label
        for m, width in widths.items():
            arrays[f"{m}_{split}"] = draw.normal(size=(count, width)) + label[:, None]
    np.savez(path, **arrays)
    names = list(widths)
    return {"class_path": "NpzData", "init_args": {"path": str(path), "modalities": names}}


def rosmap(folder):
    widths = {"mrna": 6, "meth": 5, "mirna": 4}
    data = archive(folder / "rosmap.npz", widths, classes=2, rows={"train": 60, "test": 30})
    data["init_args"]["targets"] = "y"
    return data


def handwritten(folder):
    widths = {"pix": 6, "fou": 5, "fac": 4, "zer": 3, "kar": 3, "mor": 2}
    data = archive(folder / "views.npz", widths, classes=10, rows={"train": 120, "test": 60})
    data["init_args"]["targets"] = "y"
    return data


def womens_clothing(folder):
    draw = np.random.default_rng(0)
    words = np.array(["soft", "lovely", "too", "small", "returned", "perfect"])
    label = np.arange(80) % 2
    table = pd.DataFrame(
        {
            "Title": [None if i % 7 == 0 else str(words[i % 6]) for i in range(80)],
            "Review Text": [" ".join(draw.choice(words, size=4)) for _ in label],
            "Division Name": draw.choice(["General", "Petite"], size=80),
            "Department Name": draw.choice(["Tops", "Dresses"], size=80),
            "Age": draw.integers(18, 80, size=80),
            "Positive Feedback Count": draw.integers(0, 9, size=80),
            "Recommended IND": label,
            "split": ["train"] * 40 + ["val"] * 20 + ["test"] * 20,
        }
    )
    table.to_parquet(folder / "reviews.parquet")
    given = {
        "path": str(folder / "reviews.parquet"),
        "modalities": {
            "title": {"columns": "Title", "kind": "text"},
            "review": {"columns": "Review Text", "kind": "text"},
            "categories": ["Division Name", "Department Name"],
            "numbers": ["Age", "Positive Feedback Count"],
        },
        "targets": {"recommended": "Recommended IND"},
        "split": "split",
    }
    return {"class_path": "TableData", "init_args": given}


def in_thirds(count):
    return [("train", "val", "test")[i * 3 // count] for i in range(count)]


def tones(rate, label):
    """A short sound a row, its pitch the label's; the rows differ in loudness."""
    time = np.arange(rate // 5) / rate
    waves = [np.sin(400 * (k + 1) * time) / (i + 2) for i, k in enumerate(label)]
    return [{"samples": wave.astype(np.float32).tolist(), "rate": rate} for wave in waves]


def pictures(label):
    """The bytes of a small PNG a row, its brightness the label's."""
    draw, found = np.random.default_rng(0), []
    for k in label:
        content = io.BytesIO()
        pixels = draw.integers(0, 60, (28, 28)) + 18 * k
        Image.fromarray(pixels.astype(np.uint8)).save(content, "PNG")
        found.append(content.getvalue())
    return found


def media(folder, kinds, classes, target):
    """Three rows a class and part, as a Parquet file."""
    label = np.arange(9 * len(classes)) % len(classes)
    make = {
        "audio": lambda: tones(8000, label),
        "image": lambda: pictures(label),
        "text": lambda: [f"number {i}" for i in range(len(label))],
    }
    columns = {name: make[kind]() for name, kind in kinds.items()}
    known = {target: [classes[k] for k in label], "split": in_thirds(len(label))}
    path = folder / "media.parquet"
    pd.DataFrame(columns | known).to_parquet(path)
    given = {
        "path": str(path),
        "modalities": {m: {"columns": m, "kind": kind} for m, kind in kinds.items()},
        "targets": target,
        "split": "split",
    }
    return {"class_path": "TableData", "init_args": given}


def av_digits(folder):
    return media(folder, {"sound": "audio", "image": "image"}, list(range(10)), "digit")


def esc10(folder):
    living = ["baby cry", "dog bark", "person sneeze", "rooster"]
    others = ["chainsaw", "clock tick", "fire crackling", "helicopter", "rain", "sea waves"]
    return media(folder, {"sound": "audio", "title": "text"}, living + others, "class")


def openmoji(folder):
    groups = """activities animals-nature extras-openmoji flags food-drink objects people-body
        smileys-emotion symbols travel-places"""
    return media(folder, {"picture": "image", "description": "text"}, groups.split(), "group")


STAND_INS = {
    "rosmap": rosmap,
    "handwritten": handwritten,
    "womens_clothing": womens_clothing,
    "womens_clothing_without_rating": womens_clothing,
    "av_digits": av_digits,
    "av_digits_speakers": av_digits,
    "esc10": esc10,
    "openmoji": openmoji,
}


def shortened(recipe, folder):
    """The recipe with one epoch, one seed and a stand-in for its data; everything else as it is."""
    config = content(recipe)
    given = config["data"]["init_args"]
    name = given.pop("name")
    assert name in STAND_INS, f"{named(recipe)} needs a stand-in for the data set {name!r}"
    stand_in = STAND_INS[name](folder)
    stand_in["init_args"] |= given
    trainer = {"max_epochs": 1, "default_root_dir": str(folder), "enable_progress_bar": False}
    config |= {"data": stand_in, "trainer": config["trainer"] | trainer}
    if "fusions" in config:
        config |= {"seeds": [0], "out": str(folder / "comparison")}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return config, str(path)


def test_the_glob_finds_the_recipes():
    assert len(comparisons()) >= 3
    assert len(single_runs()) >= 3


@pytest.mark.parametrize("recipe", RECIPES, ids=named)
def test_a_recipe_says_how_to_run_it_and_is_kept_away_from_other_recipes(recipe):
    config = content(recipe)
    command = "compare" if "fusions" in config else "fit"
    place = f"experiments/{named(recipe)}"
    assert f"# mmfuse {command} --config {place}\n" in recipe.read_text()
    outs = [content(r).get("out", content(r)["trainer"].get("default_root_dir")) for r in RECIPES]
    assert len(set(outs)) == len(RECIPES)


@pytest.mark.parametrize("recipe", comparisons(), ids=named)
def test_a_comparison_runs_every_fusion_under_every_condition(recipe, tmp_path):
    config, path = shortened(recipe, tmp_path)
    assert main(["compare", "--config", path]) == 0

    table = pd.read_csv(tmp_path / "comparison/table.csv")
    baselines = BASELINES if config.get("baselines", True) else ()
    assert list(dict.fromkeys(table["variant"])) == [*config["fusions"], *baselines]
    honest = table[table["protocol"] == "validation-selected"]
    for _, lines in honest.groupby("variant"):
        assert list(dict.fromkeys(lines["condition"])) == ["complete", *config["conditions"]]
        assert set(config["metrics"]) <= set(lines["metric"])
    header = (tmp_path / "comparison/table.md").read_text().splitlines()[0]
    for metric in config["metrics"]:
        assert metric in header
        if config.get("best_test_epoch"):
            assert f"| best test epoch {metric} |" in header


@pytest.mark.parametrize("recipe", single_runs(), ids=named)
def test_a_single_run_trains_the_recipes_encoders_and_fusion(recipe, tmp_path):
    config, path = shortened(recipe, tmp_path)
    assert main(["fit", "--config", path]) == 0

    model = mmfuse.load(tmp_path / "version_0/checkpoints/best.ckpt")
    wanted = {m: e["class_path"] for m, e in config["model"]["encoders"].items()}
    assert {m: type(e).__name__ for m, e in model.encoders.items()} == wanted
    assert type(model.fusion).__name__ == config["model"]["fusion"]


# Classical models read all of the first, one modality of the second, and nothing of the third.
@pytest.mark.parametrize("name", ["rosmap", "esc10", "av_digits"])
def test_a_recipe_serves_the_robustness_report_of_its_run(name, tmp_path):
    recipe = EXPERIMENTS / name / "config.yaml"
    _, path = shortened(recipe, tmp_path)
    assert main(["fit", "--config", path]) == 0
    words = ["robustness", "--config", path, "--ckpt_path", "best", "--bootstrap", "10"]
    assert main([*words, "--out", str(tmp_path / "report")]) == 0
    assert (tmp_path / "report/report.html").is_file()


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")
@pytest.mark.parametrize("recipe", single_runs(), ids=named)
def test_a_single_run_fits_the_real_data(recipe, tmp_path):
    words = ["fit", "--config", str(recipe), f"--trainer.default_root_dir={tmp_path}"]
    short = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1"]
    assert main([*words, *short, "--trainer.max_epochs=1"]) == 0
    assert (tmp_path / "version_0/checkpoints/best.ckpt").is_file()


@pytest.mark.data
@pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")
@pytest.mark.parametrize("recipe", RECIPES, ids=named)
def test_the_stand_in_has_the_modalities_and_classes_of_the_real_data(recipe, tmp_path):
    config, _ = shortened(recipe, tmp_path)
    real = CatalogueData(content(recipe)["data"]["init_args"]["name"]).spec
    kind = getattr(mmfuse.data, config["data"]["class_path"])
    given = {k: v for k, v in config["data"]["init_args"].items() if "missing" not in k}
    ours = kind(**given).spec
    assert {m: s.kind for m, s in ours.modalities.items()} == {
        m: s.kind for m, s in real.modalities.items()
    }
    assert ours.targets == real.targets
