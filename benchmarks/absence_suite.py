"""The whole suite of absence on six pictures a row, beside one clean evaluation."""

from __future__ import annotations

import sys

import torch
from ratio import compare, seconds

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import GatedFusion
from mmfuse.missing import MAR, MCAR, RowFacts, ValueMNAR
from mmfuse.robustness import Condition, complete, evaluate, standard_conditions
from mmfuse.robustness.conditions import MCAR_RATES
from mmfuse_encoders import TorchvisionEncoder

# A ResNet-18 takes 290 million operations for 64 x 64 pixels, six of them 1,800 million a row, of
# which a fusion of 64-d vectors takes 0.1 million and the suite's 64 patterns a row some 6.
MODALITIES, PIXELS, ROWS, BATCH, WIDTH = 6, 64, 256, 64, 64
RESAMPLES = 1000


def conditions(names: tuple[str, ...]) -> list[Condition]:
    """The data as they are, 63 subsets, and nine rates of each of three mechanisms."""
    subsets = [c for c in standard_conditions(names) if c.family == "subset"]
    rated = [
        Condition(f"{kind} {rate}", kind, rate, missing)
        for rate in MCAR_RATES
        for kind, missing in (
            ("mcar", MCAR(rate)),
            ("mar", MAR(rate, names[0])),
            ("value_mnar", ValueMNAR(rate)),
        )
    ]
    assert len(subsets) == 2**MODALITIES - 1
    return [complete(), *subsets, *rated]


def main(rounds: int = 5) -> None:
    torch.manual_seed(0)
    names = tuple(f"m{i}" for i in range(MODALITIES))
    shape = (3, PIXELS, PIXELS)
    spec = DataSpec(
        {m: ModalitySpec("image") for m in names},
        {"y": TargetSpec("multiclass", tuple("abcde"))},
    )
    encoders = {m: TorchvisionEncoder(spec.modalities[m], out_dim=WIDTH) for m in names}
    model = FusionModel(spec, encoders, GatedFusion(dict.fromkeys(names, WIDTH), out_dim=WIDTH))
    present = torch.ones(ROWS, MODALITIES, dtype=torch.bool)
    y = torch.randint(0, 5, (ROWS,))
    rows = Batch(names, {m: torch.randn(ROWS, *shape) for m in names}, present, y)
    batches = [rows.rows(part) for part in torch.arange(ROWS).split(BATCH)]
    facts = RowFacts(names, rows.index, present, y, torch.rand(ROWS, MODALITIES))
    suite = conditions(names)

    def plain() -> None:
        model.eval()
        hits = 0
        with torch.no_grad():
            for batch in batches:
                hits += (model(batch).logits["y"].argmax(dim=1) == batch.target).sum().item()

    def ours(bootstrap: int) -> float:
        return seconds(lambda: evaluate(model, batches, facts, suite, bootstrap=bootstrap))

    compare(
        f"{len(suite)} conditions of {MODALITIES} modalities, {ROWS} rows, a ResNet-18 each on "
        f"{PIXELS} x {PIXELS} pixels",
        {
            f"every condition, {RESAMPLES} resamples": lambda: ours(RESAMPLES),
            "every condition": lambda: ours(0),
            "one clean evaluation": lambda: seconds(plain),
        },
        rounds=rounds,
        target="at most 1.5",
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
