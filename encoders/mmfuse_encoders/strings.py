"""What encoders of texts share: rows that must be strings, and a count of those that were cut."""

from __future__ import annotations

import logging
from typing import Any

from mmfuse.errors import DataError

_log = logging.getLogger(__name__)


def checked(text: Any, row: int, encoder: str) -> str:
    """A row that is a string of whole characters.

    Raises:
        DataError: it is something else, or holds half of a surrogate pair.
    """
    if not isinstance(text, str):
        raise DataError(
            f"{encoder} takes strings, found {type(text).__name__} in row {row}: {text!r:.60}. "
            "Declare another kind, or turn the column into text."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{encoder}: the text in row {row} holds half a character ({error.reason}): "
            f"{text!r:.60}. Mend it, or mark the row absent."
        ) from error
    return text


class CutTexts:
    """Mixin of an encoder that cuts long texts: it counts them, and the first time it says so.

    Attributes:
        texts: how many texts this process has seen.
        texts_cut: how many of them were longer than the encoder takes.
    """

    texts: int = 0
    texts_cut: int = 0

    def _count(self, is_cut: list[bool], longest: int) -> None:
        """Counts a batch of texts, of which some had more than ``longest`` tokens."""
        cut = sum(is_cut)
        if cut and not self.texts_cut:
            _log.warning(
                "%d of %d texts have more than %d tokens and were cut; of later ones, texts_cut "
                "alone tells. Split the texts, or use a model that takes longer ones.",
                cut,
                len(is_cut),
                longest,
            )
        self.texts += len(is_cut)
        self.texts_cut += cut
