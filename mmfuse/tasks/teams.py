"""What the stages of distillation share: how a team of models meets the data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

from mmfuse.batch import Batch, RawInput
from mmfuse.data import FusionDataModule
from mmfuse.distillation.said import can_tell
from mmfuse.distillation.team import Team
from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec


def data_of(task: Any) -> FusionDataModule:
    """The DataModule that a Trainer gives a task.

    Raises:
        ConfigError: it gives none.
    """
    data = getattr(task.trainer, "datamodule", None)
    if not isinstance(data, FusionDataModule):
        raise ConfigError(
            "The task has no DataModule. Give the Trainer one, such as "
            "trainer.fit(task, datamodule=ArrayData(inputs, target)), not loaders."
        )
    return data


def narrowed(spec: DataSpec, modalities: Iterable[str], who: str) -> DataSpec:
    """The spec of a model that reads some modalities alone.

    Raises:
        UnknownModalityError: one that the data has not.
    """
    names = list(modalities)
    if unknown := [m for m in names if m not in spec.modalities]:
        raise UnknownModalityError(
            f"{who} reads {unknown}, which the data lack; they have {list(spec.modalities)}. Name "
            "modalities of the data."
        )
    return DataSpec({m: spec.modalities[m] for m in names}, spec.targets)


def joint_spec(found: DataSpec, team: Team, others: Iterable[str]) -> DataSpec:
    """What the data look like to a team: statistics, levels and classes are the teacher's.

    Args:
        found: of the data.
        team: read from a checkpoint.
        others: modalities that a student reads besides.

    Raises:
        UnknownModalityError: the data lack a modality that somebody reads.
        ConfigError: the teacher predicts a target of the data with other classes, or of another
            kind.
    """
    known = team.teacher.spec
    names = list(dict.fromkeys([*team.modalities, *others]))
    narrow = narrowed(found, names, "Of teacher and student one")
    targets = {}
    for name, mine in found.targets.items():
        theirs = known.targets.get(name)
        if theirs is None:
            targets[name] = mine
            continue
        if mine != replace(theirs, mean=mine.mean, std=mine.std, weights=mine.weights):
            raise ConfigError(
                f"Target {name!r}: the teacher predicts {theirs.kind} {list(theirs.classes)}, the "
                f"data hold {mine.kind} {list(mine.classes)}. Take a teacher of the same classes."
            )
        targets[name] = replace(theirs, weights=mine.weights, shares=mine.shares)
    modalities = {m: known.modalities.get(m, s) for m, s in narrow.modalities.items()}
    return DataSpec(modalities, targets)


def preprocess_of(models: Iterable[FusionModel]) -> dict[str, Callable[[Any], RawInput]]:
    """The preprocessing that serves all models.

    Raises:
        ConfigError: two want a modality prepared in different ways.
    """
    found: dict[str, Encoder] = {}
    for model in models:
        for m in model.modalities:
            encoder = cast(Encoder, model.encoders[m])
            first = found.setdefault(m, encoder)
            if first.preprocessing() != encoder.preprocessing():
                raise ConfigError(
                    f"Modality {m!r}: one model wants it prepared as {first.preprocessing()}, "
                    f"another as {encoder.preprocessing()}. Rows are prepared once: give both "
                    "encoders of one preparation."
                )
    return {m: e.preprocess for m, e in found.items()}


def require_common_rows(data: FusionDataModule, team: Team, student: FusionModel) -> None:
    """Checks that some training row can teach the student something.

    Raises:
        DataError: there is none.
    """
    own = data.dataset("train")
    present = own.present[data.rows("train")]
    rows = Batch(tuple(data.spec.modalities), {}, present)
    if not any(
        can_tell(rows, t.modalities, student.modalities).any() for t in team.teachers.values()
    ):
        raise DataError(
            f"No training row has both what the student reads, {list(student.modalities)}, and "
            f"something else that a teacher reads, of {team.modalities}. Give rows that pair them, "
            "or train the student alone with SupervisedTask."
        )
