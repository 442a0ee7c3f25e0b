"""Unreadable: rows that could not be read, counted over a run and told once at its end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from mmfuse.batch import Problem

_log = logging.getLogger(__name__)
#: Reasons that are told in full.
_SHOWN = 3


class Unreadable:
    """What could not be read, each row and modality once however often it came by.

    Example:
        >>> unreadable = Unreadable()
        >>> for epoch in range(2):
        ...     unreadable.add([Problem(4, "photo", "4.png is empty.")])
        >>> unreadable.sentence()
        "1 input(s) could not be read and count as absent ('photo': 1): row 4: 4.png is empty."
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, int], Problem] = {}

    def add(self, problems: Iterable[Problem]) -> None:
        """Counts a batch's problems."""
        for problem in problems:
            self._seen.setdefault((problem.modality, problem.row), problem)

    def sentence(self) -> str:
        """How many, of which modalities, and the first reasons; empty if there are none."""
        if not self._seen:
            return ""
        counts = Counter(modality for modality, _ in sorted(self._seen))
        each = ", ".join(f"{m!r}: {n}" for m, n in counts.items())
        first = list(self._seen.values())[:_SHOWN]
        reasons = " ".join(f"row {p.row}: {p.reason}" for p in first)
        return (
            f"{len(self._seen)} input(s) could not be read and count as absent ({each}): {reasons}"
        )

    def tell(self) -> None:
        """Logs the sentence, if there is one, and starts over."""
        if sentence := self.sentence():
            _log.warning(sentence)
        self._seen.clear()
