"""What the encoders around torchvision share: weights, and their preprocessing in plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmfuse.errors import MissingFileError
from mmfuse_encoders.pretrained import existing, foreign


def load_weights(network: nn.Module, source: str, head: str, model: str) -> None:
    """Loads weights from a file or from torchvision's own place, the classifier left out.

    Args:
        network: torchvision's, with anything or nothing in the classifier's place.
        source: the path of a file with a state dict, or the address of torchvision's.
        head: the classifier's name in the state dict.
        model: the model's name, for messages.

    Raises:
        MissingFileError: no such file, or one that cannot be downloaded.
        CheckpointError: the file is damaged, or is of another model.
    """
    try:
        if source.startswith("https://"):
            state = torch.hub.load_state_dict_from_url(source, map_location="cpu", progress=False)
        else:
            state = torch.load(existing(source), map_location="cpu", weights_only=True)
    except MissingFileError:
        raise
    except OSError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise MissingFileError(
            f"The weights of {model} are not in {folder} and cannot be downloaded ({error}). Put "
            f"{source} there, or name a file as `weights`."
        ) from error
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise foreign(source, model, error) from error
    try:
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith(f"{head}.")})
    except (RuntimeError, AttributeError) as error:
        raise foreign(source, model, error) from error


def settings_of(preset: Any) -> dict[str, Any]:
    """A preset's settings, in plain data."""
    return {
        "resize_size": list(preset.resize_size),
        "crop_size": list(preset.crop_size),
        "mean": list(preset.mean),
        "std": list(preset.std),
        "interpolation": preset.interpolation.value,
    }
