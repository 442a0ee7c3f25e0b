"""The report on a terminal: compact tables that fit 80 columns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmfuse.robustness.report.figures import alone
from mmfuse.robustness.report.study import Reportable, Study, gather
from mmfuse.robustness.report.words import change, kept_name, metric_name, number, score_of

_BESIDE = 2  # models beside each other in one table


def print_report(
    results: Reportable | Mapping[str, Reportable],
    baselines: pd.DataFrame | None = None,
    console: Console | None = None,
) -> None:
    """Prints what matters most of a robustness evaluation, for each target.

    The complete score, the worst subset, the area under the MCAR curve, MNAR and its flip,
    then what each modality is worth, then baselines where there are some.

    Args:
        results: one result, or several by name.
        baselines: as ``write_report`` takes them.
        console: where to print; None for standard output.

    Raises:
        ConfigError: no result at all.
        DataError: a column that ``baselines`` lacks.
    """
    study = gather(results, baselines)
    console = console or Console()
    for target in study.targets:
        for start in range(0, len(study.models), _BESIDE):
            console.print(_scores(study, target, study.models[start : start + _BESIDE]))
        for table in (_importance(study, target), _baselines(study, target)):
            if table.row_count:
                console.print(table)


def _scores(study: Study, target: str, models: Sequence[str]) -> Table:
    metric = metric_name(study.main_metric(target))
    table = _table(f"{target}: {metric}", ["", *models])
    one: dict[str, Callable[[str], str]] = {
        "complete": lambda m: _family(study, target, m, "complete"),
        "worst subset": lambda m: _worst(study, target, m),
        "area under MCAR": lambda m: _area(study, target, m),
        "MNAR by label": lambda m: _family(study, target, m, "mnar"),
        "  flipped": lambda m: _family(study, target, m, "mnar_flipped"),
        "MNAR by value": lambda m: _family(study, target, m, "value_mnar"),
        "  flipped ": lambda m: _family(study, target, m, "value_mnar_flipped"),
        "nothing present": lambda m: _family(study, target, m, "empty"),
    }
    for name, told in one.items():
        cells = [told(model) for model in models]
        if any(cells):
            _add(table, [name, *cells])
    return table


def _family(study: Study, target: str, model: str, family: str) -> str:
    lines = study.scores(target, family, model=model)
    return score_of(lines.iloc[0]) if len(lines) else ""


def _worst(study: Study, target: str, model: str) -> str:
    lines = study.scores(target, "subset", model=model).dropna(subset="value")
    if lines.empty:
        return ""
    line = lines.iloc[int(lines["value"].to_numpy(float).argmin())]
    return f"{score_of(line)} {kept_name(line['present'])}"


def _area(study: Study, target: str, model: str) -> str:
    area = study.area(target, model)
    return "" if math.isnan(area) else number(area)


def _importance(study: Study, target: str) -> Table:
    several = len(study.models) > 1
    exact = all(meta["shapley"] == "exact" for meta in study.metas.values())
    header = ["modality", *(["model"] if several else [])]
    header += ["Shapley" if exact else "Shapley ± SE", "lost without it", "alone"]
    table = _table(f"{target}: what each modality is worth", header)
    lines = study.of_target(study.importance, target)
    for modality in study.modalities:
        for _, line in lines[lines["modality"] == modality].iterrows():
            shapley = "undefined" if math.isnan(line["shapley"]) else change(line["shapley"])
            error = "" if exact else f" ± {number(line['shapley_se'])}"
            lost = line["leave_one_out"]
            cells = [shapley + error, "undefined" if math.isnan(lost) else change(lost)]
            _add(
                table,
                [
                    modality,
                    *([line["model"]] if several else []),
                    *cells,
                    number(line["alone"]),
                ],
            )
    return table


def _baselines(study: Study, target: str) -> Table:
    metric = metric_name(study.main_metric(target))
    table = _table(f"{target}: what each modality tells alone", ["modalities", "model", metric])
    for _, line in alone(study, target).iterrows():
        _add(table, [line["condition"], line["model"], score_of(line)])
    return table


def _table(title: str, header: Sequence[str]) -> Table:
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in header:
        table.add_column(Text(name), overflow="fold")
    return table


def _add(table: Table, cells: Sequence[str]) -> None:
    """Names are text: rich reads markup between brackets, and intervals have these too."""
    table.add_row(*map(Text, cells))
