"""Pieces of the page: escaped text, tables, lists and figures as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go


def text(content: object) -> str:
    """Escaped text."""
    return html.escape(str(content))


def bullets(sentences: Iterable[str]) -> str:
    """A list of sentences; nothing for none."""
    items = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table that scrolls inside its own box; the first cell of a line is its heading."""
    return rich_table(header, ([text(cell) for cell in row] for row in rows))


def rich_table(header: Sequence[object], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are HTML already; otherwise as ``table``."""
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in header)
    lines = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td>{cell}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def shown(content: str, label: str) -> str:
    """A picture at a ``data:`` address, curves, or words; nothing for nothing."""
    if content.startswith("data:image/png;base64,"):
        return f'<img src="{text(content)}" alt="{text(label)}">'
    return f"<span>{text(content)}</span>" if content else ""


def plot(figure: go.Figure, label: str) -> str:
    """A figure, drawn by the page's script, under a legend where it has several voices."""
    content = str(figure.to_json()).replace("<", "\\u003c")  # no tag may end the script
    height = int(figure.layout.height)
    return (
        f'<div class="figure" role="img" aria-label="{text(label)}">{_legend(figure)}'
        f'<div class="plot" style="height:{height}px"></div>'
        f'<script type="application/json">{content}</script></div>'
    )


def _legend(figure: go.Figure) -> str:
    # Names in a figure are escaped already: plotly reads them as markup.
    colours = {
        trace.name: trace.marker.color or trace.line.color for trace in figure.data if trace.name
    }
    if len(colours) < 2:
        return ""
    items = "".join(
        f'<li><span class="key" style="background:{colour}"></span>{name}</li>'
        for name, colour in colours.items()
    )
    return f'<ul class="legend">{items}</ul>'


def section(title: str, *parts: str) -> str:
    """A titled section; nothing where it has no content."""
    content = "".join(parts)
    return f"<section><h3>{text(title)}</h3>{content}</section>" if content else ""


def paragraph(content: str) -> str:
    """A paragraph; nothing for nothing."""
    return f"<p>{text(content)}</p>" if content else ""


def side_by_side(*parts: str) -> str:
    """Parts beside each other where there is room, else below."""
    return f'<div class="beside">{"".join(parts)}</div>' if any(parts) else ""


def folded(title: str, content: str) -> str:
    """Content that opens on a click."""
    return f"<details><summary>{text(title)}</summary>{content}</details>"
