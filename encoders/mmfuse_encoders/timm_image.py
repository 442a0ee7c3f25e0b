"""TimmEncoder: any picture model of timm, its vector or its patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.errors import CheckpointError, ConfigError
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
from mmfuse_encoders.pretrained import existing, fixed_draw, foreign, not_at_hand


class TimmEncoder(PictureEncoder):
    """A picture model of timm without its classifier.

    The vector is what the classifier would read. Pictures are preprocessed as timm's data
    configuration of the model says (size, crop, interpolation, mean, deviation), without
    augmentation.

    Args:
        spec: an image modality of raw pictures.
        model: timm's name with or without a tag, such as ``vit_small_patch14_dinov2.lvd142m``,
            or ``hf-hub:owner/repository``, or ``local-dir:folder`` as ``timm`` saves it.
        pretrained: True for the weights that belong to ``model`` (from the hub, cached under
            ``HF_HOME``, or from the folder); the path of a file of weights; False for random
            weights, of which every number is that of a random-weight encoder.
        out_dim: width of the result through a linear readout; None for the model's own.
        adapter: what of the model learns; ``Frozen()`` by default.
        tokens: give each patch, or place of the last map, as a token, row by row.
        layers: layers to read instead of the end, as timm counts intermediates (blocks of a
            transformer, stages of a convolutional network); several lie side by side. The
            vector is then the mean over their places. What comes after the last is dropped.
        config: what the encoder read of the model, kept for checkpoints in place of ``model``.

    Shape:
        preprocess: B pictures -> (B, 3, H, W)
        forward: (B, 3, H, W) -> (B, D), or Tokens (B, T, D)

    Raises:
        ConfigError: timm is not installed, the model or a layer is unknown, it does not give
            its layers, or the layers have different numbers of places.
        CheckpointError: the file of weights is damaged, or is of another model.
        MissingFileError: the weights are neither here nor can they be downloaded.

    Reference: Wightman, "PyTorch Image Models", 2019, doi:10.5281/zenodo.4414861.
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "vit_small_patch16_224",
        pretrained: bool | str = False,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        tokens: bool = False,
        layers: Sequence[int] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        timm = _timm()
        with fixed_draw():
            trunk, config = _create(timm, model, pretrained, config)
        self._arguments["config"] = config
        self._settings = config["data"]
        self._transform = timm.data.create_transform(**config["data"], is_training=False)
        self.tokens = tokens
        self._layers = read_trunk(trunk, layers, tokens)
        self._adopt(
            trunk, trunk_width(trunk, self._layers, tokens), trunk_blocks(trunk), not pretrained
        )

    def features(self, x: Tensor) -> Tensor | Tokens:
        """The model's vector or places."""
        if not self.tokens and not self._layers:
            return self.backbone(x)
        found = trunk_places(self.backbone, x, self._layers)
        if self.tokens:
            return as_tokens(torch.cat(found, dim=2))
        return torch.cat([values.mean(dim=1) for values in found], dim=1)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            "TimmEncoder needs timm, which is not installed: pip install mmfuse[media]"
        ) from error
    return timm


def _create(
    timm: Any, model: str, pretrained: bool | str, config: Mapping[str, Any] | None
) -> tuple[nn.Module, dict[str, Any]]:
    """The network, and what it takes to build it again without any file."""
    if config is not None and not needs_pretrained_weights():
        trunk = timm.create_model(config["architecture"], num_classes=0, **config["arguments"])
        return trunk, dict(config)
    try:
        # With its classifier, or timm would load weights of any model without a word.
        trunk = timm.create_model(model, pretrained=pretrained is True)
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        if str(error).startswith("Unknown model"):
            near = timm.list_models(f"*{model.split('.')[0][:8]}*")[:5]
            raise ConfigError(
                f"timm has no model {model!r}. Near it: {near}; timm.list_models() names all."
            ) from error
        is_absent = str(error).startswith(("Invalid pretrained", "No pretrained", "No suitable"))
        if is_absent or isinstance(error, OSError | ValueError) or pretrained is not True:
            raise not_at_hand(f"timm's model {model!r}", error) from error
        raise foreign(model, "its architecture", error) from error
    trunk.reset_classifier(0)
    if isinstance(pretrained, str):
        _load(timm, trunk, pretrained)
    data = timm.data.resolve_model_data_config(trunk)
    arguments = {k: v for k, v in trunk._model_args.items() if k != "num_classes"}
    architecture = trunk.pretrained_cfg["architecture"]
    return trunk, {"architecture": architecture, "arguments": arguments, "data": data}


