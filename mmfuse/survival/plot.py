"""Pictures of survival: Kaplan and Meier's curves of groups that a model tells apart by risk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from mmfuse.errors import DataError
from mmfuse.survival.curves import kaplan_meier, log_rank

# From low to high risk; told apart in grey and by the colour-blind too.
_COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#000000")
_Z = 1.959964


def risk_group(risk: ArrayLike, thresholds: ArrayLike) -> NDArray[np.int64]:
    """The group of each row, 0 for the lowest risk: how many thresholds it lies above."""
    return np.searchsorted(np.sort(np.asarray(thresholds, float)), np.asarray(risk), side="left")


def group_names(count: int) -> list[str]:
    """What groups from low to high risk are called.

    Example:
        >>> group_names(2), group_names(3)
        (['lower risk', 'higher risk'], ['low risk', 'middle risk', 'high risk'])
    """
    if count == 3:
        return ["low risk", "middle risk", "high risk"]
    if count == 2:
        return ["lower risk", "higher risk"]
    return [f"risk {k + 1} of {count}" for k in range(count)]


def kaplan_meier_plot(
    time: ArrayLike,
    event: ArrayLike,
    risk: ArrayLike,
    thresholds: ArrayLike | None = None,
    unit: str = "",
) -> Figure:
    """The survival of groups by predicted risk, with the log-rank test between them.

    Bands are 95 % intervals by Greenwood's formula, ticks mark censored rows, and below the
    axis stands how many rows of each group are still under observation.

    Args:
        time: ``(N,)`` until the event, or until the row was last seen.
        event: ``(N,)`` 1 where the event came then, 0 where not.
        risk: ``(N,)`` what a model predicts, such as the column ``<target>_risk`` of
            ``mmfuse.to_frame``.
        thresholds: where the groups part. Take them from training rows, such as their
            median risk or their terciles; None is the median of these rows.
        unit: of the times, for the axis.

    Returns:
        a figure; ``figure.savefig("survival.png")`` writes it.

    Raises:
        DataError: arrays of unequal length.

    Example:
        >>> figure = kaplan_meier_plot([1, 2, 3, 4], [1, 0, 1, 1], [4.0, 3.0, 2.0, 1.0])
        >>> figure.axes[0].get_title(loc="left")
        'log-rank p = 0.317'
    """
    risk = np.asarray(risk, float)
    if risk.shape != np.shape(time):
        raise DataError(f"There are {np.size(time)} times and {risk.size} risks; expected as many.")
    known = np.isfinite(np.asarray(time, float)) & np.isfinite(np.asarray(event, float))
    cuts = [np.median(risk[known])] if thresholds is None else np.atleast_1d(thresholds)
    group, names = risk_group(risk, cuts), group_names(len(cuts) + 1)
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    times, events, group = np.asarray(time)[known], np.asarray(event)[known], group[known]
    for k, name in enumerate(names):
        if (group == k).any():
            here = group == k
            draw_curve(axes, times[here], events[here], f"{name} ({here.sum()})", colour(k))
    axes.set_title(p_in_words(times, events, group), loc="left", fontsize="medium")
    finish(axes, unit)
    _numbers_at_risk(axes, times, group, names)
    return figure


def draw_curve(
    axes: Axes,
    time: ArrayLike,
    event: ArrayLike,
    label: str,
    colour: str,
    style: str = "-",
) -> None:
    """One group's curve with its band and the ticks of its censored rows."""
    time, event = np.asarray(time, float), np.asarray(event, float)
    curve = kaplan_meier(time, event)
    ends = np.concatenate([[0.0], curve.times, [time.max()]])
    level = np.concatenate([[1.0], curve.survival, curve.at([time.max()])])
    half = _Z * np.concatenate([[0.0], curve.deviation, curve.deviation[-1:]])
    half = half if len(half) == len(level) else np.zeros(len(level))  # no event at all
    axes.step(ends, level, where="post", color=colour, linestyle=style, label=label)
    axes.fill_between(
        ends,
        (level - half).clip(0, 1),
        (level + half).clip(0, 1),
        step="post",
        color=colour,
        alpha=0.13,
        linewidth=0,
    )
    censored = time[event == 0]
    axes.plot(censored, curve.at(censored), "|", color=colour, markersize=5, alpha=0.7)


def finish(axes: Axes, unit: str = "") -> None:
    """Axes, limits and legend of a picture of survival."""
    axes.set_ylim(0, 1.02)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"time ({unit})" if unit else "time")
    axes.set_ylabel("without the event")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")


def colour(place: int) -> str:
    """The colour of a group, from low risk to high."""
    return _COLOURS[place % len(_COLOURS)]


def p_in_words(time: ArrayLike, event: ArrayLike, group: ArrayLike) -> str:
    """The p-value of the log-rank test as a title says it."""
    _, p = log_rank(time, event, group)
    if np.isnan(p):
        return "log-rank test undefined: one group, or no event"
    return f"log-rank p = {p:.3f}" if p >= 0.001 else f"log-rank p = {p:.1e}"


def _numbers_at_risk(
    axes: Axes, time: NDArray[np.float64], group: NDArray[np.int64], names: Sequence[str]
) -> None:
    ticks = [t for t in axes.get_xticks() if 0 <= t <= axes.get_xlim()[1]]
    axes.set_xticks(ticks)
    for k in range(len(names)):
        counts = [int((time[group == k] >= t).sum()) for t in ticks]
        below = axes.secondary_xaxis(-0.2 - 0.06 * k)
        below.set_xticks(ticks, [str(count) for count in counts])
        below.spines["bottom"].set_visible(False)
        below.tick_params(length=0, labelsize="small", labelcolor=colour(k))
    axes.figure.supxlabel(f"at risk: {', then '.join(names)}", fontsize="small")
