"""Two sides measured in alternation, and their ratio with its spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from rich.console import Console
from rich.table import Table


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Wall-clock seconds of one call, the mean of ``repeats`` calls in a row."""
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def compare(
    title: str,
    sides: Mapping[str, Callable[[], float]],
    rounds: int = 7,
    target: str = "",
) -> list[float]:
    """Measures every side once a round and prints times and ratios to the second side.

    Args:
        title: what is measured.
        sides: name and a function that does the work and returns its seconds. The last one
            is the reference: ratios are first / last, one for each round.
        rounds: how often; one more, not counted, warms up.
        target: what the project asks for, printed beside the result.

    Returns:
        the ratios of the first side to the last, one a round.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for counted in range(-1, rounds):
        for name, measure in sides.items():
            value = measure()
            if counted >= 0:
                times[name].append(value)
    *others, reference = sides
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("side", "median ms", "lowest", "highest", "ratio", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name in sides:
        ratios = [a / b for a, b in zip(times[name], times[reference], strict=True)]
        milliseconds = [1000 * t for t in times[name]]
        row = (statistics.median(milliseconds), min(milliseconds), max(milliseconds))
        spread = (statistics.median(ratios), min(ratios), max(ratios))
        table.add_row(name, *(f"{v:.3f}" for v in row), *(f"{r:.2f}" for r in spread))
    console = Console()
    console.print(table)
    if target:
        console.print(f"target: {target}")
    console.print(f"{rounds} rounds, sides in alternation\n")
    return [a / b for a, b in zip(times[others[0]], times[reference], strict=True)]
