"""Attack curves over eight budgets in one pass, beside a pass for each budget."""

from __future__ import annotations

import torch
from ratio import compare, seconds

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import ConcatFusion
from mmfuse.robustness.attacks import PGD, attack_curves
from mmfuse_encoders import MLPEncoder

MODALITIES, WIDTH, ROWS, HIDDEN, STATE = 4, 64, 128, (128,), 32
BUDGETS = (0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.4, 3.2)
STEPS = 10


def main() -> None:
    torch.manual_seed(0)
    names = tuple(f"m{i}" for i in range(MODALITIES))
    spec = DataSpec(
        {m: ModalitySpec.of(WIDTH) for m in names},
        {"y": TargetSpec("multiclass", tuple("abcde"))},
    )
    encoders = {m: MLPEncoder(WIDTH, out_dim=STATE, hidden=HIDDEN) for m in names}
    model = FusionModel(spec, encoders, ConcatFusion(dict.fromkeys(names, STATE), STATE)).eval()
    rows = Batch(
        names,
        {m: torch.randn(ROWS, WIDTH) for m in names},
        torch.ones(ROWS, MODALITIES, dtype=torch.bool),
    )
    with torch.no_grad():  # labels that the model gets right, as only those are attacked
        label = model(rows).logits["y"].argmax(dim=1)
    rows = Batch(names, rows.inputs, rows.present, label)
    attacks = [PGD(steps=STEPS)]

    def together() -> None:
        attack_curves(model, [rows], BUDGETS, attacks, bootstrap=0)

    def apart() -> None:
        for budget in BUDGETS:
            attack_curves(model, [rows], [budget], attacks, bootstrap=0)

    compare(
        f"PGD of {STEPS} steps on two losses, {MODALITIES} modalities alone and together, {ROWS} "
        f"rows, {len(BUDGETS)} budgets",
        {
            "all budgets in one pass": lambda: seconds(together),
            "a pass for each budget": lambda: seconds(apart),
        },
        rounds=5,
    )


if __name__ == "__main__":
    main()
