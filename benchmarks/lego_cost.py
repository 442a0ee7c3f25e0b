"""What merged blocks cost as modalities grow from 2 to 32, beside growth in a straight line and
a transformer over all tokens.
"""

from __future__ import annotations

import statistics

import torch
from ratio import seconds
from rich.console import Console
from rich.table import Table

from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.fusion import LegoMergeFusion, LegoStackFusion, TransformerFusion
from mmfuse.merging import merge_blocks
from mmfuse_encoders import TokenProjectionEncoder

COUNTS, ROWS, STEPS, WIDTH, ROUNDS = (2, 4, 8, 16, 32), 16, 16, 32, 5
SIZE = {"out_dim": 64, "latents": 16, "layers": 2, "heads": 4, "head_dim": 32, "hidden": 256}
TARGETS = {"y": TargetSpec("binary", ("no", "yes"))}


def model(names: tuple[str, ...], fusion: type, **options: int) -> FusionModel:
    """Token sequences of ``STEPS`` steps a modality, one linear map as an encoder."""
    spec = DataSpec({m: ModalitySpec("tokens", (STEPS, WIDTH)) for m in names}, TARGETS)
    encoders = {m: TokenProjectionEncoder(s, out_dim=WIDTH) for m, s in spec.modalities.items()}
    return FusionModel(spec, encoders, fusion(dict.fromkeys(names, WIDTH), **options))


def forward(made: FusionModel, batch: Batch) -> None:
    with torch.no_grad():
        made(batch)


def step(made: FusionModel, batch: Batch) -> None:
    made.zero_grad()
    made(batch).logits["y"].square().mean().backward()


def main() -> None:
    torch.manual_seed(0)
    median: dict[tuple[str, int], float] = {}
    parameters: dict[tuple[str, int], int] = {}
    for count in COUNTS:
        names = tuple(f"m{i}" for i in range(count))
        blocks = [model((m,), LegoMergeFusion, **SIZE) for m in names]
        merged, stacked = merge_blocks(blocks), merge_blocks(blocks, LegoStackFusion)
        transformer = model(names, TransformerFusion, out_dim=64, layers=2, hidden=256)
        inputs = {m: torch.randn(ROWS, STEPS, WIDTH) for m in names}
        batch = Batch(names, inputs, torch.ones(ROWS, count).bool())
        sides = {
            "joining": lambda b=blocks: merge_blocks(b),
            "merge, forward": lambda m=merged, b=batch: forward(m, b),
            "stack, training step": lambda m=stacked, b=batch: step(m, b),
            "transformer, forward": lambda m=transformer, b=batch: forward(m, b),
            "transformer, training step": lambda m=transformer, b=batch: step(m, b),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for counted in range(-1, ROUNDS):
            for name, work in sides.items():
                value = seconds(work, repeats=2)
                if counted >= 0:
                    times[name].append(value)
        median |= {(name, count): statistics.median(t) for name, t in times.items()}
        for name, made in (("merge", merged), ("stack", stacked), ("transformer", transformer)):
            parameters[name, count] = sum(p.numel() for p in made.parameters())
    console = Console()
    console.print(shown(median))
    told = Table(title="Parameters", title_justify="left", box=None, pad_edge=False)
    for column in ("model", *(f"M={c}" for c in COUNTS)):
        told.add_column(column, justify="left" if column == "model" else "right")
    for name in ("merge", "stack", "transformer"):
        told.add_row(name, *(f"{parameters[name, c]:,}" for c in COUNTS))
    console.print(told)
    for title, ours, theirs in (
        ("forward", "merge, forward", "transformer, forward"),
        ("training step", "stack, training step", "transformer, training step"),
    ):
        ratios = ", ".join(f"M={c} {median[ours, c] / median[theirs, c]:.2f}" for c in COUNTS)
        console.print(f"blocks / transformer, {title}: {ratios}")
    console.print(
        f"{ROUNDS} rounds, sides in alternation; batch {ROWS}, {STEPS} tokens a modality\n"
    )


def shown(median: dict[tuple[str, int], float]) -> Table:
    """Milliseconds for each number of modalities, and the growth beside M / 2."""
    table = Table(
        title="Milliseconds (and time / time at M=2 / (M / 2): 1 is growth in a straight line)",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("side", *(f"M={c}" for c in COUNTS)):
        table.add_column(column, justify="left" if column == "side" else "right")
    for name in dict.fromkeys(name for name, _ in median):
        first = median[name, COUNTS[0]]
        cells = [
            f"{1000 * median[name, c]:.1f} ({median[name, c] / first / (c / COUNTS[0]):.2f})"
            for c in COUNTS
        ]
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    main()
