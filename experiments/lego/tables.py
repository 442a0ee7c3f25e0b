"""The tables of the study: each model's scores, and its paired difference from concatenation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from mmfuse.compare.table import interval


def rows_of_table(scores: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Mean and interval of each model, and of its paired difference from concatenation."""
    for (data, metric), own in scores.groupby(["data", "metric"], sort=False):
        wide = own.pivot(index="seed", columns="model", values="value")
        for model in dict.fromkeys(own["model"]):
            mean, half = interval(wide[model].to_numpy())
            gap, gap_half = interval((wide[model] - wide["trained concatenation"]).to_numpy())
            yield {
                "data": data,
                "metric": metric,
                "model": model,
                "mean": mean,
                "half_width": half,
                "minus_concatenation": gap,
                "gap_half_width": gap_half,
                "seeds": len(wide),
                "parameters": own.loc[own["model"] == model, "parameters"].mean(),
            }


def table(summary: pd.DataFrame) -> str:
    """The main metric of every data set, a line a model; blocks alone come first."""
    lines = []
    for data, own in summary.groupby("data", sort=False):
        metrics = list(dict.fromkeys(own["metric"]))
        head = [*metrics, f"{metrics[0]} minus trained concatenation, paired"]
        lines += [
            f"## {data}",
            "",
            f"| model | {' | '.join(head)} |",
            "|---" * (len(head) + 1) + "|",
        ]
        for model, line in own.groupby("model", sort=False):
            line = line.set_index("metric")
            cells = [
                f"{line.loc[m, 'mean']:.3f} ± {line.loc[m, 'half_width']:.3f}" for m in metrics
            ]
            main = line.loc[metrics[0]]
            cells.append(f"{main['minus_concatenation']:+.3f} ± {main['gap_half_width']:.3f}")
            lines.append(f"| {model} | {' | '.join(cells)} |")
        lines.append("")
    seeds = sorted(set(summary["seeds"]))
    told = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    lines.append(f"Mean ± half-width of the 95 % Student interval over {told} seeds or folds.")
    return "\n".join([*lines, ""])
