"""Looks shared by the page's figures and the pictures: colours, wrapped labels, what fits."""

from __future__ import annotations

import textwrap

import pandas as pd

#: Colours of models, after Okabe and Ito, dark and light enough for either background.
COLOURS = ("#2b83c6", "#d97706", "#159a78", "#c95c9c", "#8d6fd1", "#7f8c2a", "#b0554a")
#: Most subsets a figure shows; the page's table has all of them.
MOST = 40
#: With more conditions than this, a figure of all of them leaves the subsets out.
MOST_CONDITIONS = 24


def colour(place: int) -> str:
    """The colour of the model at a place."""
    return COLOURS[place % len(COLOURS)]


def offsets(count: int, spread: float = 0.5) -> list[float]:
    """Where each of several models stands around a line, the first one above.

    Example:
        >>> offsets(1), offsets(3)
        ([0.0], [0.25, 0.0, -0.25])
    """
    if count == 1:
        return [0.0]
    return [spread / 2 - spread * place / (count - 1) for place in range(count)]


def wrapped(text: str, width: int = 22) -> list[str]:
    """The text in lines of about a width, three at most.

    Example:
        >>> wrapped("mar 0.3 by electrocardiogram")
        ['mar 0.3 by', 'electrocardiogram']
    """
    return textwrap.wrap(text, width, max_lines=3, placeholder=" …") or [""]


def ranked_subsets(scores: pd.DataFrame) -> list[str]:
    """The subsets from worst to best by their mean over models, at most ``MOST``.

    Of more subsets the worst and the best are kept.

    Args:
        scores: lines of family ``subset``.
    """
    mean = scores.groupby("present", sort=False)["value"].mean()
    names = [str(name) for name in mean.sort_values(na_position="first", kind="stable").index]
    if len(names) <= MOST:
        return names
    return names[: MOST // 2] + names[-(MOST - MOST // 2) :]


def shown_conditions(scores: pd.DataFrame) -> list[str]:
    """The conditions a figure has room for: subsets are left out where they are too many."""
    names = list(dict.fromkeys(scores["condition"]))
    if len(names) > MOST_CONDITIONS:
        names = list(dict.fromkeys(scores[scores["family"] != "subset"]["condition"]))
    return names
