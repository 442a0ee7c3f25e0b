"""Known ids: the raw id of each code that a recommender knows, and the code of each raw id."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmfuse.errors import DataError, UnknownIdError

#: Ids among which the nearest to an unknown one is looked for; more would take seconds.
_COMPARED = 20_000


class Ids:
    """Raw ids of users or items, whole numbers or texts, by code.

    Args:
        name: what they are of, for errors: ``user`` or ``item``.
        values: ``(n,)``, each once.

    Raises:
        DataError: an id that occurs twice, or that is neither a whole number nor a text.

    Example:
        >>> ids = Ids("user", ["ann", "bob"])
        >>> ids.codes(["bob"]), str(ids.values[0])
        (tensor([1]), 'ann')
    """

    def __init__(self, name: str, values: Any) -> None:
        self.name = name
        found = np.asarray(values)
        if found.dtype.kind == "O" and all(isinstance(v, str) for v in found):
            found = found.astype(str)
        if found.ndim != 1 or (len(found) and found.dtype.kind not in "iuU"):
            raise DataError(
                f"Ids of {name}s are {found.dtype} of shape {found.shape}; expected whole numbers "
                "or texts, one a code."
            )
        self.values = found.astype(np.int64) if found.dtype.kind in "iu" else found.astype(str)
        if not self._index.is_unique:
            twice = self._index[self._index.duplicated()][0]
            raise DataError(f"The {name} {twice!r} has two codes; expected each id once.")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def are_numbers(self) -> bool:
        """Whether they are whole numbers, and not texts."""
        return self.values.dtype.kind == "i"

    @cached_property
    def _index(self) -> pd.Index[Any]:
        return pd.Index(self.values)

    def codes(self, ids: Any) -> Tensor:
        """The code of each id, ``(n,)`` long.

        Args:
            ids: one id, or several.

        Raises:
            UnknownIdError: an id that has no code; with the nearest one, if they are texts.
        """
        wanted = [ids] if isinstance(ids, str | int | np.integer) else ids
        wanted = wanted.tolist() if isinstance(wanted, Tensor) else wanted
        found = torch.from_numpy(self._index.get_indexer(pd.Index(wanted)).astype(np.int64))
        if (found < 0).any():
            self._refuse(list(wanted), found)
        return found

    def _refuse(self, wanted: Sequence[Any], codes: Tensor) -> None:
        unknown = [wanted[i] for i in (codes < 0).nonzero().squeeze(1).tolist()]
        first = unknown[0].item() if isinstance(unknown[0], np.generic) else unknown[0]
        more = f", nor {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise UnknownIdError(f"There is no {self.name} {first!r}{more}. {self._hint(first)}")

    def _hint(self, unknown: Any) -> str:
        if not len(self):
            return f"The model knows no {self.name}."
        if self.are_numbers:
            return (
                f"The {len(self)} {self.name}s that the model knows have whole numbers from "
                f"{self.values.min()} to {self.values.max()}."
            )
        able = self.values[:_COMPARED].tolist()
        nearest = difflib.get_close_matches(str(unknown), able, n=1, cutoff=0.5)
        guess = f"Did you mean {nearest[0]!r}? " if nearest else ""
        return f"{guess}The model knows {len(self)} {self.name}s, such as {able[0]!r}."

    def read(self, words: Sequence[str]) -> list[Any]:
        """Ids that a person wrote, as what ids are here.

        Raises:
            UnknownIdError: a text where ids are whole numbers.
        """
        if not self.are_numbers:
            return list(words)
        try:
            return [int(word) for word in words]
        except ValueError:
            wrong = next(w for w in words if not w.strip().lstrip("-").isdecimal())
            raise UnknownIdError(
                f"There is no {self.name} {wrong!r}. {self._hint(wrong)}"
            ) from None

    def state(self) -> Tensor | list[str]:
        """What a checkpoint keeps of them."""
        return torch.from_numpy(self.values) if self.are_numbers else self.values.tolist()
