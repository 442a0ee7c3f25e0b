"""TorchvisionEncoder: the picture classifiers of torchvision, their vector or their places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.pictures import (
    PictureEncoder,
    as_tokens,
    chosen,
    inner_blocks,
    places,
)
from mmfuse_encoders.pretrained import fixed_draw
from mmfuse_encoders.torchvision_weights import load_weights, settings_of


class TorchvisionEncoder(PictureEncoder):
    """A picture classifier of torchvision without its last linear map.

    The vector is what that map would read. Pictures are preprocessed by the transforms of the
    weights (size, crop, interpolation, mean, deviation); for weights in a file, and for random
    ones, by those of the model's default weights.

    Args:
        spec: an image modality of raw pictures.
        model: torchvision's name, such as ``resnet50``, ``vit_b_16``, ``convnext_tiny``,
            ``efficientnet_b0``.
        weights: a name in the model's weights enum, such as ``IMAGENET1K_V2`` or ``DEFAULT``
            (downloaded, cached under ``TORCH_HOME``); the path of a file with a state dict of
            the model, with any classifier; None for random weights, of which every number is
            that of a random-weight encoder.
        out_dim: width of the result through a linear readout; None for the model's own.
        adapter: what of the model learns; ``Frozen()`` by default.
        tokens: give each patch, or place of the last map, as a token, row by row.
        layers: layers to read instead of the end, from 0: a transformer's blocks, a ResNet's
            stem and stages, or the members of ``features``. Several lie side by side. The
            vector is then the class token of a transformer, or the mean over the places. What
            comes after the last is dropped.

    Shape:
        preprocess: B pictures -> (B, 3, H, W)
        forward: (B, 3, H, W) -> (B, D), or Tokens (B, T, D)

    Raises:
        ConfigError: an unknown model, weight or layer; tokens or layers of a network that is
            no chain of stages; layers of different sizes as tokens.
        CheckpointError: the weights are damaged, or of another model.
        MissingFileError: the weights are neither here nor can they be downloaded.

    Reference: TorchVision maintainers, "TorchVision: PyTorch's Computer Vision library", 2016,
        github.com/pytorch/vision.
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "resnet18",
        weights: str | None = None,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        tokens: bool = False,
        layers: Sequence[int] = (),
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        preset, network, width = _build(model, weights)
        self._transform: Callable[[Any], Tensor] = preset.forward
        self._settings = settings_of(preset)
        self.tokens = tokens
        self._reader: _Transformer | _Chain | None = None
        blocks = _blocks(network)
        if tokens or layers:
            read = _Transformer if hasattr(network, "class_token") else _Chain
            self._reader = read(network, layers, model, tokens)
            network, width = self._reader.network(network), self._reader.width
            inside = {id(m) for m in network.modules()}
            blocks = [block for block in blocks if id(block) in inside]
        self._adopt(network, width, blocks, weights is None)

    def features(self, x: Tensor) -> Tensor | Tokens:
        """The network's vector or places."""
        if self._reader is None:
            return self.backbone(x)
        if self.tokens:
            return as_tokens(torch.cat(self._reader.places(self.backbone, x), dim=2))
        return torch.cat(self._reader.vectors(self.backbone, x), dim=1)


def _build(model: str, weights: str | None) -> tuple[Any, nn.Module, int]:
    """Transforms, the network without its last linear map, and that map's width."""
    from torchvision import models

    # Those two have classifiers in their middle as well, and give tuples in training.
    names = [n for n in models.list_models(module=models) if n not in ("googlenet", "inception_v3")]
    if model not in names:
        raise ConfigError(
            f"torchvision has no classifier {model!r}. Near it: {get_close_matches(model, names)}; "
            "torchvision.models.list_models() names all."
        )
    enum = models.get_model_weights(model)
    entry = enum[weights] if weights in enum.__members__ else None
    if entry is None and weights is not None and "." not in weights and "/" not in weights:
        raise ConfigError(
            f"torchvision has no weights {weights!r} of {model}. It has {list(enum.__members__)}; "
            "or give the path of a file."
        )
    used = entry or enum.DEFAULT
    options: dict[str, Any] = {}
    if model.startswith("vit_"):
        options["image_size"] = used.transforms().crop_size[0]
    with fixed_draw():
        network = models.get_model(model, weights=None, **options)
    head = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not head:
        raise ConfigError(f"{model} ends in no linear map. Choose another model.")
    name, last = head[-1]
    network.set_submodule(name, nn.Identity())
    if weights is not None and needs_pretrained_weights():
        load_weights(network, entry.url if entry else weights, name, model)
    return used.transforms(), network, last.in_features


