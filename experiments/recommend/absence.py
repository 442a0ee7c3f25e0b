"""How rankings fare as items lose modalities, of presets that read them; goes on where it stopped.

python experiments/recommend/absence.py

Each preset is trained as tuned, and again with modality dropout of one half; five training seeds,
and three seeds of the masks. Beside each stand the same weights that are given zeros, or training
means, for what is absent. A line for each condition goes to absence.csv, the table to absence.md,
the curves to absence.png.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from lines import Lines, markdown, shown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from training import HERE, changed, fitted, preset, task_of

from mmfuse.compare.table import interval
from mmfuse.recommend import CatalogueInteractions, RecommendationData
from mmfuse.recommend.restored import restored
from mmfuse.recommend.robustness import item_conditions, ranking_robustness

PRESETS = ("vbpr", "lirdrec")
DROPOUT = {"": 0.0, " with dropout": 0.5}
MASK_SEEDS = (0, 1, 2)
FILLS = {"absent": "-", "zero": ":", "mean": "--"}
SLICES = {
    "all": "All items",
    "cold": "Items without a training interaction",
    "cold_alone": "The same, ranked among themselves",
}
#: Below this, no condition is worth a column.
HARDLY = 0.001


def measured(
    content: dict[str, Any], data: RecommendationData, seed: int, epochs: int
) -> pd.DataFrame:
    """Recall at 20, the mean over masks, a line for each condition, fill and kind of items."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = fitted(task_of(content), data, seed, epochs, folder)
        model = restored(trainer.checkpoint_callback.best_model_path, data)  # type: ignore[union-attr]
    assert model.tower is not None
    found = []
    for masks in MASK_SEEDS:
        conditions = item_conditions(model.tower.modalities, masks)
        if masks != MASK_SEEDS[0]:  # what is not drawn is the same for all
            conditions = [c for c in conditions if c.rate]
        result = ranking_robustness(model, data, conditions, ks=[20], bootstrap=0)
        lines = result.table[result.table["metric"] == "recall_at_20"]
        found.append(lines[lines["slice"].isin(SLICES)])
    about = ["condition", "family", "rate", "fill", "slice"]
    groups = pd.concat(found).groupby(about, sort=False, dropna=False)  # a subset has no rate
    return groups["value"].mean().reset_index()


def table(scores: pd.DataFrame) -> str:
    """Recall at 20 of all items by condition, a column for each model told of absence."""
    wanted = ["complete", "mcar 0.3", "mcar 0.5", "mcar 0.7", "mcar 0.9", "nothing"]
    only = [c for c in scores["condition"].unique() if c.startswith("only") and " + " not in c]
    wanted += only + [c for c in scores["condition"].unique() if "mnar" in c]
    parts = []
    for slice, told in SLICES.items():
        here = scores[scores["slice"] == slice]
        if not len(here):
            continue
        highest = here.groupby(["model", "fill", "condition"])["value"].mean().max()
        if highest < HARDLY:
            parts.append(f"## {told}\n\nAt most {highest:.4f} under any condition.")
            continue
        rows = []
        for (model, fill), own in here.groupby(["model", "fill"], sort=False):
            values = (own.loc[own["condition"] == c, "value"] for c in wanted)
            rows.append([str(model), str(fill), *map(shown, values)])
        parts.append(f"## {told}\n\n" + markdown(["model", "filled with", *wanted], rows))
    return "\n\n".join(parts) + "\n"


def curves(scores: pd.DataFrame) -> Figure:
    """Recall at 20 against the rate missing completely at random: a column a preset, below it that
    of cold items among themselves.
    """
    own = scores[scores["family"].isin(["mcar", "complete"])]
    presets = list(dict.fromkeys(own["preset"]))
    slices = [s for s in ("all", "cold_alone") if (own["slice"] == s).any()]
    figure = Figure(figsize=(5 * len(presets), 3.4 * len(slices)), layout="constrained")
    axes = figure.subplots(len(slices), len(presets), sharex=True, sharey="row", squeeze=False)
    for row, slice in zip(axes, slices, strict=True):
        for axis, name in zip(row, presets, strict=True):
            _panel(axis, own[(own["preset"] == name) & (own["slice"] == slice)])
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_ylim(bottom=0)
        row[0].set_ylabel(f"Recall at 20, {'all' if slice == 'all' else 'cold, alone'}")
    for axis, name in zip(axes[0], presets, strict=True):
        axis.set_title(name)
        axis.legend(fontsize=7, frameon=False, loc="lower left")
    for axis in axes[-1]:
        axis.set_xlabel("share of modalities missing at random")
    return figure


def _panel(axis: Axes, lines: pd.DataFrame) -> None:
    """A curve for each model and fill, with the interval over seeds."""
    for model, colour in zip(lines["model"].unique(), ("#0072B2", "#E69F00"), strict=False):
        for fill, style in FILLS.items():
            here = lines[(lines["model"] == model) & (lines["fill"] == fill)]
            means = here.pivot(index="rate", columns="seed", values="value")
            middle, half = zip(
                *(interval(values.to_numpy()) for _, values in means.iterrows()), strict=True
            )
            label = f"{model}: {'told of absence' if fill == 'absent' else fill}"
            axis.errorbar(
                means.index, middle, half, fmt=style, color=colour, capsize=2, lw=1.3, label=label
            )


def main() -> None:
    """Every preset, with and without dropout, over every seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=list(PRESETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    lines = Lines(given.out / "absence.csv")
    for name in given.presets:
        for after, rate in DROPOUT.items():
            content = changed(preset(name, "tiktok"), {"model.init_args.modality_dropout": rate})
            for seed in given.seeds:
                key = {"preset": name, "model": name + after, "seed": seed}
                if lines.has(key):
                    continue
                data = RecommendationData(CatalogueInteractions("tiktok"), seed=seed)
                found = measured(content, data, seed, given.epochs)
                lines.add([key | line for line in found.to_dict("records")])
                print(f"{name}{after}, seed {seed}", flush=True)
    (given.out / "absence.md").write_text(table(lines.frame))
    curves(lines.frame).savefig(given.out / "absence.png", dpi=120)
    print(f"Table and curves: {given.out / 'absence.md'}, {given.out / 'absence.png'}")


if __name__ == "__main__":
    main()
