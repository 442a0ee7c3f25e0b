"""Sequential fusion beside a straightforward loop that updates a metric after every step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from ratio import compare, seconds
from torch import nn
from torchmetrics.classification import BinaryAccuracy

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import SequentialFusion
from mmfuse.objectives import StateChangePenalty, SupervisedLoss
from mmfuse_encoders import MLPEncoder

MODALITIES, WIDTH, ROWS, STATE = 8, 64, 256, 64


class StepByStep(nn.Module):
    """The plain form: an encoder that reads modality and state, one metric update a step."""

    def __init__(self) -> None:
        super().__init__()
        self.state = nn.Parameter(torch.zeros(STATE))
        self.encoders = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.Sequential(nn.Linear(WIDTH, 128), nn.ReLU(), nn.Linear(128, 64)),
                    nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, STATE)),
                    nn.Linear(2 * STATE, STATE),
                ]
            )
            for _ in range(MODALITIES)
        )
        self.head = nn.Linear(STATE, 1)
        self.metrics = [BinaryAccuracy() for _ in range(MODALITIES + 1)]

    def forward(self, inputs: list[torch.Tensor], present: torch.Tensor, y: torch.Tensor):
        state = self.state.expand(len(y), -1)
        losses = [self.read(state, y, 0)]
        changes = []
        for m, (encode, hidden, update) in enumerate(self.encoders):
            rows = present[:, m].nonzero().squeeze(1)
            here = state[rows]
            moved = update(torch.cat([hidden(encode(inputs[m][rows])), here], dim=1))
            changes.append((moved - here).square().mean())
            state = state.index_copy(0, rows, moved)
            losses.append(self.read(state[rows], y[rows], m + 1))
        return torch.stack(losses).mean() + 0.01 * torch.stack(changes).mean()

    def read(self, state: torch.Tensor, y: torch.Tensor, step: int) -> torch.Tensor:
        logits = self.head(state).squeeze(1)
        self.metrics[step].update(logits.detach(), y)
        return F.binary_cross_entropy_with_logits(logits, y.float())


def main() -> None:
    torch.manual_seed(0)
    names = tuple(f"m{i}" for i in range(MODALITIES))
    spec = DataSpec(
        {m: ModalitySpec.of(WIDTH) for m in names}, {"y": TargetSpec("binary", ("no", "yes"))}
    )
    encoders = {m: MLPEncoder(WIDTH, out_dim=64, hidden=(128,)) for m in names}
    model = FusionModel(spec, encoders, SequentialFusion(dict.fromkeys(names, 64), STATE))
    objectives = [SupervisedLoss(), StateChangePenalty()]
    for objective in objectives:
        objective.build(model)
    inputs = {m: torch.randn(ROWS, WIDTH) for m in names}
    present = torch.rand(ROWS, MODALITIES) >= 0.3
    y = torch.randint(0, 2, (ROWS,))
    reference = StepByStep()

    def ours() -> None:
        model.zero_grad()
        batch = Batch(names, inputs, present, y)
        tokens = model.encode(batch)
        output = model.read(model.fuse(tokens, present), present)
        losses = [
            objective.weight * loss
            for objective in objectives
            for loss in objective(model, batch, tokens, output).values()
        ]
        torch.stack(losses).sum().backward()

    def plain() -> None:
        reference.zero_grad()
        reference(list(inputs.values()), present, y).backward()

    compare(
        f"Sequential step, both passes: {MODALITIES} modalities, batch {ROWS}, 30 % absent",
        {
            "mmfuse": lambda: seconds(ours, repeats=10),
            "step by step": lambda: seconds(plain, repeats=10),
        },
        target="report the ratio",
    )


if __name__ == "__main__":
    main()