def _stages(network: nn.Module) -> list[nn.Module]:
    """What a chain of stages consists of; empty if the network is none."""
    names = [n for n, _ in network.named_children()]
    if names[0] == "features" and isinstance(network.features, nn.Sequential):
        # A Swin's maps have their channels last, and need its norm.
        return list(network.features.children()) if "permute" not in names else []
    if "avgpool" not in names or names[0] not in ("conv1", "stem"):
        return []
    before = [m for n, m in network.named_children() if n in names[: names.index("avgpool")]]
    if names[0] == "stem":  # RegNet
        return [before[0], *before[1].children()]
    stem = [m for m in before if not isinstance(m, nn.Sequential)]
    return [nn.Sequential(*stem), *(m for m in before if isinstance(m, nn.Sequential))]


def _blocks(network: nn.Module) -> list[nn.Module]:
    if hasattr(network, "class_token"):
        return list(network.encoder.layers.children())  # type: ignore[union-attr]
    return inner_blocks(_stages(network)) or inner_blocks(network)


class _Transformer:
    """How to read a vision transformer's layers and patches."""

    def __init__(self, network: Any, layers: Sequence[int], model: str, tokens: bool) -> None:
        self.layers = chosen(layers, len(network.encoder.layers), model)
        self.width = network.hidden_dim * max(len(layers), 1)

    def network(self, network: Any) -> nn.Module:
        """The network without what lies behind the last layer."""
        if self.layers:
            network.encoder.layers = network.encoder.layers[: max(self.layers) + 1]
            network.encoder.ln = nn.Identity()
        return network

    def vectors(self, network: Any, x: Tensor) -> list[Tensor]:
        return [states[:, 0] for states in self._states(network, x)]

    def places(self, network: Any, x: Tensor) -> list[Tensor]:
        return [states[:, 1:] for states in self._states(network, x)]

    def _states(self, network: Any, x: Tensor) -> list[Tensor]:
        encoder, patches = network.encoder, network._process_input(x)
        first = network.class_token.expand(len(patches), -1, -1)
        states = encoder.dropout(torch.cat([first, patches], dim=1) + encoder.pos_embedding)
        found = []
        for block in encoder.layers:
            states = block(states)
            found.append(states)
        return [found[i] for i in self.layers] or [encoder.ln(states)]


class _Chain:
    """How to read a convolutional network that is a chain of stages."""

    def __init__(self, network: nn.Module, layers: Sequence[int], model: str, tokens: bool) -> None:
        stages = _stages(network)
        if not stages:
            raise ConfigError(f"{model} gives neither tokens nor layers. Leave both out.")
        self.layers = chosen(layers, len(stages), model) or [len(stages) - 1]
        with torch.no_grad():
            maps = self._maps(self.network(network).eval(), torch.zeros(1, 3, 64, 64))
        self.width = sum(m.shape[1] for m in maps)
        if tokens and len({m.shape[2:] for m in maps}) > 1:
            raise ConfigError(
                f"{model}: layers {list(layers)} have maps of different sizes, which are no one "
                "sequence. Choose one, or no tokens."
            )

    def network(self, network: nn.Module) -> nn.Module:
        """The stages up to the last layer."""
        return nn.Sequential(*_stages(network)[: max(self.layers) + 1])

    def vectors(self, network: nn.Module, x: Tensor) -> list[Tensor]:
        return [m.mean(dim=(2, 3)) for m in self._maps(network, x)]

    def places(self, network: nn.Module, x: Tensor) -> list[Tensor]:
        return [places(m) for m in self._maps(network, x)]

    def _maps(self, network: nn.Module, x: Tensor) -> list[Tensor]:
        found = []
        for stage in network.children():
            x = stage(x)
            found.append(x)
        return [found[i] for i in self.layers]
