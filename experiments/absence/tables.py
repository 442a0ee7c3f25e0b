"""The tables of the study: a leaderboard over sets, and one table a set."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmfuse.compare.table import interval

#: Columns of the table of a set: what is measured, and its title.
_SHOWN = {
    "complete": "complete",
    "area under MCAR": "area under MCAR",
    "worst subset": "worst subset",
    "mcar": "MCAR",
    "imbalanced_mcar": "unequal rates",
    "one_lost": "one lost",
    "block": "block",
    "bursts": "bursts",
    "mar": "MAR",
    "mnar": "MNAR, label",
    "mnar_flipped": "flipped",
    "value_mnar": "MNAR, value",
    "value_mnar_flipped": "value flipped",
}
#: Two methods that differ in one thing, and what that is.
_PAIRS = {
    **{
        f"two stages less one, {title}": (f"{method}, two stages", one)
        for title, method, one in (
            ("no imputer", "dropout .5", "dropout .5"),
            ("ridge", "ridge imputed", "ridge imputed, dropout .5"),
            ("MMIN", "MMIN cascade", "MMIN cascade, dropout .5"),
            ("SMIL", "SMIL mixture", "SMIL mixture, dropout .5"),
        )
    },
    **{
        f"{title} less no imputer, {stages}": (f"{method}, {end}", f"dropout .5{plain}")
        for stages, end, plain in (
            ("one stage", "dropout .5", ""),
            ("two stages", "two stages", ", two stages"),
        )
        for title, method in (
            ("ridge", "ridge imputed"),
            ("MMIN", "MMIN cascade"),
            ("SMIL", "SMIL mixture"),
        )
    },
}
_LEADS = ("complete", "area under MCAR", "worst subset")


def tables(scores: pd.DataFrame) -> str:
    """The leaderboard, then every set."""
    # Seeds of the masks belong to one training, whose score is their mean.
    keys = ["data", "method", "seed", "what"]
    mean = scores.groupby(keys, sort=False)["value"].mean().reset_index()
    parts = [_leaderboard(mean), _differences(mean), _agreement(mean)]
    for name, own in mean.groupby("data", sort=False):
        parts += [f"### {name}", _of_set(own)]
    seeds, masks = scores["seed"].nunique(), scores["mask_seed"].nunique()
    parts.append(
        f"Accuracy on the test rows; mean ± half-width of the 95 % Student interval over {seeds} "
        f"trainings, each under {masks} seeds of the masks."
    )
    return "\n\n".join(parts) + "\n"


def _leaderboard(mean: pd.DataFrame) -> str:
    """Means over sets, and the mean rank by the area, over sets and seeds."""
    area = mean[mean["what"] == "area under MCAR"]
    rank = (
        area.assign(rank=area.groupby(["data", "seed"])["value"].rank(ascending=False))
        .groupby("method")["rank"]
        .mean()
    )
    wide = mean.groupby(["method", "what"])["value"].mean().unstack()
    sets = mean.groupby("method")["data"].nunique()
    order = wide["area under MCAR"].sort_values(ascending=False).index
    header = ["method", *_LEADS, "mean rank by area"]
    lines = [_line(header), "|---" * len(header) + "|"]
    most = sets.max()
    for method in (m for m in order if sets[m] == most):
        cells = [f"{wide.loc[method, what]:.3f}" for what in _LEADS]
        lines.append(_line([method, *cells, f"{rank[method]:.1f}"]))
    return f"Means over {most} sets, best area first:\n\n" + "\n".join(lines)


def _differences(mean: pd.DataFrame) -> str:
    """What two stages and imputers change at dropout .5, paired by seed."""
    area = mean[mean["what"] == "area under MCAR"]
    wide = area.set_index(["data", "method", "seed"])["value"].unstack("method")
    names = list(dict.fromkeys(mean["data"]))
    lines = [_line(["difference", *names]), "|---" * (len(names) + 1) + "|"]
    for title, (one, other) in _PAIRS.items():
        if {one, other} <= set(wide):
            gap = wide[one] - wide[other]
            lines.append(_line([title, *(_signed(gap.loc[name].dropna()) for name in names)]))
    return "Differences of areas at dropout .5, paired by seed:\n\n" + "\n".join(lines)


def _signed(values: pd.Series) -> str:
    if values.empty:
        return ""
    middle, half = interval(values.to_numpy(dtype=float))
    return f"{middle:+.3f}" + (f" ± {half:.3f}" if np.isfinite(half) else "")


def _agreement(mean: pd.DataFrame) -> str:
    """Whether mechanisms order methods alike: Spearman's correlation with the mean over MCAR."""
    wide = mean.groupby(["data", "method", "what"], sort=False)["value"].mean().unstack()
    others = [w for w in _SHOWN if w in wide and w not in ("mcar", "area under MCAR")]
    header = ["set", *(_SHOWN[w] for w in others)]
    lines = [_line(header), "|---" * len(header) + "|"]
    for name in dict.fromkeys(mean["data"]):
        own = wide.loc[name]
        cells = [f"{own['mcar'].corr(own[w], method='spearman'):+.2f}" for w in others]
        lines.append(_line([name, *cells]))
    return "Rank correlation of methods with their score under MCAR:\n\n" + "\n".join(lines)


def _of_set(own: pd.DataFrame) -> str:
    shown = {w: t for w, t in _SHOWN.items() if w in set(own["what"])}
    wide = own.set_index(["method", "what", "seed"])["value"].sort_index()
    lines = [_line(["method", *shown.values()]), "|---" * (len(shown) + 1) + "|"]
    order = (
        own[own["what"] == "area under MCAR"]
        .groupby("method")["value"]
        .mean()
        .sort_values(ascending=False)
        .index
    )
    for method in order:
        cells = []
        for what in shown:
            value = wide.get((method, what))
            if value is None:
                cells.append("")
                continue
            middle, half = interval(value.to_numpy(dtype=float))
            cells.append(f"{middle:.3f}" + (f" ± {half:.3f}" if np.isfinite(half) else ""))
        lines.append(_line([method, *cells]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
