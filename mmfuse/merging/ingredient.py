"""Ingredient: the description and the tensors of one model, ready to be merged with others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmfuse import checkpoint
from mmfuse.errors import CheckpointError, ConfigError
from mmfuse.merging.arithmetic import average, check_weights, leader
from mmfuse.model import FusionModel

_MODEL = "model."

Combine = Callable[[Sequence[Tensor], Sequence[float]], Tensor]


@dataclass(frozen=True)
class Ingredient:
    """A model to merge.

    Args:
        name: what errors and tables call it.
        about: how it is built and was trained, as ``checkpoint.describe_run`` tells it.
        state: its tensors; those of the model have ``model.`` before their names, others are
            what its objectives learned.
    """

    name: str
    about: Mapping[str, Any]
    state: Mapping[str, Tensor]

    @classmethod
    def of(cls, source: Source, name: str = "the model") -> Ingredient:
        """From a model, or from the path of a checkpoint, of which nothing is unpickled.

        Args:
            source: the model or the path; an ingredient stays as it is.
            name: of a model.

        Raises:
            MissingFileError, CheckpointError: as ``checkpoint.read``.
            ConfigError: a part of the model cannot be described in plain data.
        """
        if isinstance(source, Ingredient):
            return source
        if isinstance(source, FusionModel):
            content = checkpoint.whole(source)
        else:
            content, name = checkpoint.read(source), str(source)
        # Without the optimizer's state, which is twice as large.
        return cls(name, content["mmfuse"], content["state_dict"])

    def model(self) -> FusionModel:
        """The model, in eval mode."""
        return checkpoint.restore({"mmfuse": self.about, "state_dict": self.state}, self.name)

    def holding(self, model: FusionModel) -> Ingredient:
        """The same, with the tensors of a model of this architecture."""
        own = {_MODEL + k: v.detach().cpu() for k, v in model.state_dict().items()}
        return Ingredient(self.name, self.about, {**self.state, **own})

    def save(self, path: str | Path) -> Path:
        """Writes a checkpoint that ``mmfuse.load`` and every command reads.

        Raises:
            OutputError: the folder cannot be written.
        """
        return checkpoint.write({"mmfuse": dict(self.about), "state_dict": dict(self.state)}, path)


Source = FusionModel | Ingredient | str | Path


def gather(sources: Sequence[Source], least: int = 2) -> list[Ingredient]:
    """Models of one architecture.

    Training options (dropout, frozen encoders) and what training data leave behind (means,
    deviations, class weights) may differ; everything else must agree.

    Args:
        sources: models, or paths of checkpoints.
        least: how many there must be.

    Raises:
        ConfigError: fewer models than ``least``.
        MissingFileError: there is no such checkpoint.
        CheckpointError: two models differ, naming in what; or a tensor holds NaN.
    """
    if len(sources) < least:
        raise ConfigError(f"{len(sources)} model(s) to merge; expected {least} or more.")
    found = [Ingredient.of(s, f"model {i}") for i, s in enumerate(sources, start=1)]
    for other in found:
        _require_alike(found[0], other)
        if broken := [
            k for k, v in other.state.items() if v.is_floating_point() and v.isnan().any()
        ]:
            raise CheckpointError(
                f"{other.name} holds NaN in {_few(broken)}: its training diverged. Leave it out."
            )
    return found


def _require_alike(first: Ingredient, other: Ingredient) -> None:
    models = first.about["model"], other.about["model"]
    names = first.name, other.name
    read = [sorted(m["spec"]["modalities"]) for m in models]
    if read[0] != read[1]:
        raise CheckpointError(
            f"{other.name} reads {read[1]} and {first.name} reads {read[0]}: their weights cannot "
            "be merged. Give models of the same modalities, or blocks of different ones with "
            "--method lego."
        )
    differing = checkpoint.differences(*models, names, checkpoint.ALIKE)
    if not differing:
        differing = _lengths(*models) or _shapes(first, other)
    if differing:
        raise CheckpointError(
            f"{other.name} is of another model than {first.name}, and the two cannot be merged: "
            f"{'; '.join(differing)}."
        )


def _lengths(first: Any, other: Any, where: str = "") -> list[str]:
    """Statistics that one of two descriptions has and the other has not."""
    if isinstance(first, Mapping) and isinstance(other, Mapping):
        return [
            d for k in first for d in _lengths(first[k], other.get(k), f"{where}.{k}".strip("."))
        ]
    is_statistic = where.rpartition(".")[2] in checkpoint.STATISTICS
    if is_statistic and _is_numbers(first) and _is_numbers(other) and len(first) != len(other):
        return [f"{where} has {len(first)} numbers in one and {len(other)} in the other"]
    return []


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value)


def _shapes(first: Ingredient, other: Ingredient) -> list[str]:
    ours, theirs = (
        {k: v for k, v in i.state.items() if k.startswith(_MODEL)} for i in (first, other)
    )
    found = [
        f"{k.removeprefix(_MODEL)} has shape {tuple(ours[k].shape)} in one and "
        f"{tuple(theirs[k].shape)} in the other"
        for k in ours.keys() & theirs.keys()
        if ours[k].shape != theirs[k].shape
    ]
    alone = sorted(k.removeprefix(_MODEL) for k in ours.keys() ^ theirs.keys())
    return sorted(found) + ([f"only one has {_few(alone)}"] if alone else [])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def blend(
    ingredients: Sequence[Ingredient],
    weights: Sequence[float] | None = None,
    skip: Sequence[str] = (),
    combine: Combine = average,
    method: str = "uniform",
) -> Ingredient:
    """One ingredient of several that are alike.

    Tensors are combined; whole numbers are those of the greatest weight; standardisation
    statistics, which belong to the model, are averaged by the same weights, so that each end
    of a path between two models is that model, statistics included. What a pattern skips is
    the first ingredient's, unscaled.

    Args:
        ingredients: as ``gather`` gives them.
        weights: one each, that sum to 1; equal ones for None.
        skip: patterns of tensors' names, such as ``heads.*`` or ``*.bias``.
        combine: makes one tensor of several by these weights.
        method: its name, for the record.

    Raises:
        ConfigError: weights that do not fit, or a pattern that no name matches.
    """
    weights = check_weights(weights, len(ingredients))
    first, lead = ingredients[0], ingredients[leader(weights)]
    skipped = _skipped(first, skip)
    state = {}
    for key, own in lead.state.items():
        values = [i.state.get(key) for i in ingredients]
        if key in skipped:
            state[key] = first.state[key]
        elif all(v is not None and v.shape == own.shape for v in values):
            state[key] = combine(values, weights)  # type: ignore[arg-type]
        else:  # of an objective that not all were trained with
            state[key] = own
    record = {
        "method": method,
        "of": [i.name for i in ingredients],
        "weights": weights,
        "skip": list(skip),
    }
    about = {
        **lead.about,
        "model": _averaged([i.about["model"] for i in ingredients], weights, lead.about["model"]),
        "missing": _together([i.about["missing"] for i in ingredients]),
        "modality_dropout": _together([i.about["modality_dropout"] for i in ingredients]),
        "merged": record,
    }
    return Ingredient("the merged model", about, state)


def _skipped(first: Ingredient, patterns: Sequence[str]) -> set[str]:
    found: set[str] = set()
    names = {k: k.removeprefix(_MODEL) for k in first.state}
    for pattern in patterns:
        matching = {k for k, name in names.items() if fnmatchcase(name, pattern)}
        if not matching:
            starts = dict.fromkeys(".".join(n.split(".")[:2]) for n in names.values())
            raise ConfigError(
                f"No tensor's name matches {pattern!r}. Names start with: {', '.join(starts)}."
            )
        found |= matching
    return found


def _averaged(found: Sequence[Any], weights: Sequence[float], lead: Any, key: str = "") -> Any:
    """The description of the greatest weight, with the statistics of all."""
    if isinstance(lead, Mapping):
        return {k: _averaged([f[k] for f in found], weights, v, k) for k, v in lead.items()}
    if key in checkpoint.STATISTICS and lead and all(map(_is_numbers, found)):
        tensors = [torch.tensor(f, dtype=torch.float64) for f in found]
        return type(lead)(average(tensors, weights).tolist())
    return lead


def _together(found: Sequence[Any]) -> Any:
    """What all were trained with, or the different ones in a list."""
    distinct = [f for i, f in enumerate(found) if f not in found[:i]]
    return distinct[0] if len(distinct) == 1 else distinct
