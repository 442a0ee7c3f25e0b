"""What is known of absence in a model's training, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmfuse import checkpoint
from mmfuse.model import FusionModel


def simulator_in_words(description: Mapping[str, Any] | list[Any] | None) -> str:
    """A simulator as a person would write it: "LabelMNAR(rate=0.8)"; of a merged model several.

    Args:
        description: as ``describe`` gives it; None for "none".
    """
    if isinstance(description, list):
        return " or ".join(map(simulator_in_words, description))
    if description is None:
        return "none"
    name = description["class_path"].rpartition(".")[2]
    if "init_args" not in description:  # a class of a notebook
        return str(name)
    given = ", ".join(f"{k}={v!r}" for k, v in description["init_args"].items())
    return f"{name}({given})"


def training_absence(content: Mapping[str, Any]) -> dict[str, str]:
    """What took modalities away in training: ``missing`` (the data) and ``modality_dropout``.

    Args:
        content: of a checkpoint, as ``checkpoint.read`` gives it.
    """
    told = content["mmfuse"]
    return {k: simulator_in_words(told[k]) for k in ("missing", "modality_dropout")}


def models_by_training(paths: Sequence[str | Path]) -> dict[str, FusionModel]:
    """Models by the absence that they were trained with, for ``absence_matrix``.

    A name is the data's simulator, the modality dropout, or both joined by " and "; "none" for
    neither. Models of one name, as those of several seeds, are numbered from the second on.

    Args:
        paths: of checkpoints.

    Raises:
        MissingFileError: there is no such file.
        CheckpointError: it is corrupt, or mmfuse did not make it.
    """
    found: dict[str, FusionModel] = {}
    for path in paths:
        content = checkpoint.read(path)
        told = [words for words in training_absence(content).values() if words != "none"]
        name = " and ".join(told) or "none"
        again = sum(known == name or known.startswith(f"{name}, ") for known in found)
        found[f"{name}, {again + 1}" if again else name] = checkpoint.restore(content, str(path))
    return found
