"""mmfuse recommend: a trained recommender ranks items for users, on the terminal or to a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmfuse.errors import ConfigError
from mmfuse.parser import Parser

if TYPE_CHECKING:  # torch takes its time, which --help need not wait for
    import pandas as pd

    from mmfuse.recommend.known_ids import Ids

_DESCRIPTION = """\
Ranks items for users with a checkpoint of a recommendation task, which holds all that it takes.
Items that a user took in training are left out."""
_ALL = "all"


def _parser() -> Parser:
    parser = Parser("mmfuse recommend", description=_DESCRIPTION)
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="of a trained recommender")
    parser.add_argument("--user", nargs="+", metavar="ID", help="whose items to show")
    parser.add_argument(
        "--users",
        metavar="FILE",
        help="whose items to write: all, or a file with an id a line, or a Parquet or CSV file "
        "with a column user; with --out",
    )
    parser.add_argument("--similar_to", metavar="ID", help="show the items that are like this one")
    parser.add_argument(
        "--to_faiss", metavar="FOLDER", help="write the vectors and an index of faiss there"
    )
    parser.add_argument("--k", type=int, default=10, help="how many items (%(default)s)")
    parser.add_argument("--out", metavar="FILE", help="a Parquet file for --user or --users")
    parser.add_argument("--include_seen", action="store_true", help="what was taken before too")
    parser.add_argument(
        "--explain", action="store_true", help="each modality's share of every score"
    )
    return parser


def run(words: Sequence[str]) -> int:
    """Runs ``mmfuse recommend``.

    Args:
        words: after the command's name.

    Raises:
        MmfuseError: a mistake, in one sentence.
    """
    given = _parser().parse_args(words)
    _check(given)
    from mmfuse.recommend.recommender import Recommender
    from mmfuse.recommend.written import explained, write_recommendations

    recommender = Recommender.load(given.checkpoint)
    if given.to_faiss is not None:
        recommender.to_faiss(given.to_faiss)
        print(f"Vectors and indexes: {given.to_faiss}")
        return 0
    if given.similar_to is not None:
        (item,) = recommender.item_ids.read([given.similar_to])
        found = recommender.similar_items(item, given.k)
        _show(found, f"Items like {given.similar_to} in {given.checkpoint}", "similar")
        return 0
    users = _users(given, recommender.user_ids)
    if given.out is not None:
        lines = write_recommendations(
            recommender, given.out, users, given.k, not given.include_seen, given.explain
        )
        print(f"Recommendations: {given.out}, {lines:,} lines")
        return 0
    found = recommender.recommend(users, given.k, not given.include_seen)
    if given.explain:
        found = explained(recommender, found)
    for word, user in zip(given.user, users or [], strict=True):
        mine = found[found["user"] == user]
        if mine.empty:
            print(f"There is nothing to recommend to {word}, who took every item in training.")
        else:
            _show(mine.drop(columns="user"), f"For {word} from {given.checkpoint}", "item")
    return 0


def _check(given: argparse.Namespace) -> None:
    asked = {"--" + n: getattr(given, n) for n in ("user", "users", "similar_to", "to_faiss")}
    if len(found := [name for name, value in asked.items() if value is not None]) != 1:
        raise ConfigError(
            f"There are {len(found)} of {', '.join(asked)}; expected one of them. For the options: "
            "mmfuse recommend --help"
        )
    options = {"--out": given.out, "--include_seen": given.include_seen, "--explain": given.explain}
    if found[0] not in ("--user", "--users") and (useless := [o for o, v in options.items() if v]):
        raise ConfigError(f"{useless[0]} does nothing with {found[0]}. Leave it out.")
    if given.users is not None and given.out is None:
        raise ConfigError("--users is for many users, whose items go to a file. Give --out FILE.")
    if given.out is not None and not given.out.endswith(".parquet"):
        raise ConfigError(f"--out is {given.out}; expected the name of a Parquet file, *.parquet.")


def _users(given: argparse.Namespace, ids: Ids) -> list[int | str] | None:
    from mmfuse.recommend.written import read_ids

    if given.user is not None:
        return ids.read(given.user)
    return None if given.users == _ALL else read_ids(given.users, ids)


def _show(found: pd.DataFrame, title: str, item: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = ["rank", item, *(c for c in found if c not in ("rank", "item", "similar"))]
    for name in names:
        is_id = name == item
        table.add_column(
            str(name).replace("_", " "), justify="left" if is_id else "right", no_wrap=not is_id
        )
    for line in found[names].to_dict("records"):
        table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in line.values()))
    console = Console()
    console.print(title, markup=False, highlight=False)
    console.print(table)
