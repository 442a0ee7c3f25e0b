"""Reading: raw values of present rows -> what an encoder takes, and which rows it cannot have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmfuse.batch import RawInput
from mmfuse.data.columns import Objects
from mmfuse.data.media import MediaColumn
from mmfuse.errors import DataError
from mmfuse.tokens import Tokens

Preprocess = Callable[[Any], RawInput]
#: What is wrong with which rows, by their place among those that were asked for.
Bad = dict[int, str]


def objects(column: Objects, rows: np.ndarray) -> tuple[list[Any], Bad]:
    """The objects of present rows, those that cannot be decoded left out."""
    if not isinstance(column, MediaColumn):
        return column.take(rows), {}
    found, bad = [], {}
    for i, row in enumerate(rows.tolist()):
        try:
            found.append(column.read(row))
        except DataError as error:
            bad[i] = str(error)
    return found, bad


def prepared(prepare: Preprocess, raw: Any) -> tuple[RawInput | None, Bad]:
    """What an encoder's ``preprocess`` makes of the rows that it can use; None if of none.

    Rows are tried one by one only when it refuses the batch; what it then makes of the others
    together is what it would have made of a batch without the bad ones.

    Raises:
        DataError: it refuses the batch, but none of its rows.
    """
    try:
        return prepare(raw), {}
    except DataError:
        bad: Bad = {}
        for i in range(len(raw)):
            try:
                prepare(pick(raw, [i]))
            except DataError as error:
                bad[i] = str(error)
        if not bad:
            raise
    good = [i for i in range(len(raw)) if i not in bad]
    return (prepare(pick(raw, good)) if good else None), bad


def pick(raw: Any, rows: Sequence[int] | Tensor) -> Any:
    """Some rows of raw values, whatever they are."""
    if isinstance(raw, list):
        return [raw[i] for i in rows]
    index = torch.as_tensor(rows)
    return raw.rows(index) if isinstance(raw, Tokens) else raw[index]


def spread(made: RawInput, rows: Tensor, size: int) -> RawInput:
    """Rows in their places of a batch of ``size``, blanks elsewhere."""
    if len(rows) == size:
        return made
    if isinstance(made, Tokens):
        return made.scatter(rows, size)
    return made.new_zeros(size, *made.shape[1:]).index_copy(0, rows, made)
