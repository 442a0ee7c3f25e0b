"""Texts of the study: what is said of digits and of sounds, and what only the test says.

A space's captions differ in wording from every other space's; the word for a class is all that
they have in common. The test's phrases occur in no caption.
"""

from __future__ import annotations

import itertools

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUMERALS = tuple("0123456789")

WRITTEN = (
    "a photo of the digit {}",
    "a handwritten {}",
    "the number {} written by hand",
    "an image of a {}",
    "{} in white ink on black",
    "a scan of the numeral {}",
)
SPOKEN = (
    "someone says {}",
    "a recording of the word {}",
    "the spoken digit {}",
    "a voice saying {}",
    "{} said aloud",
    "a person speaks the number {}",
)
NATURAL = ("the sound of {}", "{} heard outside", "a field recording of {}", "noise of {}")

# Of the test alone.
WRITTEN_TEST = ("a picture of the figure {}", "somebody wrote down {}")
SPOKEN_TEST = ("a clip in which {} is spoken", "audio of a speaker who utters {}")
NATURAL_TEST = ("one can hear {}", "an audio clip of {}")


def digit_captions(templates: tuple[str, ...], digit: int) -> list[str]:
    """Every template with the digit as a word and as a numeral."""
    words = (DIGITS[digit], NUMERALS[digit])
    return [t.format(w) for t, w in itertools.product(templates, words)]


def natural_captions(templates: tuple[str, ...], name: str) -> list[str]:
    """Every template with a kind of sound, such as ``dog bark``."""
    return [t.format(name) for t in templates]
