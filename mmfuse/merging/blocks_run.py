"""What `mmfuse merge --method lego` does: checkpoints of blocks -> one checkpoint of them all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from mmfuse.checkpoint import load, save
from mmfuse.errors import ConfigError
from mmfuse.files import require_writable
from mmfuse.merging.blocks import merge_blocks
from mmfuse.merging.sphere import Mean

FUSION, HEADS = "LegoMergeFusion", "slerp"


def blocks_run(
    paths: Sequence[str | Path],
    out: Path,
    fusion: str | None = None,
    heads: str | None = None,
    weights: Sequence[float] | None = None,
) -> Path:
    """Joins checkpoints of one modality each, and tells on the terminal where the model is.

    Args:
        paths: checkpoints of blocks.
        out: the model's file.
        fusion: what the blocks become; ``LegoMergeFusion`` if None.
        heads: the mean of their heads; ``slerp`` if None.
        weights: one for each path.

    Raises:
        ConfigError: blocks that do not fit together, or not one weight for each.
        MissingFileError, CheckpointError: as ``mmfuse.load``.
        OutputError: the folder cannot be written.
    """
    if out.resolve() in {Path(p).resolve() for p in paths}:
        raise ConfigError(f"{out} is one of the blocks to merge. Give another --out.")
    require_writable(out.parent)
    blocks = [load(path) for path in paths]
    named = None
    if weights is not None:
        if len(weights) != len(blocks):
            raise ConfigError(
                f"There are {len(weights)} weights for {len(blocks)} blocks. Give one for each."
            )
        named = {b.modalities[0]: w for b, w in zip(blocks, weights, strict=True)}
    model = merge_blocks(blocks, fusion or FUSION, cast(Mean, heads or HEADS), named)
    save(model, out)
    if type(model.fusion).__name__ != FUSION:
        print(f"It wants a few epochs of training: mmfuse fit with --start_from {out}")
    print(f"Merged: {out}")
    return out
