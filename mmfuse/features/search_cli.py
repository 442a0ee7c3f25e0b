"""mmfuse search: the rows of extracted features nearest to a text, a file or another row."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from mmfuse.errors import ConfigError
from mmfuse.features.columns import FUSED
from mmfuse.features.feature_index import BACKENDS, FeatureIndex, index
from mmfuse.features.labels import labels_of
from mmfuse.features.neighbours import METRICS, Neighbours
from mmfuse.features.pretrained import share_a_space
from mmfuse.parser import Parser
from mmfuse.store import FeatureFolder

_DESCRIPTION = """\
The rows of extracted features that are nearest to a query. A text, a picture or a sound is
encoded by the encoder that made the features: a pretrained one is found again by what the
features say of it, a trained one needs --ckpt_path."""


def _parser() -> Parser:
    parser = Parser("mmfuse search", description=_DESCRIPTION)
    parser.add_argument("text", nargs="?", help='what to look for, such as "a yellow star"')
    parser.add_argument("--features", required=True, metavar="FOLDER", help="what extract wrote")
    parser.add_argument("--row", type=int, help="look for what is near this row")
    parser.add_argument("--image", metavar="FILE", help="look for what is near this picture")
    parser.add_argument("--sound", metavar="FILE", help="look for what is near this sound")
    parser.add_argument("--column", help="where to look; may be left out if there is one choice")
    parser.add_argument(
        "--by", metavar="MODALITY", help="which modality the query is, if there are several"
    )
    parser.add_argument("--k", type=int, default=10, help="how many rows (%(default)s)")
    parser.add_argument("--backend", default="exact", help=f"{', '.join(BACKENDS)}")
    parser.add_argument("--metric", default="cosine", help=f"{', '.join(METRICS)}")
    parser.add_argument("--ckpt_path", metavar="FILE", help="of the model that made the features")
    return parser


def run(words: Sequence[str]) -> int:
    """Runs ``mmfuse search``.

    Args:
        words: after the command's name.

    Raises:
        MmfuseError: a mistake, in one sentence.
    """
    given = _parser().parse_args(words)
    queries = {"text": given.text, "row": given.row, "image": given.image, "audio": given.sound}
    asked = {kind: value for kind, value in queries.items() if value is not None}
    if len(asked) != 1:
        raise ConfigError(
            f"There are {len(asked)} queries; expected one: a text, --row, --image or --sound."
        )
    ((kind, value),) = asked.items()
    manifest = FeatureFolder(given.features).manifest()
    if kind == "row":
        if given.ckpt_path is not None:
            raise ConfigError("--ckpt_path does nothing for a --row, whose vector is stored.")
        found, column, by = _by_row(given, value)
    else:
        found, column, by = _by_item(given, manifest, kind, value)
    _show(given, found, column, f"row {value}" if kind == "row" else repr(value))
    if not share_a_space(manifest, by, column):
        print(
            f"The encoders of {by!r} and {column!r} are not of one pretrained model: the scores "
            "mean something only if they were trained together."
        )
    return 0


def _by_row(given: argparse.Namespace, row: int) -> tuple[Neighbours, str, str]:
    chosen = _index(given, given.column)
    by = given.by or chosen.vectors.column
    without = by == chosen.vectors.column
    k = _at_most(given.k, len(chosen) - without)
    return chosen.search_rows([row], k, by), chosen.vectors.column, by


def _by_item(
    given: argparse.Namespace, manifest: Mapping[str, Any], kind: str, value: str
) -> tuple[Neighbours, str, str]:
    from mmfuse.features.query import embed, extractor_for  # Lightning takes its time

    by = given.by or _modality(manifest, kind)
    column = _column(manifest, by, given.column)
    extractor = extractor_for(manifest, by, column, given.ckpt_path)
    if (read := extractor.model.spec.modalities[by].kind) != kind:
        raise ConfigError(f"{by!r} is {read}, the query is {kind}. Give another --by.")
    chosen = _index(given, column)
    query = embed(extractor, {by: [value]}, FUSED if column == FUSED else by)
    if query.shape[1] != chosen.vectors.width:
        raise ConfigError(
            f"{by!r} has vectors of width {query.shape[1]}, {column!r} of "
            f"{chosen.vectors.width}: they do not share a space. Give another --column."
        )
    is_within = column == FUSED or by not in manifest["encoders"]
    found = chosen.search(query, _at_most(given.k, len(chosen)))
    return found, column, column if is_within else by


def _index(given: argparse.Namespace, column: str | None) -> FeatureIndex:
    return index(given.features, column, given.backend, given.metric)


def _at_most(k: int, most: int) -> int:
    return k if k < 1 else min(k, max(most, 1))  # a k that means nothing is refused by the search


def _modality(manifest: Mapping[str, Any], kind: str) -> str:
    specs = manifest["model"]["description"]["spec"]["modalities"]
    able = [m for m in manifest["encoders"] if specs[m]["kind"] == kind]
    if len(able) > 1:
        raise ConfigError(f"The features have {', '.join(able)} of {kind}. Choose one with --by.")
    return able[0] if able else kind


def _column(manifest: Mapping[str, Any], by: str, column: str | None) -> str:
    """Where to look: what was said, or else the one other column, or the query's like."""
    able = [c for c in manifest["columns"] if c in manifest["encoders"] or c == FUSED]
    others = [c for c in able if c != by] or able
    if column is None and len(others) == 1:
        return others[0]
    if column is None or column not in able:
        found = "several columns" if column is None else f"no column {column!r}"
        raise ConfigError(
            f"The features have {found} to compare with {by!r}. Choose with --column: "
            f"{', '.join(able) or 'there are none'}."
        )
    return column


def _show(given: argparse.Namespace, found: Neighbours, column: str, query: str) -> None:
    rows = [row for row in found.rows[0].tolist() if row >= 0]
    labels = labels_of(given.features, rows)
    names = [n for n in (labels[0] if labels else {}) if any(told[n] for told in labels)]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("rank", "row", "distance" if given.metric == "l2" else given.metric):
        table.add_column(name, justify="right")
    for name in names:
        table.add_column(name)
    scores = found.scores[0].tolist()
    for rank, (row, score, told) in enumerate(zip(rows, scores, labels, strict=False), start=1):
        table.add_row(str(rank), str(row), f"{score:.4f}", *(told[n] for n in names))
    console = Console()
    console.print(f"Nearest to {query} in {column!r} of {given.features}", markup=False)
    console.print(table)
