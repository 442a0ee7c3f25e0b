"""ValidationScore: what one model is worth on the validation rows of a data set."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import torch

from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError, DataError
from mmfuse.model import FusionModel
from mmfuse.robustness import evaluate
from mmfuse.robustness.conditions import complete
from mmfuse.robustness.metrics import HIGHER_IS_BETTER, MAIN_METRIC, metric_names


class ValidationScore:
    """One metric on the validation rows, under the absence that the data simulate there.

    A choice between models belongs on these rows; test rows are for judging what was chosen.

    Args:
        data: with validation rows that trained none of the models.
        metric: a metric of ``mmfuse robustness``; None is the target's main one (accuracy of
            several classes, AUROC of two or of several labels, R2).
        target: which target; None is the first.
        device: where to compute.

    Raises:
        DataError: the data have no validation rows or no target.
        ConfigError: an unknown metric or target, with the nearest match; or no such device.

    Example:
        >>> from mmfuse import ArrayData
        >>> data = ArrayData({"a": [[i, i**2] for i in range(20)]}, ["no", "yes"] * 10)
        >>> score = ValidationScore(data)
        >>> score.metric, score.higher_is_better
        ('auroc', True)
    """

    def __init__(
        self,
        data: FusionDataModule,
        metric: str | None = None,
        target: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not len(data.rows("val")):
            raise DataError(
                "The data have no validation rows to choose by. Give them a share: val=0.2."
            )
        targets = data.spec.targets
        if not targets:
            raise DataError("The data have no target, and so no score to choose by.")
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ConfigError(f"Cannot compute on the device {device!r}: {error}") from error
        self.data, self.device = data, device
        self.target = _known("target", target or next(iter(targets)), targets)
        spec = targets[self.target]
        chosen = metric or MAIN_METRIC[spec.kind]
        self.metric = _known("metric", chosen, metric_names(spec))
        self.higher_is_better = HIGHER_IS_BETTER[self.metric]

    def __call__(self, model: FusionModel) -> float:
        """The model's score.

        Raises:
            DataError, UnknownModalityError: data and model do not fit.
        """
        self.data.adopt(model.spec)
        self.data.attach(model.preprocess)
        found = evaluate(
            model,
            self.data.loader("val"),
            self.data.facts("val"),
            [complete()],
            device=self.device,
            bootstrap=0,
            importance=False,
        ).conditions
        row = found[(found["target"] == self.target) & (found["metric"] == self.metric)]
        return float(row["value"].iloc[0])


def _known(what: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"Unknown {what} {name!r}.{hint} Known: {', '.join(names)}.")
    return name
