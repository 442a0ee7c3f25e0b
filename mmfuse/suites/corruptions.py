"""Corruptions: scores as single modalities, and all of them, are noisy, blurred or misspelt."""

from __future__ import annotations

from mmfuse.data import FusionDataModule
from mmfuse.model import FusionModel
from mmfuse.robustness.corruptions import Corruption, CorruptionResult, evaluate_corruptions
from mmfuse.robustness.corruptions.standard import chosen_corruptions
from mmfuse.suites.base import Setting, Suite


class Corruptions(Suite):
    """Corrupts each modality, and all at once, in ways of its kind and at five severities.

    Args:
        corruptions: for each modality to corrupt a list of them; None for every one that fits its
            kind.
    """

    name = "corruptions"

    def __init__(self, corruptions: dict[str, list[Corruption]] | None = None) -> None:
        self.corruptions = corruptions

    def check(self, model: FusionModel, data: FusionDataModule) -> None:
        """Refuses corruptions that do not fit a modality.

        Raises:
            ConfigError: naming it.
            UnknownModalityError: a modality that the model lacks.
        """
        chosen_corruptions(model.spec, self.corruptions)

    def run(self, setting: Setting) -> CorruptionResult:
        """Scores by modality, corruption and severity."""
        setting.tell("corruptions", len(setting.batches()))
        return evaluate_corruptions(
            setting.model,
            setting.data,
            self.corruptions,
            split=setting.split,
            device=setting.device,
            bootstrap=setting.bootstrap,
            seed=setting.seed,
            progress=lambda done: setting.tell(None, None),
        )
