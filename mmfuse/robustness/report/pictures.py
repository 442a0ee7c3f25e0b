"""The report's pictures for papers and slides: PNG files, in matplotlib."""

from __future__ import annotations

import math
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmfuse.robustness.report import looks
from mmfuse.robustness.report.study import Study
from mmfuse.robustness.report.words import kept_name, metric_name
from mmfuse.survival.plot import colour, draw_curve, finish, group_names, p_in_words

Draw = Callable[[Axes, Study, str], None]
Applies = Callable[[Study, str], bool]


def pictures(study: Study) -> dict[str, bytes]:
    """Each picture that applies, by file name; a panel for each target, one below the other."""
    found = {name: _panels(study, draw, applies) for name, (draw, applies) in PICTURES.items()}
    return {name: _png(figure) for name, figure in found.items() if figure is not None}


def _panels(study: Study, draw: Draw, applies: Applies) -> Figure | None:
    targets = [target for target in study.targets if applies(study, target)]
    if not targets:
        return None
    figure = Figure(figsize=(8, 1), layout="constrained")
    panels = figure.subplots(len(targets), squeeze=False)[:, 0]
    height = 0.0
    for axes, target in zip(panels, targets, strict=True):
        draw(axes, study, target)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        if len(study.targets) > 1:
            axes.set_title(_plain(target), loc="left", fontsize="medium")
        height += 1.2 + max(_label_height(axes), 0.1 * _lines(axes) * (len(study.models) + 1))
    figure.set_size_inches(8, height)
    if len(study.models) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False)
    return figure


def _lines(axes: Axes) -> int:
    return len(axes.get_yticks()) if axes.get_gid() == "named" else 12


def _label_height(axes: Axes) -> float:
    """Inches that the names of lines need."""
    most = max(label.get_text().count("\n") + 1 for label in axes.get_yticklabels())
    return (0.08 + 0.18 * most) * _lines(axes)


def _has_subsets(study: Study, target: str) -> bool:
    return study.scores(target, "subset")["present"].nunique() > 1


def _subsets(axes: Axes, study: Study, target: str) -> None:
    table = study.scores(target, "subset")
    names = looks.ranked_subsets(table)[::-1]
    table = table.assign(condition=table["present"])
    _dots(axes, study, table, names, [kept_name(name) for name in names])
    axes.set_xlabel(_metric(study, target))


def _shifts(axes: Axes, study: Study, target: str) -> None:
    table = study.shifts(target)
    names = list(dict.fromkeys(table["condition"]))
    _dots(axes, study, table, names, names)
    for i, model in enumerate(study.models):
        for value in study.scores(target, "complete", model=model)["value"].dropna():
            axes.axvline(value, color=looks.colour(i), linestyle="--", linewidth=1)
    axes.set_xlabel(f"{_metric(study, target)}; dashes: complete data")


def _calibration(axes: Axes, study: Study, target: str) -> None:
    table = study.scores(target, metric="ece")
    names = looks.shown_conditions(table)
    _dots(axes, study, table, names, names)
    axes.set_xlabel("ECE, lower is better")


def _mcar(axes: Axes, study: Study, target: str) -> None:
    for i, model in enumerate(study.models):
        lines = study.scores(target, "complete", "mcar", model=model).sort_values("rate")
        band = lines.dropna(subset=["low", "high"])
        axes.fill_between(
            band["rate"], band["low"], band["high"], color=looks.colour(i), alpha=0.18, linewidth=0
        )
        axes.plot(lines["rate"], lines["value"], "o-", color=looks.colour(i), label=_plain(model))
    axes.set_xlabel("rate of absence, completely at random")
    axes.set_ylabel(_metric(study, target))


def _importance(axes: Axes, study: Study, target: str) -> None:
    """Shapley values, filled, and the score lost without the modality, hollow."""
    table = study.of_target(study.importance, target)
    names = [m for m in study.modalities if m in set(table["modality"])]
    for i, (model, shift) in enumerate(
        zip(study.models, looks.offsets(len(study.models)), strict=True)
    ):
        lines = table[table["model"] == model]
        place = [names.index(m) - shift for m in lines["modality"]]
        axes.errorbar(
            lines["shapley"],
            place,
            xerr=1.96 * lines["shapley_se"],
            fmt="o",
            color=looks.colour(i),
            capsize=2,
            label=_plain(model),
        )
        axes.plot(lines["leave_one_out"], place, "D", mfc="none", color=looks.colour(i))
    _name_lines(axes, names)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_xlabel(f"{_metric(study, target)}: Shapley value (dot), lost without it (diamond)")


