"""The standard corruptions of each kind of input, and what a person names instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.recorded import factory
from mmfuse.robustness.corruptions.base import Corruption
from mmfuse.robustness.corruptions.cells import (
    CellNoise,
    MissingCells,
    RoundedCells,
    SlippedCells,
    SwappedCells,
    WrongCategories,
)
from mmfuse.robustness.corruptions.image_blurs import DefocusBlur, GaussianBlur, MotionBlur
from mmfuse.robustness.corruptions.image_light import (
    JPEG,
    Brightness,
    Contrast,
    Occlusion,
    Pixelate,
    Rotation,
)
from mmfuse.robustness.corruptions.image_noise import GaussianNoise, ImpulseNoise, ShotNoise
from mmfuse.robustness.corruptions.sounds import (
    Clipping,
    Gain,
    Hum,
    LowPass,
    SoundGaps,
    Speed,
    WhiteNoise,
)
from mmfuse.robustness.corruptions.steps import (
    Drift,
    LostBlock,
    LostChannels,
    LostEntries,
    StepNoise,
    TimeWarp,
)
from mmfuse.robustness.corruptions.texts import (
    DeletedLetters,
    KeyboardTypos,
    LostWords,
    MisreadLetters,
    RepeatedLetters,
    SwappedCase,
    SwappedLetters,
)
from mmfuse.spec import DataSpec, ModalitySpec

#: What a person may write for a corruption: itself, its name, or class path and arguments.
Named = Corruption | str | Mapping[str, Any]

_IMAGE: tuple[type[Corruption], ...] = (
    *(GaussianNoise, ShotNoise, ImpulseNoise, GaussianBlur, DefocusBlur, MotionBlur),
    *(Brightness, Contrast, JPEG, Pixelate, Rotation, Occlusion),
)
_SOUND: tuple[type[Corruption], ...] = (
    *(WhiteNoise, Hum, Clipping, Gain, SoundGaps, LowPass, Speed),
)
_TEXT: tuple[type[Corruption], ...] = (
    *(KeyboardTypos, SwappedLetters, DeletedLetters, RepeatedLetters, MisreadLetters),
    *(LostWords, SwappedCase),
)
_CELLS: tuple[type[Corruption], ...] = (
    *(CellNoise, MissingCells, SwappedCells, RoundedCells, SlippedCells, WrongCategories),
)
_STEPS: tuple[type[Corruption], ...] = (
    *(StepNoise, LostEntries, LostBlock, LostChannels, TimeWarp, Drift),
)
#: In the order of the tables.
STANDARD = (*_IMAGE, *_SOUND, *_TEXT, *_CELLS, *_STEPS)


def standard_corruptions(spec: ModalitySpec) -> list[Corruption]:
    """Every corruption of ours that such a modality can have, with its default levels.

    Example:
        >>> [c.name for c in standard_corruptions(ModalitySpec.of(1))]
        ['CellNoise', 'MissingCells', 'RoundedCells', 'SlippedCells']
    """
    made = [cls() for cls in STANDARD]
    return [c for c in made if c.unfit(spec) is None]


def chosen_corruptions(
    spec: DataSpec, given: Mapping[str, Sequence[Named]] | None
) -> dict[str, list[Corruption]]:
    """For each modality what corrupts it; the standard ones of all modalities for None.

    Raises:
        ConfigError: an unknown name, one for another kind of modality, two of one name, or none.
        UnknownModalityError: a modality that the spec lacks.
    """
    if given is None:
        given = {m: standard_corruptions(s) for m, s in spec.modalities.items()}
    if unknown := set(given) - set(spec.modalities):
        raise UnknownModalityError(
            f"Corruptions are given for {sorted(unknown)}; the model has {list(spec.modalities)}."
        )
    found = {m: [_made(c) for c in given[m]] for m in spec.modalities if given.get(m)}
    for m, corruptions in found.items():
        names = [c.name for c in corruptions]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ConfigError(
                f"Modality {m!r}: {twice} is given twice. Tables tell corruptions by their name; "
                "evaluate other levels of the same one by themselves."
            )
        for corruption in corruptions:
            corruption.check(m, spec.modalities[m])
    if not found:
        raise ConfigError("There is no corruption to evaluate. Name some, or leave them out.")
    return found


def _made(value: Named) -> Corruption:
    made = value if isinstance(value, Corruption) else factory(Corruption, value)()
    if not isinstance(made, Corruption):
        raise ConfigError(f"Expected a Corruption, found {made!r}.")
    return made
