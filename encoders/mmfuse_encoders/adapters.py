"""Adapters: what of a pretrained backbone learns, from nothing to everything."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn

from mmfuse.errors import ConfigError
from mmfuse.recorded import Recorded
from mmfuse_encoders.plain_attention import PlainAttention

#: Modules that hand their maps' weights to a function: torchvision's Swin, open_clip's ResNet.
BYPASSING = (
    "ShiftedWindowAttention",
    "ShiftedWindowAttentionV2",
    "ShiftedWindowAttention3d",
    "AttentionPool2d",
)


class Adapter(Recorded, ABC):
    """Base of all adapters."""

    @abstractmethod
    def adapt(self, backbone: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Decides which parameters of ``backbone`` require a gradient; may add some.

        Args:
            backbone: the pretrained network.
            blocks: its layers, from the input to the output.

        Raises:
            ConfigError: the backbone has not what the adapter needs.
        """


class Frozen(Adapter):
    """Nothing of the backbone learns; a readout above it is a linear probe."""

    def adapt(self, backbone: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Freezes every parameter."""
        backbone.requires_grad_(False)


class FullTuning(Adapter):
    """The whole backbone learns."""

    def adapt(self, backbone: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Lets every parameter learn."""
        backbone.requires_grad_(True)


class LastLayers(Adapter):
    """The last layers learn, the others stay as they are.

    Args:
        count: how many layers, from the output.

    Raises:
        ConfigError: ``count`` is below 1, or the backbone has fewer layers.
    """

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ConfigError(f"LastLayers: count is {count}; expected 1 up. Frozen() trains none.")
        self.count = count

    def adapt(self, backbone: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Freezes all but the last blocks."""
        if self.count > len(blocks):
            raise ConfigError(
                f"LastLayers: count is {self.count}, {type(backbone).__name__} has "
                f"{len(blocks)} layers. Lower count, or use FullTuning()."
            )
        backbone.requires_grad_(False)
        for block in blocks[-self.count :]:
            block.requires_grad_(True)


class LoRA(Adapter):
    """Low-rank updates of linear maps, the backbone's own weights frozen (through peft).

    Each chosen map W becomes W + (alpha / rank) B A, where B starts at zero, so that the
    backbone is unchanged at first. Attentions of torch's own class, whose maps cannot be
    wrapped, become ``PlainAttention`` with the maps ``in_proj`` (queries, keys and values in
    one) and ``out_proj``.

    Args:
        rank: rank of A and B.
        alpha: scale of the update.
        dropout: rate before A.
        targets: names of the maps, or their endings, convolutions too; empty for every linear
            map of the layers.

    Raises:
        ConfigError: ``rank`` is below 1, peft is not installed, no map has such a name, or the
            layers have no linear map.

    Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022,
        arXiv:2106.09685.
    """

    def __init__(
        self,
        rank: int = 8,
        alpha: float = 16.0,
        dropout: float = 0.0,
        targets: Sequence[str] = (),
    ) -> None:
        if rank < 1:
            raise ConfigError(f"LoRA: rank is {rank}; expected 1 up.")
        self.rank, self.alpha, self.dropout, self.targets = rank, alpha, dropout, tuple(targets)

    def adapt(self, backbone: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Adds the updates."""
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise ConfigError(
                "LoRA needs peft, which is not installed: pip install mmfuse[media]"
            ) from error
        _open_attentions(blocks)
        targets = list(self.targets) or _linear_maps(backbone, blocks)
        if not targets:
            raise ConfigError(
                f"LoRA: the layers of {type(backbone).__name__} have no linear map. Name its "
                'convolutions in targets, such as ["conv1", "conv2"].'
            )
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=targets,
        )
        try:
            with warnings.catch_warnings():
                # Updates of grouped convolutions cannot be merged, which nobody here does.
                warnings.filterwarnings("ignore", "LoRA adapter added to ConvNd", UserWarning)
                inject_adapter_in_model(config, backbone)
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"LoRA on {type(backbone).__name__}: {reason:.300}") from error
        if idle := [n for n in _bypassed(backbone) if hasattr(backbone.get_submodule(n), "lora_A")]:
            raise ConfigError(
                f"LoRA: {type(backbone).__name__} reads the weights of {idle[:3]} without calling "
                "them, so that nothing can be added. Name other targets."
            )


def _open_attentions(blocks: Sequence[nn.Module]) -> None:
    """Puts a PlainAttention in the place of each attention inside the layers."""
    for parent in [m for block in blocks for m in block.modules()]:
        for name, child in parent.named_children():
            if PlainAttention.can_stand_for(child):
                setattr(parent, name, PlainAttention(child))  # type: ignore[arg-type]


def _linear_maps(backbone: nn.Module, blocks: Sequence[nn.Module]) -> list[str]:
    """Full names of the linear maps inside the layers."""
    inside = {id(m) for block in blocks for m in block.modules()}
    bypassed = _bypassed(backbone)
    return [
        n
        for n, m in backbone.named_modules()
        if id(m) in inside and isinstance(m, nn.Linear) and n not in bypassed
    ]


def _bypassed(backbone: nn.Module) -> set[str]:
    """Full names of the maps whose module is never called."""
    return {
        f"{name}.{child}"
        for name, module in backbone.named_modules()
        if type(module).__name__ in BYPASSING or isinstance(module, nn.MultiheadAttention)
        for child, _ in module.named_children()
    }
