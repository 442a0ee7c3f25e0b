"""Space: which models search across modalities, and what their targets are called."""

from __future__ import annotations

from mmfuse.errors import ConfigError
from mmfuse.model import FusionModel

#: What a study calls this kind of target, and its main metric: higher for the better model.
KIND, MAIN = "search", "mrr"


def target_of(searched: str) -> str:
    """What a study calls the search among one modality's items."""
    return f"→ {searched}"


def require_shared_space(model: FusionModel, what: str) -> None:
    """Refuses a model that predicts targets, or whose vectors do not lie in one space.

    Args:
        model: its encoders and its fusion.
        what: needs it, at the start of the error.

    Raises:
        ConfigError: it has heads, one modality alone, or vectors of unequal widths.
    """
    if model.heads:
        raise ConfigError(
            f"{what} needs a model whose modalities share a space, as AlignmentTask makes it; this "
            f"one predicts {sorted(model.heads)}."
        )
    widths = {**model.dims, "fused": model.fusion.out_dim}
    if len(model.dims) < 2 or len(set(widths.values())) > 1:
        raise ConfigError(
            f"{what} needs a target, or two modalities or more in one space; the model predicts "
            f"none, and its vectors have the widths {widths}. Train it with SupervisedTask, or "
            "with AlignmentTask into one space."
        )
