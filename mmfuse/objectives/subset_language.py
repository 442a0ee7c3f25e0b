"""SubsetLanguageLoss: what any subset of the modalities gives when fused lies close to the text."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, UnknownModalityError
from mmfuse.objectives.base import Objective, Schedule
from mmfuse.objectives.contrastive import Temperature, info_nce, unit
from mmfuse.objectives.pairwise import mean_token
from mmfuse.tokens import Tokens

if TYPE_CHECKING:
    from mmfuse.model import FusionModel, Output


class SubsetLanguageLoss(Objective):
    """Symmetric InfoNCE of a text with the fusion of every subset of the other modalities.

    For each non-empty subset S of the modalities besides the text, with f the fusion of those
    of S that a row has, and P, Q linear maps::

        x = P f(S) / (|P f(S)| + eps),   y = Q t / (|Q t| + eps)
        L = mean_S InfoNCE(x, y; s),   s = exp(t) <= 100

    A row takes part in a subset when it has a text and something of S. The fusion sees the
    subset as a mask of presence: what is outside counts as absent, and the text always does. So
    every subset learns to say what the text says, which a model needs that will miss modalities.

    The fusion runs once for each subset; ``subsets`` bounds how often.

    Args:
        weight: factor in the sum of objectives.
        schedule: how the factor moves over training.
        text: the modality that holds the text; None for the last in fusion order.
        subsets: how many subsets a training step draws; None for all 2^(M - 1) - 1. In
            evaluation it is always all.
        dim: width of the space in which both are compared.
        temperature: 1 / s at the start; it is learned. The authors start at 1.
        norm_eps: eps, added to the length of vectors; the authors take 0.1.

    Raises:
        ConfigError: ``subsets`` or ``dim`` below 1, ``norm_eps`` below 0, a temperature outside
            0.01 to 1, or at ``build``: fewer than two modalities.
        UnknownModalityError: at ``build``, a text that the model does not have.

    Reference: Jones et al., "Beyond Sight: Finetuning Generalist Robot Policies with
        Heterogeneous Sensors via Language Grounding" (FuSe), ICRA 2025, arXiv:2501.04693.

    Departs from the authors' code: the contrast itself runs over subsets, which there is true of
    the generation of sentences alone; one text a row, not one for each subset; no sentence is
    generated; mean tokens in place of attention pooling; the scale has a cap.
    """

    def __init__(
        self,
        weight: float = 1.0,
        schedule: Schedule = "constant",
        text: str | None = None,
        subsets: int | None = None,
        dim: int = 128,
        temperature: float = 1.0,
        norm_eps: float = 0.1,
    ) -> None:
        super().__init__(weight, schedule)
        if min(dim, subsets if subsets is not None else 1) < 1 or not norm_eps >= 0:
            raise ConfigError(
                f"SubsetLanguageLoss: subsets is {subsets}, dim {dim}, norm_eps {norm_eps}; "
                "expected subsets and dim of 1 up, norm_eps of 0 up."
            )
        self.text, self.subsets, self.dim, self.norm_eps = text, subsets, dim, norm_eps
        self.temperature = Temperature(temperature)

    def build(self, model: FusionModel) -> None:
        """Makes the maps into the space where text and fusion meet."""
        known = list(model.modalities)
        self._text = self.text or known[-1]
        if self._text not in known:
            raise UnknownModalityError(f"SubsetLanguageLoss: text is {self.text!r}; of {known}.")
        if len(known) < 2:
            raise ConfigError(
                f"SubsetLanguageLoss compares a text with other modalities; there is {known} alone."
            )
        self.project = nn.Linear(model.fusion.out_dim, self.dim)
        self.project_text = nn.Linear(model.dims[self._text], self.dim)
        others = [i for i, m in enumerate(known) if m != self._text]
        every = list(_subsets(others))
        chosen = torch.zeros(len(every), len(known), dtype=torch.bool)
        for row, subset in zip(chosen, every, strict=True):
            row[list(subset)] = True
        self.register_buffer("_chosen", chosen, persistent=False)

    def forward(
        self, model: FusionModel, batch: Batch, tokens: Mapping[str, Tokens], output: Output
    ) -> dict[str, Tensor]:
        """The one loss, named after the text."""
        present = model.present(batch)
        text, has_text = mean_token(self._text, model, batch, tokens)
        y, scale = unit(self.project_text(text), self.norm_eps), self.temperature()
        losses = []
        for chosen in self._draw():
            there = present & chosen
            vector = model.fuse(tokens, there).vector
            x = unit(self.project(vector), self.norm_eps)
            losses.append(info_nce(x, y, scale, valid=has_text & there.any(dim=1)))
        return {self._text: torch.stack(losses).mean()}

    def _draw(self) -> Tensor:
        chosen: Tensor = self._chosen  # type: ignore[assignment]
        if not self.training or self.subsets is None or self.subsets >= len(chosen):
            return chosen
        return chosen[torch.randperm(len(chosen))[: self.subsets].to(chosen.device)]


def _subsets(members: list[int]) -> Iterator[tuple[int, ...]]:
    sizes = range(1, len(members) + 1)
    return itertools.chain.from_iterable(itertools.combinations(members, n) for n in sizes)