def _steps(axes: Axes, study: Study, target: str) -> None:
    table = study.of_target(study.steps, target)
    for i, model in enumerate(study.models):
        lines = table[table["model"] == model].sort_values("step")
        if len(lines):
            axes.errorbar(
                lines["step"],
                lines["value"],
                yerr=_errors(lines),
                fmt="o-",
                color=looks.colour(i),
                capsize=2,
                label=_plain(model),
            )
    named = table.drop_duplicates("step").sort_values("step")
    labels = [f"{s}: {m or 'start'}" for s, m in zip(named["step"], named["modality"], strict=True)]
    axes.set_xticks(
        named["step"], ["\n".join(map(_plain, looks.wrapped(name, 14))) for name in labels]
    )
    axes.set_ylabel(_metric(study, target))


def _survival(axes: Axes, study: Study, target: str) -> None:
    """A curve for each risk group; several models differ in their colour, groups in their line."""
    every = study.outcomes[study.outcomes["target"] == target]
    several = len(study.models) > 1
    names = group_names(int(every["group"].max()) + 1)
    for i, (model, table) in enumerate(every.groupby("model", sort=False)):
        for k, lines in ((k, table[table["group"] == k]) for k in range(len(names))):
            if lines.empty:
                continue
            draw_curve(
                axes,
                lines["time"],
                lines["event"],
                f"{_plain(str(model))}, {names[k]}" if several else f"{names[k]} ({len(lines)})",
                looks.colour(i) if several else colour(k),
                "--" if several and k else "-",
            )
    finish(axes)
    if not several:
        axes.set_title(
            p_in_words(every["time"], every["event"], every["group"]),
            fontsize="medium",
            loc="right",
        )


def _dots(axes: Axes, study: Study, table: pd.DataFrame, names: list[str], told: list[str]) -> None:
    """A dot with its interval for each line and model, the first line on top."""
    for i, (model, shift) in enumerate(
        zip(study.models, looks.offsets(len(study.models)), strict=True)
    ):
        lines = table[(table["model"] == model) & table["condition"].isin(names)]
        axes.errorbar(
            lines["value"],
            [names.index(c) - shift for c in lines["condition"]],
            xerr=_errors(lines),
            fmt="o",
            markersize=5,
            color=looks.colour(i),
            capsize=2,
            label=_plain(model),
        )
    _name_lines(axes, told)


def _name_lines(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(
        range(len(names)), ["\n".join(map(_plain, looks.wrapped(n, 32))) for n in names]
    )
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_gid("named")


def _errors(lines: pd.DataFrame) -> np.ndarray:
    below = (lines["value"] - lines["low"]).clip(lower=0)
    above = (lines["high"] - lines["value"]).clip(lower=0)
    return np.nan_to_num(np.stack([below, above]).astype(float))


def _metric(study: Study, target: str) -> str:
    return metric_name(study.main_metric(target))


def _plain(text: str) -> str:
    """Matplotlib reads mathematics between dollars, and hides labels that begin with "_"."""
    text = text.replace("$", r"\$")
    return f"\u200b{text}" if text.startswith("_") else text


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_sharpness(figure))
    return buffer.getvalue()


def _sharpness(figure: Figure) -> float:
    # Pictures of many lines stay below what viewers open with ease.
    return min(150.0, math.floor(8000 / figure.get_size_inches()[1]))


#: Every picture: how it is drawn, and for which targets.
PICTURES: dict[str, tuple[Draw, Applies]] = {
    "subsets.png": (_subsets, _has_subsets),
    "mcar.png": (_mcar, lambda s, t: not s.scores(t, "mcar").empty),
    "shifts.png": (_shifts, lambda s, t: not s.shifts(t).empty),
    "importance.png": (_importance, lambda s, t: not s.of_target(s.importance, t).empty),
    "calibration.png": (_calibration, lambda s, t: not s.scores(t, metric="ece").empty),
    "survival.png": (_survival, lambda s, t: bool((s.outcomes["target"] == t).any())),
    "steps.png": (_steps, lambda s, t: not s.of_target(s.steps, t).empty),
}
