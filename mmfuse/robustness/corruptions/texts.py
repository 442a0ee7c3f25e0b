"""Text corruptions: slips of the hand, misread letters, words that are lost or shouted."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any

import numpy as np

from mmfuse.robustness.corruptions.base import Corruption
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.measured import Measured

_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_WORDS = re.compile(r"\S+")


def _neighbours() -> dict[str, str]:
    """For each letter of an English keyboard the letters around it."""
    place = {c: (r, i + r / 2) for r, row in enumerate(_KEYS) for i, c in enumerate(row)}
    return {
        a: "".join(
            b for b, (s, y) in place.items() if b != a and abs(s - r) <= 1 and abs(y - x) <= 1
        )
        for a, (r, x) in place.items()
    }


NEIGHBOURS = _neighbours()
#: What an optical reader takes a character for.
MISREAD = {
    **{"a": "o", "b": "6", "c": "e", "e": "c", "f": "t", "g": "9", "h": "b", "i": "l", "l": "1"},
    **{"m": "rn", "n": "u", "o": "0", "q": "g", "r": "n", "s": "5", "t": "f", "u": "v", "v": "y"},
    **{"w": "vv", "y": "v", "z": "2", "B": "8", "D": "O", "E": "F", "G": "6", "I": "l", "J": "I"},
    **{"O": "0", "Q": "O", "S": "5", "U": "V", "Z": "2"},
    **{"0": "O", "1": "l", "2": "Z", "5": "S", "6": "G", "8": "B", "9": "g"},
}


class TextCorruption(Corruption):
    """Base of text corruptions: a subclass writes ``text``.

    A text that would lose everything but white space stays as it was.

    Args:
        levels: what the severities 1 to 5 mean; None for the class's defaults.

    Raises:
        ConfigError: levels that do not fit.
    """

    kinds = frozenset({"text"})

    @abstractmethod
    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """One text."""

    def corrupt(self, raw: Any, level: float, draws: Draws, measured: Measured | None) -> Any:
        """Each row by itself."""
        found = [self.text(value, level, draws.generator(i)) for i, value in enumerate(raw)]
        return [new if new.strip() else old for old, new in zip(raw, found, strict=True)]


class KeyboardTypos(TextCorruption):
    """Letters hit beside the key that was meant, on an English keyboard.

    Args:
        levels: the share of the letters for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.

    Reference: Belinkov and Bisk, "Synthetic and Natural Noise Both Break Neural Machine
        Translation", ICLR 2018, arXiv:1711.02173.
    """

    defaults = (0.02, 0.05, 0.1, 0.17, 0.25)
    unit = "share of the letters"

    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """Replaces letters, each by one with its case."""
        struck, which = draw.random((2, len(value)))
        found = []
        for i, c in enumerate(value):
            around = NEIGHBOURS.get(c.lower(), "") if struck[i] < level else ""
            new = around[int(which[i] * len(around))] if around else c
            found.append(new.upper() if around and c.isupper() else new)
        return "".join(found)


class SwappedLetters(TextCorruption):
    """Two letters of a word in the wrong order.

    Args:
        levels: the share of the letters that change places with the next, for the severities 1
            to 5.

    Raises:
        ConfigError: levels that do not fit.

    Reference: Belinkov and Bisk, ICLR 2018, arXiv:1711.02173.
    """

    defaults = (0.02, 0.05, 0.1, 0.17, 0.25)
    unit = "share of the letters"

    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """Swaps pairs that share no letter."""
        struck = draw.random(len(value))
        found, i = list(value), 0
        while i + 1 < len(found):
            if struck[i] < level and found[i].isalpha() and found[i + 1].isalpha():
                found[i], found[i + 1] = found[i + 1], found[i]
                i += 1
            i += 1
        return "".join(found)


class DeletedLetters(TextCorruption):
    """Letters left out, but never the first of a word.

    Args:
        levels: the share of the letters for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (0.02, 0.05, 0.1, 0.17, 0.25)
    unit = "share of the letters"

    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """Leaves them out."""
        struck = draw.random(len(value)) < level
        return "".join(
            c
            for i, c in enumerate(value)
            if not (struck[i] and c.isalpha() and i and value[i - 1].isalpha())
        )


class RepeatedLetters(TextCorruption):
    """Letters typed twice.

    Args:
        levels: the share of the letters for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (0.02, 0.05, 0.1, 0.17, 0.25)
    unit = "share of the letters"

    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """Repeats them."""
        struck = draw.random(len(value)) < level
        return "".join(c * (1 + (struck[i] and c.isalpha())) for i, c in enumerate(value))


class MisreadLetters(TextCorruption):
    """Characters taken for others that look like them, as optical readers do.

    Args:
        levels: the share of the characters that can be misread, for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (0.03, 0.07, 0.15, 0.25, 0.4)
    unit = "share of the characters that look like others"

    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """Replaces them."""
        struck = draw.random(len(value)) < level
        return "".join(MISREAD.get(c, c) if struck[i] else c for i, c in enumerate(value))


class LostWords(TextCorruption):
    """Words left out; one at least stays.

    Args:
        levels: the share of the words for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (0.05, 0.1, 0.2, 0.35, 0.5)
    unit = "share of the words"

    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """Leaves out words with the white space before them."""
        words = list(_WORDS.finditer(value))
        struck = draw.random(len(words))
        if not len(words):
            return value
        struck[struck.argmax()] = 1.0
        found: list[str] = []
        end = 0
        for word, number in zip(words, struck, strict=True):
            if number >= level:
                found.append(value[end if found else word.start() : word.end()])
            end = word.end()
        return "".join(found)


class SwappedCase(TextCorruption):
    """Words in capitals that should not be, and the other way round.

    An encoder that makes everything small first does not see it.

    Args:
        levels: the share of the words for the severities 1 to 5.

    Raises:
        ConfigError: levels that do not fit.
    """

    defaults = (0.1, 0.25, 0.5, 0.75, 1.0)
    unit = "share of the words"

    def text(self, value: str, level: float, draw: np.random.Generator) -> str:
        """Swaps the case of whole words."""
        return _WORDS.sub(lambda w: w[0].swapcase() if draw.random() < level else w[0], value)
