"""Recommenders on the two named sets: presets and baselines, five seeds, test users ranked once.

python experiments/recommend/run.py --data tiktok
python experiments/recommend/run.py --data amazon_baby --presets bpr_mf lightgcn
python experiments/recommend/run.py --setting leaky --presets bpr_mf vbpr

Settings: ``tuned`` for the set by tune.py; ``as it stands`` in presets/; ``leaky``, the tuned one
with negatives that leave out what a user takes in validation and test too, which is wrong. A line
for each seed goes to scores.csv when its run is done; what is there is not run again. The table
goes to table.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from lines import Lines, markdown, shown
from training import HERE, NAMES, preset, trained

from mmfuse.compare.table import interval
from mmfuse.recommend import CatalogueInteractions, RecommendationData
from mmfuse.recommend.baselines import ItemKNN, Popularity, RankingBaseline

SHOWN = (
    "recall_at_10",
    "recall_at_20",
    "ndcg_at_20",
    "cold/recall_at_20",
    "coverage",
    "popularity_lift",
)
#: What tables add to a preset's name.
SETTINGS = {"tuned": "", "as it stands": ", as it stands", "leaky": ", leaking", "baseline": ""}
BASELINES: dict[str, type[RankingBaseline]] = {"popularity": Popularity, "item_knn": ItemKNN}


def standing(name: str, data: RecommendationData) -> dict[str, float]:
    """Test scores of a baseline, which has no seed."""
    train = data.interactions.lists("train")
    found = BASELINES[name](train).evaluate(data.interactions)
    assert found.exposure is not None
    return found.means() | found.exposure.scores(train)


def table(scores: pd.DataFrame) -> str:
    """Mean and half-width of the interval over seeds, a line a model."""
    parts = []
    for name, own in scores.groupby("data", sort=False):
        rows = []
        for (model, setting), runs in own.groupby(["model", "setting"], sort=False):
            cells = [f"{model}{SETTINGS[setting]}", *(shown(runs[c]) for c in SHOWN)]
            took = [runs["epochs"].mean(), runs["cpu seconds an epoch"].mean()]
            rows.append(cells + (["", ""] if model in BASELINES else [f"{t:.3g}" for t in took]))
        parts.append(
            f"## {name}\n\n" + markdown(["model", *SHOWN, "epochs", "CPU s an epoch"], rows)
        )
        if told := leaks(own):
            parts.append(f"Leaking less right negatives, the same seeds, Recall@20: {told}.")
    note = "Mean ± half-width of the 95 % Student interval over seeds; baselines have no seed."
    return "\n\n".join([*parts, note]) + "\n"


def leaks(scores: pd.DataFrame) -> str:
    """For each model how much recall the leak adds, by pairs of runs with one seed."""
    wide = scores.pivot_table("recall_at_20", ["model", "seed"], "setting", sort=False)
    if "leaky" not in wide:
        return ""
    added = (wide["leaky"] - wide["tuned"]).dropna().groupby("model", sort=False)
    found = ((name, interval(values.to_numpy())) for name, values in added)
    return ", ".join(f"{name} {mean:+.4f} ± {half:.4f}" for name, (mean, half) in found)


def main() -> None:
    """Baselines, then every preset over every seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", default=["tiktok"], choices=["tiktok", "amazon_baby"])
    parser.add_argument("--presets", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--setting", choices=list(SETTINGS)[:3], default="tuned")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of scores.csv and table.md")
    given = parser.parse_args()
    lines = Lines(given.out / "scores.csv")
    wanted = [(name, "baseline", -1) for name in BASELINES]
    wanted += [(name, given.setting, seed) for name in given.presets for seed in given.seeds]
    for data in given.data:
        for model, setting, seed in wanted:
            key = {"data": data, "model": model, "setting": setting, "seed": seed}
            if lines.has(key):
                continue
            pairs = RecommendationData(
                CatalogueInteractions(data), seed=max(seed, 0), leaky_negatives=setting == "leaky"
            )
            if model in BASELINES:
                found = standing(model, pairs)
            else:
                content = preset(model, None if setting == "as it stands" else data)
                found = trained(content, pairs, seed, given.epochs)
            lines.add([key | found])
            said = f"{data}: {model} ({setting}), seed {seed}"
            print(f"{said}, recall at 20 {found['recall_at_20']:.4f}", flush=True)
    (given.out / "table.md").write_text(table(lines.frame))
    print(f"Table: {given.out / 'table.md'}")


if __name__ == "__main__":
    main()
