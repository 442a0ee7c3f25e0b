"""What the encoders around torchvision share: weights, and their preprocessing in plain data."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmfuse.errors import ConfigError, MissingFileError
from mmfuse_encoders.pictures import existing


def load_weights(network: nn.Module, source: str, head: str, model: str) -> None:
    """Loads weights from a file or from torchvision's own place, the classifier left out.

    Args:
        network: torchvision's, with anything or nothing in the classifier's place.
        source: the path of a file with a state dict, or the address of torchvision's.
        head: the classifier's name in the state dict.
        model: the model's name, for messages.

    Raises:
        MissingFileError: no such file, or one that cannot be downloaded.
        ConfigError: the file is damaged, or is of another model.
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
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError) as error:
        raise ConfigError(f"{source} cannot be read as weights: {error!s:.150}") from error
    state = {k: v for k, v in state.items() if not k.startswith(f"{head}.")}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{source} holds no weights of {model}: {reason:.200}") from error


def settings_of(preset: Any) -> dict[str, Any]:
    """A preset's settings, in plain data."""
    return {
        "resize_size": list(preset.resize_size),
        "crop_size": list(preset.crop_size),
        "mean": list(preset.mean),
        "std": list(preset.std),
        "interpolation": preset.interpolation.value,
    }
