"""Written: recommendations for many users in a Parquet file, a block of users at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmfuse.errors import DataError, MissingFileError
from mmfuse.files import replacing
from mmfuse.recommend.known_ids import Ids
from mmfuse.recommend.recommender import USERS_TOGETHER, Recommender


def read_ids(path: str | Path, ids: Ids) -> list[Any]:
    """The users or items that a file names.

    Args:
        path: ``.parquet`` or ``.csv`` with a column of the name of the ids, or else a text with
            one id a line.
        ids: of what kind they are.

    Raises:
        MissingFileError: there is no such file.
        DataError: it cannot be read, or lacks the column.
        UnknownIdError: a text where ids are whole numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"There is no file at {path}. Check the path.")
    if path.suffix not in (".parquet", ".csv"):
        return ids.read([line for line in path.read_text().splitlines() if line])
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (pa.ArrowInvalid, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if ids.name not in table:
        raise DataError(f"{path} has no column {ids.name!r}; it has {list(table)}.")
    return ids.read([str(v) for v in table[ids.name]])


def write_recommendations(
    recommender: Recommender,
    path: str | Path,
    users: Any = None,
    k: int = 10,
    exclude_seen: bool = True,
    explain: bool = False,
    progress: bool = True,
) -> int:
    """Writes the best items of many users, the file whole or not at all.

    Memory holds a block of users at a time.

    Args:
        recommender: what ranks.
        path: a Parquet file, with the columns of ``Recommender.recommend``.
        users: raw ids; None for every user.
        k: how many items each.
        exclude_seen: leave out what the user took in training.
        explain: add a column for each part's share of the score.
        progress: show a bar.

    Returns:
        the number of lines.

    Raises:
        ConfigError: k is below 1, or nothing explains.
        UnknownIdError: a user that the model does not know.
        OutputError: the file cannot be written.
    """
    codes = None if users is None else recommender.user_ids.codes(users)
    total = len(recommender.users) if codes is None else len(codes)
    lines, schema = 0, _schema(recommender, explain)
    with (
        replacing(path) as part,
        _bar(progress) as bar,
        pq.ParquetWriter(part, schema) as writer,
    ):
        task = bar.add_task("Users", total=total)
        for found in recommender.blocks(codes, k, exclude_seen):
            table = explained(recommender, found) if explain else found
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))
            lines += len(found)
            bar.advance(task, USERS_TOGETHER)
        bar.update(task, completed=total)
    return lines


def _schema(recommender: Recommender, explain: bool) -> pa.Schema:
    fields = {
        ids.name: pa.int64() if ids.are_numbers else pa.string()
        for ids in (recommender.user_ids, recommender.item_ids)
    }
    fields |= {"rank": pa.int64(), "score": pa.float32()}
    if explain:
        shares = recommender.explain([], [])  # where nothing explains, says why
        fields |= {str(name): pa.float32() for name in list(shares)[2:]}
    return pa.schema(list(fields.items()))


def _bar(is_shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not is_shown)


def explained(recommender: Recommender, found: pd.DataFrame) -> pd.DataFrame:
    """Recommendations with a column for each part's share of the score.

    Raises:
        ConfigError: nothing explains.
    """
    shares = recommender.explain(found["user"], found["item"])
    return found.assign(**{str(name): shares[name] for name in list(shares)[2:]})
