"""The contract of ranking objectives: a model's view of a training batch -> named losses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor

from mmfuse.errors import ConfigError
from mmfuse.objectives.base import Schedule, Term
from mmfuse.recommend.batch import RankingBatch
from mmfuse.recommend.model import RankingOutput, RecommendationModel


class RankingObjective(Term):
    """Base of the terms that look at users, the items they took, and items they did not.

    Args:
        weight: factor of this objective in the sum.
        schedule: how the factor moves over training progress; see ``mmfuse.objectives``.
    """

    #: Whether the objective looks at the items' modalities, which are then encoded.
    reads_content: ClassVar[bool] = False
    #: Whether it looks at those of drawn items too; ``RankingOutput.places`` may else have the
    #: observed ones alone.
    reads_drawn: ClassVar[bool] = True
    #: Whether it compares observed items with drawn ones, of which there must then be one.
    needs_negatives: ClassVar[bool] = True

    def __init__(self, weight: float = 1.0, schedule: Schedule = "constant") -> None:
        super().__init__(weight, schedule)

    def build(self, model: RecommendationModel) -> None:
        """Makes what the objective needs for this model; called once, before training.

        Raises:
            ConfigError: the model cannot serve the objective.
        """

    @abstractmethod
    def forward(
        self, model: RecommendationModel, batch: RankingBatch, output: RankingOutput
    ) -> dict[str, Tensor]:
        """Named scalar losses, before weighting."""


def require_negatives(terms: Iterable[Term], count: int) -> None:
    """Refuses data without negatives where an objective compares with drawn items.

    Args:
        terms: what training lowers the sum of.
        count: items that the data draws for each pair.

    Raises:
        ConfigError: there are none, and a term needs some.
    """
    able = (t for t in terms if isinstance(t, RankingObjective) and t.needs_negatives)
    if not count and (term := next(able, None)) is not None:
        raise ConfigError(
            f"{type(term).__name__} compares the item that a user took with drawn ones, and the "
            "data draws none. Set RecommendationData's negatives to 1 or more, or leave the "
            "objective out."
        )
