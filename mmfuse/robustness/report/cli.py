"""mmfuse report: the studies of several models on one page, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmfuse.errors import ConfigError
from mmfuse.files import require_writable
from mmfuse.parser import Parser
from mmfuse.robustness.findings import Findings
from mmfuse.robustness.report.terminal import print_report
from mmfuse.robustness.report.write import write_report

_DESCRIPTION = """\
Shows what `mmfuse robustness` found of one or several models on one page, side by side. The
models must have been evaluated on the same rows. A model is called by its folder's name, or by
what stands before an equals sign: dropout=runs/dropout/robustness."""


def _parser() -> Parser:
    parser = Parser("mmfuse report", description=_DESCRIPTION)
    parser.add_argument("folders", nargs="+", metavar="[NAME=]FOLDER", help="what robustness wrote")
    parser.add_argument("--out", default="report", help="folder of the page (%(default)s)")
    parser.add_argument(
        "--title", default="Robustness of several models", help="the page's heading (%(default)s)"
    )
    return parser


def run(words: Sequence[str]) -> int:
    """Runs ``mmfuse report``.

    Args:
        words: after the command's name.

    Raises:
        MmfuseError: a mistake, in one sentence.
    """
    given = _parser().parse_args(words)
    findings = {name: Findings.load(path) for name, path in named(given.folders).items()}
    require_same_rows(findings)
    require_writable(given.out)
    page = write_report(findings, given.out, title=given.title)
    print_report(findings)
    print(f"Report: {page}")
    return 0


def named(folders: Sequence[str]) -> dict[str, Path]:
    """Each model's name and folder.

    Raises:
        ConfigError: two models of one name.

    Example:
        >>> list(named(["runs/a/robustness", "runs/b/robustness", "c=runs/other"]))
        ['a', 'b', 'c']
    """
    found: dict[str, Path] = {}
    for word in folders:
        name, equals, rest = word.partition("=")
        path = Path(rest if equals else word)
        parts = [part for part in path.parts if part not in ("robustness", "..", "/")]
        name = name if equals else (parts or ["model"])[-1]
        if not name or name in found:
            raise ConfigError(
                f"{word!r} would be called {name!r}, as another model is. Write NAME={path}."
            )
        found[name] = path
    return found


def require_same_rows(findings: dict[str, Findings]) -> None:
    """Refuses studies of different rows or targets, whose scores do not compare.

    Raises:
        ConfigError: naming the models.
    """
    rows = {
        name: frozenset(found.absence.predictions["row"].unique())
        for name, found in findings.items()
    }
    (first, known), *others = rows.items()
    strange = [name for name, found in others if found != known]
    if strange:
        raise ConfigError(
            f"{', '.join(strange)}: other rows were evaluated than of {first} "
            f"({', '.join(f'{n} {len(r):,}' for n, r in rows.items())} rows). Run robustness on "
            "the same split of the same data for all."
        )
