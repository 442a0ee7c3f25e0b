"""Permutation importance: what a row's score loses with another row's modality."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError, DataError
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import targets_of
from mmfuse.robustness.passes import evaluating, fuse_rows
from mmfuse.robustness.row_scores import Score, chosen, labelled, scored
from mmfuse.tokens import Tokens


def permutation_importance(
    model: FusionModel,
    batches: Iterable[Batch],
    score: Score | None = None,
    target: str | None = None,
    *,
    draws: int = 5,
    within_class: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """What each row's score loses, on average, with a modality of other rows.

    It keeps the modality as it is distributed and breaks its pairing with the others, which
    measures how far the trained model relies on it, where ``row_scores`` measures what it does
    when the modality is declared absent. Rows are encoded once and their encodings held. A row
    that lacks the modality loses nothing, and gives it to nobody.

    Args:
        model: read in eval mode; its mode is restored.
        batches: rows with targets that trained nothing; their order changes nothing.
        score: as in ``row_scores``.
        target: which one; None for the first.
        draws: how many other rows each row is given.
        within_class: take rows of the same class alone, which leaves what the modality says of
            the class and measures the rest. A class with one row loses nothing.
        seed: of the draws.

    Returns:
        One line for each labelled row and modality: ``row``, ``modality``, ``loss``.

    Raises:
        ConfigError: no draws, a target or score that the model does not have, or
            ``within_class`` without classes.
        DataError: no rows, or none with a label.

    Reference: Breiman, "Random forests", 2001.
    """
    name, spec, score = chosen(model, target, score)
    if draws < 1 or (within_class and spec.kind not in ("binary", "multiclass")):
        raise ConfigError(
            f"Found draws={draws} and within_class={within_class} for a {spec.kind} target; "
            "expected at least one draw, and one class a row to stay within."
        )
    with torch.no_grad(), evaluating(model):
        tokens, index, present, label = _encoded(model, batches, name)
        known = labelled(spec, label)
        everyone = torch.arange(len(index), device=present.device)

        def scores(given: dict[str, Tokens]) -> NDArray[np.float64]:
            logits = fuse_rows(model, given, everyone, present)[name]
            predicted = spec.predict(logits).float().cpu().numpy()
            return scored(spec, predicted[None, known], label[known], score)[0]

        plain = scores(tokens)
        random = np.random.default_rng(seed)
        parts = []
        for i, m in enumerate(model.modalities):
            group = np.where(present[:, i].cpu().numpy(), label if within_class else 0.0, np.nan)
            loss = np.zeros(len(plain))
            for _ in range(draws if m in tokens else 0):
                giver = torch.from_numpy(_givers(group, random)).to(present.device)
                loss += plain - scores({**tokens, m: tokens[m].rows(giver)})
            parts.append(pd.DataFrame({"row": index[known], "modality": m, "loss": loss / draws}))
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values(["row", "modality"], kind="stable", ignore_index=True)


def _givers(group: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.int64]:
    """For each row another one of its group, itself where it is alone or has no group."""
    giver = np.arange(len(group))
    for g in np.unique(group[~np.isnan(group)]):
        ring = random.permutation(np.flatnonzero(group == g))
        giver[ring] = np.roll(ring, 1)
    return giver


def _encoded(
    model: FusionModel, batches: Iterable[Batch], target: str
) -> tuple[dict[str, Tokens], NDArray[np.int64], Tensor, NDArray[np.float64]]:
    """Tokens, row numbers, presence and labels of all rows, each once, in ascending order."""
    device = next(model.parameters()).device
    encoded, index, present, labels = [], [], [], []
    for batch in batches:
        here = batch.to(device)
        encoded.append(model.encode(here))
        index.append(batch.index.cpu())
        present.append(model.present(here))
        labels.append(targets_of(batch, model)[target].cpu().double())
    if not index:
        raise DataError("There are no rows to evaluate: the loader gave no batch.")
    rows, first = np.unique(torch.cat(index).numpy(), return_index=True)
    place = torch.from_numpy(first)
    there = place.to(device)
    names = [m for m in model.modalities if any(m in tokens for tokens in encoded)]
    sizes = [len(i) for i in index]
    return (
        {m: _joined([t.get(m) for t in encoded], sizes).rows(there) for m in names},
        rows,
        torch.cat(present)[there],
        torch.cat(labels)[place].numpy(),
    )


def _joined(parts: list[Tokens | None], sizes: list[int]) -> Tokens:
    """One after the other, with as many tokens as the longest; those of nobody blank."""
    given = [p for p in parts if p is not None]
    length = max(p.values.shape[1] for p in given)
    width = given[0].values.shape[2]
    count = sum(sizes)
    values = given[0].values.new_zeros(count, length, width)
    mask = given[0].mask.new_zeros(count, length)
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        if part is not None:
            values[start : start + size, : part.values.shape[1]] = part.values
            mask[start : start + size, : part.mask.shape[1]] = part.mask
        start += size
    return Tokens(values, mask)
