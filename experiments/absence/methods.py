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


def alone() -> list[Objective]:
    """The supervised loss."""
    return [SupervisedLoss()]


def beside(*more: Callable[[], Objective]) -> Objectives:
    """The supervised loss, and others."""
    return lambda: [SupervisedLoss(), *(make() for make in more)]


@dataclass(frozen=True)
class Method:
    """A way of training, and what stands in for the absent at test.

    Args:
        fusion: the fusion, by its name or as class path and arguments.
        stages: the objectives of each stage, which starts from the last one's weights.
        dropout: rate of modality dropout in training.
        fill: what an absent modality is at test: declared absent (None), or without a word
            ``zeros`` in the raw input, or the training ``means``.
    """

    fusion: str | Mapping[str, Any]
    stages: Sequence[Objectives] = (alone,)
    dropout: float = 0.0
    fill: str | None = None


def imputed(imputer: str, objectives: Objectives = alone, **options: Any) -> Method:
    """Concatenation over imputed modalities, trained with dropout."""
    made = getattr(imputers, imputer)(**options)
    given = {"class_path": "ImputedFusion", "init_args": {"imputer": made}}
    return Method(given, (objectives,), DROPOUT)


METHODS: dict[str, Method] = {
    "zeros, not told": Method("ConcatFusion", fill="zeros"),
    "means, not told": Method("ConcatFusion", fill="means"),
    "declared absent": Method("ConcatFusion"),
    "unimodal heads": Method("ConcatFusion", (beside(UnimodalLoss),)),
    "CRMT margin": Method("CRMTFusion", (beside(CRMTMargin),)),
    "mean of votes": Method("LateMeanFusion", (beside(UnimodalLoss),)),
    "dropout .1": Method("ConcatFusion", dropout=0.1),
    "dropout .3": Method("ConcatFusion", dropout=0.3),
    "dropout .5": Method("ConcatFusion", dropout=0.5),
    "dropout .3, unimodal heads": Method("ConcatFusion", (beside(UnimodalLoss),), 0.3),
    "transformer, dropout .3": Method("TransformerFusion", dropout=DROPOUT),
    "mean imputed": imputed("MeanImputer"),
    "prototype imputed": imputed("PrototypeImputer"),
    "ridge imputed": imputed("RidgeImputer"),
    "kNN imputed": imputed("KNNImputer"),
    "learned placeholder": imputed("PlaceholderImputer"),
    "MMIN cascade": imputed("CascadeImputer", beside(lambda: ImputationLoss(cycle=1.0))),
    "SMIL mixture": imputed("MixtureImputer", beside(lambda: ImputationLoss(0.01))),
    "ShaSpec": Method("ShaSpecFusion", dropout=DROPOUT),
    "DisPro": Method(
        "DisProFusion",
        (
            lambda: [SupervisedLoss(weight=0.0), PrototypeLoss()],
            beside(PrototypeDistillation),
        ),
        DROPOUT,
    ),
    "prompts": Method("MissingPromptFusion", dropout=DROPOUT),
    "masked modality": Method("ConcatFusion", (beside(MaskedModalityLoss),), DROPOUT),
}
