"""Team: a teacher and those who were trained with it, as a checkpoint keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmfuse.batch import Batch
from mmfuse.checkpoint import read, restore, under
from mmfuse.distillation.masks import Mask
from mmfuse.distillation.said import Said, can_tell, say
from mmfuse.errors import CheckpointError
from mmfuse.model import FusionModel


@dataclass(frozen=True)
class Team:
    """Models that a student can learn from, and perhaps the student that they were trained with.

    Args:
        teacher: the model that ``mmfuse.load`` gives of the file.
        auxiliary: a teacher of other modalities; None where there is none.
        student: the student as co-training left it; None where there is none.
        masks: what specialises teacher and auxiliary.
    """

    teacher: FusionModel
    auxiliary: FusionModel | None = None
    student: FusionModel | None = None
    masks: list[Mask] = field(default_factory=list)

    @classmethod
    def read(cls, path: str | Path) -> Team:
        """What a checkpoint holds, everything frozen and in eval mode.

        Any checkpoint with a FusionModel makes a team of one.

        Raises:
            MissingFileError, CheckpointError: as ``mmfuse.load``.
        """
        content = read(path)
        teacher = restore(content, str(path))
        described_team: Mapping[str, Any] = content["mmfuse"].get("team", {})
        peers = {}
        for name, model in described_team.get("peers", {}).items():
            own = under(f"peers.{name}.", content["state_dict"])
            state = {f"model.{k}": v for k, v in own.items()}
            of_peer = {"mmfuse": {"model": model}, "state_dict": state}
            peers[name] = restore(of_peer, f"{path} ({name})")
        masks = [Mask(**m) for m in described_team.get("masks", [])]
        try:
            nn.ModuleList(masks).load_state_dict(under("masks.", content["state_dict"]))
        except RuntimeError as error:
            raise CheckpointError(f"{path}: the masks do not fit: {error}") from error
        team = cls(teacher, peers.get("auxiliary"), peers.get("student"), masks)
        for module in team.modules():
            module.requires_grad_(False).eval()
        return team

    def modules(self) -> list[nn.Module]:
        """All models and masks."""
        models = (self.teacher, self.auxiliary, self.student)
        return [m for m in models if m is not None] + list(self.masks)

    @property
    def teachers(self) -> dict[str, FusionModel]:
        """The models that teach, by what a mask calls them."""
        found = {"teacher": self.teacher, "auxiliary": self.auxiliary}
        return {n: m for n, m in found.items() if m is not None}

    @property
    def modalities(self) -> list[str]:
        """What the teachers read."""
        return list(dict.fromkeys(m for t in self.teachers.values() for m in t.modalities))

    def to(self, device: torch.device) -> None:
        """Moves everything to a device."""
        for module in self.modules():
            module.to(device)

    @property
    def pool(self) -> list[str]:
        """What ``say`` gives after the teacher itself, by name, in its order."""
        if self.masks:
            return [m.name for n in self.teachers for m in self.masks if m.of == n]
        return list(self.teachers)

    def say(self, batch: Batch, student: FusionModel) -> tuple[Said, list[Said]]:
        """What the teacher says, and what each of the pool does.

        The pool are the specialised teachers; where there is no mask, teacher and auxiliary as
        they are. Each model encodes the rows once.

        Args:
            batch: the rows, with all modalities.
            student: decides which rows count.
        """
        plain: list[Said] = []
        special: list[Said] = []
        for name, model in self.teachers.items():
            counted = can_tell(batch, model.modalities, student.modalities)
            own = [m for m in self.masks if m.of == name]
            found = say(model, batch, own, counted)
            plain.append(found[0])
            special += found[1:]
        return plain[0], special or plain


def describe_team(peers: Mapping[str, FusionModel], masks: list[Mask]) -> dict[str, Any]:
    """What a checkpoint says of the peers and masks beside its model, in plain data."""
    return {
        "peers": {n: m.describe() for n, m in peers.items()},
        "masks": [m.describe() for m in masks],
    }