def _load(timm: Any, trunk: nn.Module, path: str) -> None:
    """A file's weights, its classifier left out."""
    file = existing(path)
    try:
        found = timm.models.load_checkpoint(trunk, str(file), strict=False)
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise foreign(path, "this model of timm", error) from error
    names = trunk.pretrained_cfg.get("classifier") or ()  # type: ignore[operator, union-attr]
    heads = (names,) if isinstance(names, str) else tuple(names)
    others = [k for k in found.unexpected_keys if not k.startswith(heads)]
    if found.missing_keys or others:
        raise CheckpointError(
            f"{path} is of another model: it lacks {found.missing_keys[:3]} and has {others[:3]} "
            "besides. Name the model that the file was saved from."
        )


def read_trunk(trunk: Any, layers: Sequence[int], tokens: bool) -> list[int]:
    """Drops what nothing will read of a timm network; gives the positions of the layers.

    Raises:
        ConfigError: there is no such layer, or their places cannot lie side by side.
    """
    name = type(trunk).__name__
    if layers:
        if not hasattr(trunk, "prune_intermediate_layers"):
            raise ConfigError(f"{name} does not give its layers. Leave `layers` empty.")
        found = chosen(layers, len(trunk.feature_info), name)
        sizes = {trunk.feature_info[i]["reduction"] for i in found}
        if tokens and len(sizes) > 1:
            raise ConfigError(
                f"{name}: layers {list(layers)} have maps of {sorted(sizes)} times fewer pixels a "
                "side than the picture, which are no one sequence. Choose one, or no tokens."
            )
        trunk.prune_intermediate_layers(found, prune_norm=True, prune_head=True)
        return found
    if tokens:
        unread = ["head", "fc_norm", "attn_pool"]
        if getattr(trunk, "head_hidden_size", trunk.num_features) != trunk.num_features:
            unread += ["conv_head", "norm_head"]  # a MobileNet's, behind its pooling
        for part in unread:
            if isinstance(getattr(trunk, part, None), nn.Module):
                setattr(trunk, part, nn.Identity())
    return []


def trunk_places(trunk: Any, x: Tensor, layers: Sequence[int]) -> list[Tensor]:
    """Each layer's patches or places, or those of the end.

    Shape:
        (B, 3, H, W) -> [(B, T, C)]
    """
    if layers:
        options = {"indices": list(layers), "intermediates_only": True, "output_fmt": "NCHW"}
        maps = trunk.forward_intermediates(x, **options)  # from the input to the output
        by_layer = dict(zip(sorted(set(layers)), maps, strict=True))
        return [places(by_layer[i]) for i in layers]
    found = trunk.forward_features(x)
    if found.dim() == 3:
        return [found[:, getattr(trunk, "num_prefix_tokens", 0) :]]
    is_channel_last = str(getattr(trunk, "output_fmt", "NCHW")).endswith("NHWC")
    return [found.flatten(1, 2) if is_channel_last else places(found)]


def trunk_width(trunk: Any, layers: Sequence[int], tokens: bool) -> int:
    """Width of what is read of a timm network."""
    if layers:
        return sum(trunk.feature_info[i]["num_chs"] for i in layers)
    if tokens:
        return trunk.num_features
    return getattr(trunk, "head_hidden_size", trunk.num_features)


def trunk_blocks(trunk: nn.Module) -> list[nn.Module]:
    """A timm network's blocks, from the input to the output."""
    for name in ("blocks", "stages", "layers"):
        stages = getattr(trunk, name, None)
        if isinstance(stages, nn.Sequential | nn.ModuleList):
            return inner_blocks(stages)
    numbered = [m for n, m in trunk.named_children() if n.startswith("layer")]
    return inner_blocks(numbered) if numbered else list(trunk.children())
