"""Corruptions: what a model does when its inputs are noisy, blurred, misspelt or half lost.

Each corruption has five severities, after ImageNet-C (Hendrycks and Dietterich, ICLR 2019,
arXiv:1903.12261): one corruption a copy, never several in a row. MultiBench's are not copied, as
they silence sounds that they do not pick, swap cells by copying them, and write in place.

The field's libraries are not used for the steps. imagecorruptions had its last release in 2020,
imagenet-c in 2018, nlpaug in 2022; they draw from global generators, so that a row's corruption
depends on the rows before it. torchvision and torchaudio serve where they draw nothing.
"""

from mmfuse.robustness.corruptions.base import SEVERITIES, Corruption
from mmfuse.robustness.corruptions.cells import (
    CellCorruption,
    CellNoise,
    MissingCells,
    RoundedCells,
    SlippedCells,
    SwappedCells,
    WrongCategories,
)
from mmfuse.robustness.corruptions.draws import Draws
from mmfuse.robustness.corruptions.evaluate import evaluate_corruptions
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
from mmfuse.robustness.corruptions.images import ImageCorruption
from mmfuse.robustness.corruptions.measured import Measured, measure
from mmfuse.robustness.corruptions.measures import effective_robustness
from mmfuse.robustness.corruptions.result import CorruptionResult
from mmfuse.robustness.corruptions.sounds import (
    Clipping,
    Gain,
    Hum,
    LowPass,
    SoundCorruption,
    SoundGaps,
    Speed,
    WhiteNoise,
)
from mmfuse.robustness.corruptions.standard import standard_corruptions
from mmfuse.robustness.corruptions.steps import (
    Drift,
    LostBlock,
    LostChannels,
    LostEntries,
    StepCorruption,
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
    TextCorruption,
)

__all__ = [
    "JPEG",
    "SEVERITIES",
    "Brightness",
    "CellCorruption",
    "CellNoise",
    "Clipping",
    "Contrast",
    "Corruption",
    "CorruptionResult",
    "DefocusBlur",
    "DeletedLetters",
    "Draws",
    "Drift",
    "Gain",
    "GaussianBlur",
    "GaussianNoise",
    "Hum",
    "ImageCorruption",
    "ImpulseNoise",
    "KeyboardTypos",
    "LostBlock",
    "LostChannels",
    "LostEntries",
    "LostWords",
    "LowPass",
    "Measured",
    "MisreadLetters",
    "MissingCells",
    "MotionBlur",
    "Occlusion",
    "Pixelate",
    "RepeatedLetters",
    "Rotation",
    "RoundedCells",
    "ShotNoise",
    "SlippedCells",
    "SoundCorruption",
    "SoundGaps",
    "Speed",
    "StepCorruption",
    "StepNoise",
    "SwappedCase",
    "SwappedCells",
    "SwappedLetters",
    "TextCorruption",
    "TimeWarp",
    "WhiteNoise",
    "WrongCategories",
    "effective_robustness",
    "evaluate_corruptions",
    "measure",
    "standard_corruptions",
]
