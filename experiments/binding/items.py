"""Rows of the study: which items each space is trained on, which are pooled, which test.

Nothing sees both halves of a pair of image and sound: of a row of ``av_digits`` either the image
trains the space of written digits and the sound is pooled, or the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from captions import (
    NATURAL,
    NATURAL_TEST,
    SPOKEN,
    SPOKEN_TEST,
    WRITTEN,
    WRITTEN_TEST,
    digit_captions,
    natural_captions,
)
from PIL import Image

from mmfuse import CatalogueData
from mmfuse.media import Sound
from mmfuse_encoders.waveform import Waveforms

#: The emoji that stands for each kind of sound. There is no chainsaw; an axe is the nearest.
EMOJI = {
    "baby cry": "baby",
    "chainsaw": "axe",
    "clock tick": "mantelpiece clock",
    "dog bark": "dog",
    "fire crackling": "fire",
    "helicopter": "helicopter",
    "person sneeze": "sneezing face",
    "rain": "cloud with rain",
    "rooster": "rooster",
    "sea waves": "water wave",
}
KINDS = tuple(EMOJI)
NO_CLASS = -1


@dataclass(frozen=True)
class Items:
    """Items of one modality.

    Args:
        modality: ``image``, ``sound`` or ``text``.
        rows: the items.
        label: the class of each, 0 to 9 for digits, 10 to 19 for kinds of sound and their
            emoji, -1 for other emoji. Binding never sees it.
    """

    modality: str
    rows: Sequence[Any]
    label: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, chosen: np.ndarray) -> Items:
        """Some of them."""
        return Items(self.modality, [self.rows[i] for i in chosen], self.label[chosen])


@dataclass(frozen=True)
class Rows:
    """Everything that one seed's run reads.

    Args:
        trained: for each space its pairs: items and one caption each.
        pooled: unpaired items that binding reads, by corpus.
        test: items that only the evaluation reads, by corpus.
    """

    trained: dict[str, tuple[Items, list[str]]]
    pooled: dict[str, Items]
    test: dict[str, Items]

    def short(self, share: int) -> Rows:
        """Every so-manieth row, to try the study out."""
        parts = self.pooled, self.test
        pooled, test = ({k: x.part(_thinned(x, share)) for k, x in p.items()} for p in parts)
        trained = {
            k: (x.part(np.arange(0, len(captions), share)), captions[::share])
            for k, (x, captions) in self.trained.items()
        }
        return Rows(trained, pooled, test)


class Source:
    """The three data sets in memory, decoded once for all seeds."""

    def __init__(self) -> None:
        digits = CatalogueData("av_digits")
        columns = digits.dataset("train").columns
        every = np.arange(len(columns["sound"].present))
        label = digits.dataset("train").targets["digit"].numpy()
        pixels = columns["image"].take(every).reshape(-1, 28, 28).astype(np.uint8)
        self.written = Items("image", [Image.fromarray(p) for p in pixels], label)
        self.spoken = Items("sound", [columns["sound"].read(i) for i in every], label)
        self.digits_test = digits.rows("test").numpy()

        clips = CatalogueData("esc10")
        columns = clips.dataset("train").columns
        every = np.arange(len(columns["sound"].present))
        at_16k = Waveforms(16_000, 5.0)
        sounds = [Sound(at_16k([columns["sound"].read(i)]).values.numpy(), 16_000) for i in every]
        names = np.array(clips.spec.targets["class"].classes)
        kind = names[clips.dataset("train").targets["class"].numpy()]
        self.clips = Items("sound", sounds, np.array([10 + KINDS.index(k) for k in kind]))
        self.titles = columns["title"].take(every)
        self.folds = [CatalogueData(f"esc10_fold{k}").rows("test").numpy() for k in range(1, 5)]
        self.folds.append(clips.rows("test").numpy())

        emoji = CatalogueData("openmoji")
        columns = emoji.dataset("train").columns
        every = np.arange(len(columns["picture"].present))
        self.descriptions = columns["description"].take(every)
        name = [text.split(":")[0] for text in self.descriptions]
        label = np.full(len(every), NO_CLASS)
        for k, kind in enumerate(KINDS):
            label[name.index(EMOJI[kind])] = 10 + k
        self.emoji = Items("image", [columns["picture"].read(i) for i in every], label)
        self.emoji_test = emoji.rows("test").numpy()

    def rows(self, seed: int) -> Rows:
        """The rows of a seed's run."""
        draw = np.random.default_rng(seed)
        rest = np.setdiff1d(np.arange(len(self.written)), self.digits_test)
        one, other = np.array_split(draw.permutation(rest), 2)
        fold = self.folds[seed % len(self.folds)]
        heard = np.setdiff1d(np.arange(len(self.clips)), fold)
        stands = np.flatnonzero(self.emoji.label != NO_CLASS)
        unseen = np.setdiff1d(self.emoji_test, stands)
        seen = np.setdiff1d(np.arange(len(self.emoji)), unseen)

        written, spoken = self.written.part(one), self.spoken.part(other)
        clips, emoji = self.clips.part(heard), self.emoji.part(seen)
        say = _captions_of_digits
        titled = [
            f"{draw.choice(NATURAL).format(KINDS[k - 10])}, {self.titles[i]}"
            for i, k in zip(heard, clips.label, strict=True)
        ]
        described = [self.descriptions[i] for i in seen]
        trained = {
            "written": (written, _drawn(WRITTEN, written.label, draw)),
            "spoken": (spoken, _drawn(SPOKEN, spoken.label, draw)),
            "natural": (clips, titled),
            "emoji": (emoji, described),
        }
        pooled = {
            "written_digits": self.written.part(other),
            "spoken_digits": self.spoken.part(one),
            "natural_sounds": clips,
            "emoji_pictures": emoji,
            "written_texts": say(WRITTEN),
            "spoken_texts": say(SPOKEN),
            "natural_texts": _captions_of_kinds(NATURAL, titled, clips.label),
            "emoji_texts": Items("text", described, emoji.label),
        }
        test = {
            "written_digits": self.written.part(self.digits_test),
            "spoken_digits": self.spoken.part(self.digits_test),
            "natural_sounds": self.clips.part(fold),
            "emoji_pictures": self.emoji.part(np.concatenate([stands, unseen])),
            "written_texts": say(WRITTEN_TEST),
            "spoken_texts": say(SPOKEN_TEST),
            "natural_texts": _captions_of_kinds(NATURAL_TEST),
            "emoji_texts": Items(
                "text",
                [self.descriptions[i] for i in (*stands, *unseen)],
                self.emoji.label[[*stands, *unseen]],
            ),
        }
        return Rows(trained, pooled, test)


def _thinned(items: Items, share: int) -> np.ndarray:
    """Some rows of every class that there is."""
    kept = [np.flatnonzero(items.label == c)[::share] for c in np.unique(items.label)]
    return np.sort(np.concatenate(kept))


def _drawn(templates: tuple[str, ...], label: np.ndarray, draw: np.random.Generator) -> list[str]:
    return [str(draw.choice(digit_captions(templates, digit))) for digit in label]


def _captions_of_digits(templates: tuple[str, ...]) -> Items:
    texts = [text for digit in range(10) for text in digit_captions(templates, digit)]
    return Items("text", texts, np.repeat(np.arange(10), len(texts) // 10))


def _captions_of_kinds(
    templates: tuple[str, ...], titled: Sequence[str] = (), label: Sequence[int] = ()
) -> Items:
    texts = [text for kind in KINDS for text in natural_captions(templates, kind)]
    own = np.repeat(np.arange(10, 20), len(templates))
    return Items("text", [*texts, *titled], np.array([*own, *label]))
