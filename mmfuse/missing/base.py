"""The missingness contract: facts about rows -> which modalities stay."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from mmfuse.recorded import Recorded, describe, rebuild


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What a simulator may know of rows.

    Args:
        modalities: the order that the columns follow.
        index: ``(B,)`` long, the row in the data set.
        present: ``(B, M)`` bool, who is there before the simulator.
        group: ``(B,)`` long, the label: the class; for regression 1 above the training
            median and 0 below; for several labels at once 1 where more labels than the
            training median apply; for survival 1 where the event was seen. -1 where unknown.
        value: ``(B, M)`` float in [0, 1], the training quantile of each modality's own
            value (the mean of its standardised numbers; a text's length; a file's size); 0.5
            where absent.
        cluster: ``(B,)`` long, the site, user or speaker of each row (the data's ``groups``), -1
            where unknown; None where the data names none.
    """

    modalities: tuple[str, ...]
    index: Tensor
    present: Tensor
    group: Tensor
    value: Tensor
    cluster: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, index: Tensor) -> RowFacts:
        """The rows that ``index`` (long or bool) selects."""
        return RowFacts(
            self.modalities,
            self.index[index],
            self.present[index],
            self.group[index],
            self.value[index],
            None if self.cluster is None else self.cluster[index],
        )


class Missingness(Recorded, ABC):
    """Base of all simulators: who is absent is a function of the seed and the row alone.

    The same row gets the same mask whatever the batch size, the shuffling, the worker or
    the process that asks. A subclass writes ``keep``.
    """

    @abstractmethod
    def keep(self, facts: RowFacts, epoch: int = 0) -> Tensor:
        """``(B, M)`` bool, False where the modality is taken away.

        Args:
            facts: the rows.
            epoch: for modality dropout, which draws anew every epoch; others ignore it.
        """

    def reseeded(self, seed: int) -> Self:
        """The same simulator with another seed; itself if it draws nothing."""
        if "seed" not in inspect.signature(type(self)).parameters:
            return self
        plain = describe(self)
        arguments = plain["init_args"] | {"seed": seed}
        return rebuild({**plain, "init_args": arguments}, base=Missingness)
