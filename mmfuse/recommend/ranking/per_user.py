"""Per user: metrics of single users in a file, and two models compared over the same users."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.files import replacing
from mmfuse.recommend.ranking.evaluation import RankingEvaluation

#: Draws of users that are held at a time, in numbers.
_BLOCK = 2**22


def per_user_table(evaluation: RankingEvaluation, user_ids: Any) -> pd.DataFrame:
    """A line a user: ``user``, each metric, and each slice's metrics as ``<slice>/<metric>``.

    Args:
        evaluation: of the users.
        user_ids: ``(U,)`` the raw id of every code.
    """
    found = dict(evaluation.per_user)
    for name, metrics in evaluation.sliced.items():
        found |= {f"{name}/{metric}": values for metric, values in metrics.items()}
    ids = pd.Series(user_ids).iloc[evaluation.codes.numpy()].reset_index(drop=True)
    return pd.DataFrame({"user": ids, **{n: v.numpy() for n, v in found.items()}})


def write_per_user(evaluation: RankingEvaluation, user_ids: Any, path: str | Path) -> Path:
    """Writes ``per_user_table`` as Parquet, whole or not at all.

    Raises:
        OutputError: the folder cannot be written.
    """
    path = Path(path)
    with replacing(path) as part:
        per_user_table(evaluation, user_ids).to_parquet(part, index=False)
    return path


def compare_users(
    one: str | Path | pd.DataFrame,
    other: str | Path | pd.DataFrame,
    metrics: Sequence[str] | None = None,
    draws: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether one model ranks better than another for users like these: a paired bootstrap.

    Users are drawn with replacement, the same for both models and all metrics. The interval is
    that of the percentiles; p is how often the drawn difference is as far from the one found as
    that is from zero::

        (1 + #{ |d* - d| >= |d| })  over  (draws + 1)

    It speaks of these trained models alone: how much another seed would change is not in it.

    Args:
        one: ``per_user.parquet`` of a model, or the table in it.
        other: of the other, over the same users.
        metrics: the columns to compare; None for all that both have.
        draws: how many times.
        confidence: of the interval, between 0 and 1.
        seed: of the draws.

    Returns:
        a line a metric: ``metric``, the means ``one`` and ``other``, their ``difference`` (one
        less the other), its interval ``low`` and ``high``, ``p``, and ``users``, those who have
        the metric.

    Raises:
        MissingFileError: there is no such file.
        DataError: the users are not the same, one is there twice, or has a metric in one file
            alone.
        ConfigError: a metric that one of them lacks, too few draws, or a confidence of 0 or 1.

    Reference: Sakai, "Evaluating evaluation metrics based on the bootstrap", SIGIR 2006.

    Example:
        >>> one = pd.DataFrame({"user": [1, 2, 3, 4], "recall_at_5": [1.0, 0.5, 1.0, 0.75]})
        >>> other = pd.DataFrame({"user": [4, 3, 2, 1], "recall_at_5": [0.25, 0.5, 0.0, 0.5]})
        >>> line = compare_users(one, other).iloc[0]
        >>> float(line["difference"]), float(line["low"]), float(line["high"])
        (0.5, 0.5, 0.5)
    """
    if draws < 1 or not 0 < confidence < 1:
        raise ConfigError(
            f"draws is {draws} and confidence {confidence}; expected 1 up, and between 0 and 1."
        )
    first, second = _read(one, "first"), _read(other, "second")
    if only := sorted(map(str, set(first.index) ^ set(second.index))):
        raise DataError(
            f"{len(only)} users are in one of the two alone, such as {only[0]}. Evaluate both "
            "models on the same split of the same interactions."
        )
    second = second.loc[first.index]
    shared = [c for c in first if c in second]
    chosen = shared if metrics is None else list(metrics)
    if unknown := [m for m in chosen if m not in shared] or ([] if chosen else ["any"]):
        raise ConfigError(f"There is no {unknown[0]!r} in both; they share {shared}.")
    a, b = (torch.tensor(t[chosen].to_numpy(), dtype=torch.float64) for t in (first, second))
    there = ~a.isnan()
    if (there != ~b.isnan()).any():
        column = (there != ~b.isnan()).any(dim=0).nonzero()[0].item()
        raise DataError(
            f"Some users have {chosen[int(column)]!r} in one of the two alone. Evaluate both "
            "models on the same split of the same interactions."
        )
    difference = (a - b).nan_to_num_(0.0)
    count = there.sum(dim=0).double()
    found = difference.sum(dim=0) / count
    drawn = drawn_means(difference, there.double(), draws, seed)
    tail = (1 - confidence) / 2
    low, high = drawn.nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=0)
    # Differences that agree but for rounding are as far.
    as_far = (drawn - found).abs() >= found.abs() - 1e-12
    p = (1 + as_far.sum(dim=0)) / (draws + 1)
    return pd.DataFrame(
        {
            "metric": chosen,
            "one": a.nanmean(dim=0).numpy(),
            "other": b.nanmean(dim=0).numpy(),
            "difference": found.numpy(),
            "low": low.numpy(),
            "high": high.numpy(),
            "p": p.numpy(),
            "users": count.long().numpy(),
        }
    )


def _read(given: str | Path | pd.DataFrame, which: str) -> pd.DataFrame:
    if isinstance(given, pd.DataFrame):
        table = given
    else:
        if not Path(given).is_file():
            raise MissingFileError(f"There is no file at {given}. Check the path.")
        try:
            table = pd.read_parquet(given)
        except pa.ArrowInvalid as error:
            raise DataError(f"{given} is no Parquet file: {error}.") from error
    if "user" not in table:
        raise DataError(f"The {which} table has no column 'user'; it has {list(table)}.")
    table = table.set_index("user")
    if not table.index.is_unique:
        twice = table.index[table.index.duplicated()][0]
        raise DataError(f"The {which} table has the user {twice} twice.")
    return table


def drawn_means(values: Tensor, there: Tensor, draws: int, seed: int) -> Tensor:
    """Means over users that are drawn with replacement, ``(draws, metrics)``.

    How often each user is drawn makes one product of matrices of all metrics.
    """
    draw = torch.Generator().manual_seed(seed)
    users, found = len(values), []
    for some in torch.arange(draws).split(max(1, _BLOCK // max(1, users))):
        who = torch.randint(users, (len(some), users), generator=draw)
        cells = who + users * torch.arange(len(some)).unsqueeze(1)
        times = torch.bincount(cells.flatten(), minlength=len(some) * users)
        times = times.view(len(some), users).double()
        found.append((times @ values) / (times @ there))
    return torch.cat(found)
