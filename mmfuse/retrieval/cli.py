"""mmfuse retrieve --features: how well the columns of a folder of features find each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmfuse.parser import Parser

DESCRIPTION = """\
How well the modalities of extracted features find each other: every direction's recall, ranks
and, where there is a target with classes, mean average precision. For a checkpoint and raw data
give --config and --ckpt_path in place of --features; the options: mmfuse retrieve --config
FILE.yaml --help."""


def _parser() -> Parser:
    parser = Parser("mmfuse retrieve", description=DESCRIPTION)
    parser.add_argument("--features", required=True, metavar="FOLDER", help="what extract wrote")
    parser.add_argument(
        "--columns", nargs="+", metavar="NAME", help="the columns (all modalities' vectors)"
    )
    parser.add_argument("--split", default="test", help="train, val, test or all (%(default)s)")
    parser.add_argument("--target", help="whose classes (the first target that has any)")
    parser.add_argument("--ks", type=int, nargs="+", default=[1, 5, 10], help="where to measure")
    parser.add_argument("--out", metavar="FOLDER", help="of the results (FEATURES-retrieval)")
    return parser


def run(words: Sequence[str]) -> int:
    """Runs ``mmfuse retrieve --features``.

    Args:
        words: after the command's name.

    Raises:
        MmfuseError: a mistake, in one sentence.
    """
    given = _parser().parse_args(words)
    # Behind the parser: torch takes its time, which --help need not wait for.
    from mmfuse.retrieval import report
    from mmfuse.retrieval.directions import every_direction
    from mmfuse.retrieval.stored import read_columns

    split = None if given.split == "all" else given.split
    found = read_columns(given.features, given.columns, split, given.target)
    most = len(next(iter(found.present.values())))
    directions = every_direction(
        found.vectors, found.present, found.classes, report.curve_ks(given.ks, most)
    )
    table = report.frame(directions, {})
    folder = Path(given.out or f"{given.features.rstrip('/')}-retrieval")
    report.write(table, folder, f"{given.features}, {given.split} rows")
    report.show(table, given.ks)
    print(f"Retrieval: {folder}/retrieval.csv, {folder}/retrieval.png")
    return 0
