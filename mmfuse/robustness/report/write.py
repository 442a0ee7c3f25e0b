"""write_report: the page and the pictures of a robustness evaluation in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from mmfuse.errors import OutputError
from mmfuse.files import replacing
from mmfuse.robustness.report.page import page
from mmfuse.robustness.report.pictures import PICTURES, pictures
from mmfuse.robustness.report.study import Reportable, gather


def write_report(
    results: Reportable | Mapping[str, Reportable],
    folder: str | Path,
    baselines: pd.DataFrame | None = None,
    title: str = "Robustness",
) -> Path:
    """Writes ``report.html``, complete in one file, and PNG pictures of its figures.

    The pictures are ``subsets.png``, ``mcar.png``, ``shifts.png`` (MAR and MNAR),
    ``importance.png``, ``calibration.png``, ``survival.png`` and ``steps.png``, each where it
    applies. All are written beside their places before the first one takes it; pictures of an
    earlier report that no longer apply go.

    Args:
        results: one result, or several by name, to be shown side by side.
        folder: where to write; made if it is not there.
        baselines: simpler models on the same rows: a line each with the columns ``model``
            (its name), ``modalities`` (those it reads, joined by commas, as ``present``
            in ``RobustnessResult.conditions``: "left" or "left,right"), ``target``,
            ``metric``, ``value``, ``low`` and ``high`` (NaN without an interval).
        title: the page's heading.

    Returns:
        the path of ``report.html``.

    Raises:
        OutputError: the folder cannot be written.
        ConfigError: no result at all.
        DataError: a column that ``baselines`` lacks.
    """
    study = gather(results, baselines)
    content = {**pictures(study), "report.html": page(study, title).encode()}
    folder = Path(folder)
    with ExitStack() as stack:
        for name, written in content.items():
            stack.enter_context(replacing(folder / name)).write_bytes(written)
    try:
        for name in set(PICTURES) - set(content):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot remove an old picture from {folder}: {error}.") from error
    return folder / "report.html"
