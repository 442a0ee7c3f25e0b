"""The ways of training for absence that the study compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmfuse.fusion import imputers
from mmfuse.objectives import (
    CRMTMargin,
    ImputationLoss,
    MaskedModalityLoss,
    Objective,
    PrototypeDistillation,
    PrototypeLoss,
    SupervisedLoss,
    UnimodalLoss,
)

Objectives = Callable[[], list[Objective]]
#: The rate of modality dropout where a method asks for absence in training.
DROPOUT = 0.3
#: The rate where two stages are compared with one: without an imputer it is the better of the two.
MORE = 0.5


def alone() -> list[Objective]:
    """The supervised loss."""
    return [SupervisedLoss()]


def beside(*more: Callable[[], Objective]) -> Objectives:
    """The supervised loss, and others."""
    return lambda: [SupervisedLoss(), *(make() for make in more)]


@dataclass(frozen=True)
class Stage:
    """A fit, which starts from the weights of the one before.

    Args:
        objectives: its losses.
        dropout: its rate of modality dropout.
        frozen: whether encoders keep the weights that they start from.
        share: of the study's epochs, those that it takes.
    """

    objectives: Objectives = alone
    dropout: float = 0.0
    frozen: bool = False
    share: float = 1.0


@dataclass(frozen=True)
class Method:
    """A way of training, and what stands in for the absent at test.

    Args:
        fusion: the fusion, by its name or as class path and arguments.
        stages: the fits, one after the other.
        fill: what an absent modality is at test: declared absent (None), or without a word
            ``zeros`` in the raw input, or the training ``means``.
    """

    fusion: str | Mapping[str, Any]
    stages: Sequence[Stage] = (Stage(),)
    fill: str | None = None


def one(fusion: str | Mapping[str, Any], dropout: float, objectives: Objectives = alone) -> Method:
    """One fit with modality dropout."""
    return Method(fusion, (Stage(objectives, dropout),))


def two(fusion: str | Mapping[str, Any], objectives: Objectives = alone) -> Method:
    """Encoders learn from rows as they are, then all that follows them from dropout at ``MORE``.

    Each stage has half of the epochs.
    """
    return Method(fusion, (Stage(share=0.5), Stage(objectives, MORE, frozen=True, share=0.5)))


def imputed(imputer: str) -> dict[str, Any]:
    """Concatenation over imputed modalities."""
    made = getattr(imputers, imputer)()
    return {"class_path": "ImputedFusion", "init_args": {"imputer": made}}


MMIN = imputed("CascadeImputer"), beside(lambda: ImputationLoss(cycle=1.0))
SMIL = imputed("MixtureImputer"), beside(lambda: ImputationLoss(0.01))

METHODS: dict[str, Method] = {
    "zeros, not told": Method("ConcatFusion", fill="zeros"),
    "means, not told": Method("ConcatFusion", fill="means"),
    "declared absent": Method("ConcatFusion"),
    "unimodal heads": one("ConcatFusion", 0.0, beside(UnimodalLoss)),
    "CRMT margin": one("CRMTFusion", 0.0, beside(CRMTMargin)),
    "CRMT margin, as published": one("CRMTFusion", 0.0, beside(lambda: CRMTMargin(balanced=False))),
    "mean of votes": one("LateMeanFusion", 0.0, beside(UnimodalLoss)),
    "dropout .1": one("ConcatFusion", 0.1),
    "dropout .3": one("ConcatFusion", 0.3),
    "dropout .5": one("ConcatFusion", 0.5),
    "dropout .5, two stages": two("ConcatFusion"),
    "dropout .3, unimodal heads": one("ConcatFusion", 0.3, beside(UnimodalLoss)),
    "transformer, dropout .3": one("TransformerFusion", DROPOUT),
    "mean imputed": one(imputed("MeanImputer"), DROPOUT),
    "prototype imputed": one(imputed("PrototypeImputer"), DROPOUT),
    "ridge imputed": one(imputed("RidgeImputer"), DROPOUT),
    "ridge imputed, dropout .5": one(imputed("RidgeImputer"), MORE),
    "ridge imputed, two stages": two(imputed("RidgeImputer")),
    "kNN imputed": one(imputed("KNNImputer"), DROPOUT),
    "learned placeholder": one(imputed("PlaceholderImputer"), DROPOUT),
    "MMIN cascade": one(MMIN[0], DROPOUT, MMIN[1]),
    "MMIN cascade, dropout .5": one(MMIN[0], MORE, MMIN[1]),
    "MMIN cascade, two stages": two(*MMIN),
    "SMIL mixture": one(SMIL[0], DROPOUT, SMIL[1]),
    "SMIL mixture, dropout .5": one(SMIL[0], MORE, SMIL[1]),
    "SMIL mixture, two stages": two(*SMIL),
    "ShaSpec": one("ShaSpecFusion", DROPOUT),
    "DisPro": Method(
        "DisProFusion",
        (
            Stage(lambda: [SupervisedLoss(weight=0.0), PrototypeLoss()], DROPOUT),
            Stage(beside(PrototypeDistillation), DROPOUT),
        ),
    ),
    "prompts": one("MissingPromptFusion", DROPOUT),
    "masked modality": one("ConcatFusion", DROPOUT, beside(MaskedModalityLoss)),
}

#: Settings that only tune.py asks for.
MORE_SETTINGS: dict[str, Method] = {
    "dropout .7": one("ConcatFusion", 0.7),
    "dropout .5, unimodal heads": one("ConcatFusion", 0.5, beside(UnimodalLoss)),
    "dropout .7, unimodal heads": one("ConcatFusion", 0.7, beside(UnimodalLoss)),
    "ridge imputed, dropout .7": one(imputed("RidgeImputer"), 0.7),
    "CRMT margin, weight .1": one("CRMTFusion", 0.0, beside(lambda: CRMTMargin(0.1))),
    "CRMT margin, weight 1": one("CRMTFusion", 0.0, beside(lambda: CRMTMargin(1.0))),
    "MMIN cascade, weight .1": one(
        MMIN[0], DROPOUT, beside(lambda: ImputationLoss(0.1, cycle=1.0))
    ),
    "ShaSpec, weight 1": one(
        {"class_path": "ShaSpecFusion", "init_args": {"alignment_weight": 1.0}}, DROPOUT
    ),
}

#: Of each family the setting that the study shows, and what else its one knob may be.
FAMILIES: dict[str, tuple[str, ...]] = {
    "dropout": ("dropout .3", "dropout .5", "dropout .7"),
    "unimodal heads": (
        "dropout .3, unimodal heads",
        "dropout .5, unimodal heads",
        "dropout .7, unimodal heads",
    ),
    "ridge": ("ridge imputed", "ridge imputed, dropout .5", "ridge imputed, dropout .7"),
    "CRMT": ("CRMT margin", "CRMT margin, weight 1", "CRMT margin, weight .1"),
    "MMIN": ("MMIN cascade", "MMIN cascade, weight .1"),
    "ShaSpec": ("ShaSpec", "ShaSpec, weight 1"),
}
