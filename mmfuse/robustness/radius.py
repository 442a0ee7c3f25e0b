"""Radii: how far an attack must at least reach to change what a model says of a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.attacks.strike import class_target
from mmfuse.robustness.attacks.threat import On
from mmfuse.robustness.passes import evaluating
from mmfuse.robustness.steepness import estimated_steepness, proven_steepness


@dataclass(frozen=True)
class Radii:
    """Each row's radius, for an attack on one modality and on all together.

    Args:
        table: one line for each row and set of attacked modalities: ``row``, ``label`` (-1 where
            unknown), ``predicted``, ``attacked`` and ``radius``, the l2 length below which no
            attack changes the prediction; infinity where the row has none of the modalities.
        kind: ``certified``, which no attack can break, or ``estimated``, which one may.
        target: whose classes.
        on: what attacks move, ``inputs`` or ``tokens``.
    """

    table: pd.DataFrame
    kind: str
    target: str
    on: str

    def accuracy(self, budget: float, attacked: str) -> float:
        """The share of labelled rows that are right and whose radius is above ``budget``.

        No attack leaves less accuracy than that where the radius is certified.

        Raises:
            ConfigError: a set of modalities that has no radius.
        """
        mine = self.table[(self.table["attacked"] == attacked) & (self.table["label"] >= 0)]
        if not len(mine):
            known = list(dict.fromkeys(self.table["attacked"]))
            raise ConfigError(f"There are no radii for {attacked!r}; there are for {known}.")
        return float(((mine["label"] == mine["predicted"]) & (mine["radius"] > budget)).mean())


def radii(
    model: FusionModel,
    batches: Iterable[Batch],
    target: str | None = None,
    estimate_on: Iterable[Batch] | None = None,
    on: On = "inputs",
) -> Radii:
    """The radius of each row, certified if it can be, or estimated if that is asked for.

    With h the scores, y the predicted class and c^(m)_yj a bound on how fast h_y - h_j changes
    with modality m, in l2, inputs being measured as the encoder reads them::

        joint:    r   = min_{j != y} (h_y - h_j) / sqrt( sum_{m present} (c^(m)_yj)^2 )
        m alone:  r_m = min_{j != y} (h_y - h_j) / c^(m)_yj

    Certified bounds are products of the encoder's proven Lipschitz bound and the class rows.
    Estimated ones are the largest gradients among ``estimate_on``; they promise nothing.

    Args:
        model: for certified radii, of ``CRMTFusion`` and encoders with a proven bound; for
            estimated ones any.
        batches: the rows.
        target: which of the model's targets; None where one alone has classes.
        estimate_on: rows to estimate from, best the training rows; None certifies.
        on: what is attacked, ``inputs`` or ``tokens``.

    Raises:
        ConfigError: no target with classes, or nothing to certify with, naming what lacks a bound.
        DataError: no rows.

    Reference: Yang, Wei et al., "Quantifying and Enhancing Multi-modal Robustness with Modality
        Preference", ICLR 2024, arXiv:2402.06244.

    Departs from the authors' code: the minimum is over all other classes, not the runner-up
    alone; the bound is that of the difference of two scores, where theirs adds two bounds which
    hold the weights already and multiplies them in again; gradients of one modality never pile
    up on another's.
    """
    target = class_target(model, target)
    with evaluating(model), torch.no_grad():
        if estimate_on is None:
            steep = proven_steepness(model, target, on)
        else:
            steep = estimated_steepness(model, estimate_on, target, on)
        parts = [_one_batch(model, b, target, steep) for b in batches]
    if not parts:
        raise DataError("There are no rows to find radii of: the loader gave no batch.")
    kind = "certified" if estimate_on is None else "estimated"
    return Radii(pd.concat(parts, ignore_index=True), kind, target, on)


def _one_batch(model: FusionModel, batch: Batch, target: str, steep: Tensor) -> pd.DataFrame:
    present = model.present(batch)
    scores = model.spec.targets[target].class_scores(model(batch).logits[target])
    predicted = scores.argmax(dim=1)
    label = torch.full_like(predicted, -1)
    if batch.target is not None:
        label = targets_of(batch, model)[target]
    names = model.modalities
    sets = [(m, torch.tensor([n == m for n in names])) for m in names]
    if len(names) > 1:
        sets.append((" + ".join(names), torch.ones(len(names), dtype=torch.bool)))
    lines = []
    for attacked, some in sets:
        there = present & some.to(present.device)
        radius = smallest_radius(scores, predicted, steep.square(), there)
        lines.append(
            pd.DataFrame(
                {
                    "row": batch.index.cpu().numpy(),
                    "label": label.cpu().numpy(),
                    "predicted": predicted.cpu().numpy(),
                    "attacked": attacked,
                    "radius": radius.cpu().numpy().astype(np.float64),
                }
            )
        )
    return pd.concat(lines, ignore_index=True)


def smallest_radius(scores: Tensor, label: Tensor, squared: Tensor, present: Tensor) -> Tensor:
    """The radius around each row of its class ``label``, negative where another one is ahead.

    Args:
        scores: ``(B, K)``.
        label: ``(B,)`` class numbers.
        squared: ``(M, K, K)`` the square of each bound c.
        present: ``(B, M)`` bool, the modalities that an attack can move.

    Returns:
        ``(B,)``, infinity where nothing can be moved.
    """
    gap = scores.gather(1, label.unsqueeze(1)) - scores
    steep = torch.einsum("mbk,bm->bk", squared[:, label], present.to(squared.dtype))
    # A difference that nothing changes has no radius, and neither has a class against itself.
    counted = (steep > 0) & (torch.arange(gap.shape[1], device=gap.device) != label.unsqueeze(1))
    reach = gap / torch.where(counted, steep, 1).sqrt()
    return torch.where(counted, reach, torch.inf).amin(dim=1)
