"""The fusion module inside a preset, everything else the same; goes on where it stopped.

python experiments/recommend/ablation.py --preset vbpr

Encoders are linear maps to 64, so that every fusion takes what they give. The other settings are
the preset's as tuned with its own fusion, and are not tuned again. A line for each run goes to
ablation.csv, the table to ablation.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from lines import Lines, markdown, shown
from training import HERE, changed, preset, trained

from mmfuse.recommend import CatalogueInteractions, RecommendationData

LINEAR = {"*": {"class_path": "LinearEncoder", "init_args": {"out_dim": 64}}}
FUSIONS: dict[str, dict[str, Any]] = {
    "MeanFusion": {"out_dim": 64},
    "ConcatFusion": {"out_dim": 64, "hidden": 0},
    "GatedFusion": {"out_dim": 64},
    "SequentialFusion": {"out_dim": 64},
    "LowRankTensorFusion": {"out_dim": 64},
    "TransformerFusion": {"out_dim": 64, "hidden": 128, "layers": 1},
    "ProgressiveWeightFusion": {"out_dim": 64},
}
SHOWN = ("val_recall_at_20", "recall_at_20", "ndcg_at_20", "cold/recall_at_20", "coverage")


def with_fusion(content: dict[str, Any], name: str) -> dict[str, Any]:
    """The preset with another fusion, over encoders that any fusion can follow."""
    fusion = {"class_path": name, "init_args": FUSIONS[name]}
    places = {"model.init_args.encoders": LINEAR, "model.init_args.fusion": fusion}
    return changed(content, places)


def main() -> None:
    """Every fusion over every seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="tiktok", choices=["tiktok"])
    parser.add_argument("--preset", default="vbpr")
    parser.add_argument("--fusions", nargs="+", default=list(FUSIONS), choices=FUSIONS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--epochs", type=int, default=200, help="at most")
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    lines = Lines(given.out / "ablation.csv")
    content = preset(given.preset, given.data)
    for name in given.fusions:
        for seed in given.seeds:
            key = {"data": given.data, "preset": given.preset, "fusion": name, "seed": seed}
            if lines.has(key):
                continue
            data = RecommendationData(CatalogueInteractions(given.data), seed=seed)
            found = trained(with_fusion(content, name), data, seed, given.epochs)
            lines.add([key | found])
            print(f"{name}, seed {seed}, recall at 20 {found['recall_at_20']:.4f}", flush=True)
    (given.out / "ablation.md").write_text(table(lines.frame))
    print(f"Table: {given.out / 'ablation.md'}")


def table(scores: pd.DataFrame) -> str:
    """Mean and half-width of the interval over seeds, a line a fusion."""
    parts = []
    for (data, name), own in scores.groupby(["data", "preset"], sort=False):
        rows = [
            [
                str(fusion),
                *(shown(runs[c]) for c in SHOWN),
                f"{runs['cpu seconds an epoch'].mean():.3g}",
            ]
            for fusion, runs in own.groupby("fusion", sort=False)
        ]
        parts.append(
            f"## {name} on {data}\n\n" + markdown(["fusion", *SHOWN, "CPU s an epoch"], rows)
        )
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
