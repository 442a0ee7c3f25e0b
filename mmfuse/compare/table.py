"""The table of a study: mean and 95 % interval over seeds, as markdown, CSV and plot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from mmfuse.files import replacing

_ORANGE_BLUE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and half-width of the 95 % Student interval; NaN width below two values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return mean, float(half)


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """One line for each variant, protocol, condition, target and metric.

    Args:
        scores: ``CellStore.read``'s lines.

    Returns:
        columns variant, protocol, condition, target, metric, mean, half_width, seeds,
        parameters, seconds_per_epoch, in the order in which variants were given.
    """
    keys = ["variant", "protocol", "condition", "target", "metric"]
    rows = []
    for key, group in scores.groupby(keys, sort=False):
        mean, half = interval(group["value"].to_numpy(dtype=float))
        facts = {name: group[name].mean() for name in ("parameters", "seconds_per_epoch")}
        rows.append(
            dict(zip(keys, key, strict=True))
            | {"mean": mean, "half_width": half, "seeds": group["seed"].nunique()}
            | facts
        )
    return pd.DataFrame(rows)


def markdown(summary: pd.DataFrame, metrics: list[str] | None = None) -> str:
    """The table a person reads: a line a variant, a column for each condition and metric.

    Args:
        summary: from ``summarise``.
        metrics: metrics to show; the first is shown under every condition, the others for
            the complete data alone. None shows all.
    """
    metrics = metrics or list(dict.fromkeys(summary["metric"]))
    shown = summary[summary["metric"].isin(metrics)]
    only_one = shown["target"].nunique() == 1
    first = shown["condition"].iloc[0]
    columns: list[tuple[str, str, str, str]] = []
    keys = ["protocol", "condition", "target", "metric"]
    found = [tuple(map(str, key)) for key in shown[keys].drop_duplicates().to_numpy()]
    protocols = list(dict.fromkeys(p for p, *_ in found))
    for p, c, t, m in sorted(found, key=lambda k: (protocols.index(k[0]), metrics.index(k[3]))):
        if m == metrics[0] or c == first:
            columns.append((p, c, t, m))
    many = shown["protocol"].nunique() > 1
    headers = [
        " ".join(
            part
            for part in (p if many else "", t if not only_one else "", m, "" if c == first else c)
            if part
        )
        for p, c, t, m in columns
    ]
    lines = [
        "| model | " + " | ".join(headers) + " | parameters | s / epoch |",
        "|---" * (len(headers) + 3) + "|",
    ]
    for variant, group in shown.groupby("variant", sort=False):
        cells = {
            tuple(map(str, key)): _cell(mean, half)
            for key, mean, half in zip(
                group[keys].to_numpy(), group["mean"], group["half_width"], strict=True
            )
        }
        parameters, seconds = group["parameters"].iloc[0], group["seconds_per_epoch"].iloc[0]
        tail = [
            "" if np.isnan(parameters) else f"{parameters:,.0f}",
            "" if np.isnan(seconds) else f"{seconds:.2f}",
        ]
        lines.append(
            "| " + " | ".join([str(variant), *(cells.get(c, "") for c in columns), *tail]) + " |"
        )
    seeds = sorted(set(shown["seeds"]))
    counts = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    lines += ["", f"Mean ± half-width of the 95 % Student interval over {counts} seeds."]
    return "\n".join(lines) + "\n"


def _cell(mean: float, half: float) -> str:
    if np.isnan(mean):
        return "undefined"
    return f"{mean:.3f}" if np.isnan(half) else f"{mean:.3f} ± {half:.3f}"


def plot(summary: pd.DataFrame, metric: str) -> Figure:
    """Each variant's interval of one metric, a colour for each condition."""
    shown = summary[summary["metric"] == metric]
    # A variant's first protocol is the one that looks at the test rows once.
    shown = shown[shown["protocol"] == shown["protocol"].iloc[0]]
    variants = list(dict.fromkeys(shown["variant"]))[::-1]
    conditions = list(dict.fromkeys(shown["condition"]))
    figure = Figure(figsize=(8, 1.2 + 0.32 * len(variants) * max(1, len(conditions) ** 0.5)))
    axes = figure.subplots()
    spread = np.linspace(0.28, -0.28, len(conditions)) if len(conditions) > 1 else [0.0]
    for condition, shift, colour in zip(
        conditions, spread, _ORANGE_BLUE * len(conditions), strict=False
    ):
        rows = shown[shown["condition"] == condition].set_index("variant").reindex(variants)
        axes.errorbar(
            rows["mean"],
            np.arange(len(variants)) + shift,
            xerr=rows["half_width"].fillna(0),
            fmt="o",
            color=colour,
            capsize=2,
            label=condition,
        )
    axes.set_yticks(range(len(variants)), variants)
    axes.set_xlabel(f"{metric} on the test rows, mean and 95 % interval over seeds")
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if len(conditions) > 1:
        axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.tight_layout()
    return figure


def write_tables(summary: pd.DataFrame, folder: Path, metrics: list[str] | None = None) -> str:
    """Writes ``table.md``, ``table.csv`` and ``table.png``; returns the markdown.

    Raises:
        OutputError: the folder cannot be written.
    """
    text = markdown(summary, metrics)
    main = (metrics or list(summary["metric"]))[0]
    figure = plot(summary, main)
    writers = {
        "table.md": lambda p: p.write_text(text),
        "table.csv": lambda p: summary.to_csv(p, index=False),
        "table.png": lambda p: figure.savefig(p, format="png", dpi=150, bbox_inches="tight"),
    }
    for name, write in writers.items():
        with replacing(folder / name) as part:
            write(part)
    return text
