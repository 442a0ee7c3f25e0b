"""TorchvisionVideoEncoder: video models of torchvision, without their classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.pictures import THINNEST, as_tokens, inner_blocks
from mmfuse_encoders.pretrained import PretrainedEncoder, fixed_draw
from mmfuse_encoders.torchvision_weights import load_weights, settings_of
from mmfuse_encoders.video import frames_of, require_videos

# What each family (torchvision's class) calls its classifier.
_HEADS = {"VideoResNet": "fc", "S3D": "classifier", "MViT": "head", "SwinTransformer3d": "head"}
# What a classifier ends in; S3D's is a convolution over single places.
_LAST = (nn.Linear, nn.Conv3d)


class TorchvisionVideoEncoder(PretrainedEncoder):
    """A video model of torchvision: what its classifier would read.

    The frames stand in the middles of equal parts of the video. They are resized, cropped
    and normalised as the weights' own transforms say; a local file and random weights take
    the transforms of the model's default weights.

    Args:
        spec: a video modality of raw videos.
        model: torchvision's name: ``r3d_18``, ``mc3_18``, ``r2plus1d_18``, ``s3d``,
            ``mvit_v1_b``, ``mvit_v2_s``, ``swin3d_t``, ``swin3d_s`` or ``swin3d_b``.
        weights: a name that torchvision gives weights of the model, such as
            ``KINETICS400_V1`` or ``DEFAULT`` (downloaded once, kept under ``TORCH_HOME``); the
            path of a file that holds a state dict; None for random weights, of which every
            number is that of a random-weight encoder.
        frames: how many frames are read; ``mvit`` takes 16 and no other number, ``s3d`` 14 up.
        out_dim: width of the result through a linear readout; None for the model's own.
        adapter: what of the model learns; ``Frozen()`` by default.
        tokens: give each moment of the last map as a token, the mean over its places.

    Shape:
        preprocess: B videos -> (B, 3, frames, H, W)
        forward: (B, 3, frames, H, W) -> (B, D), or Tokens (B, T, D)

    Raises:
        ConfigError: torchvision has no such video model or weights, or the model does not take so
            many frames.
        CheckpointError: the weights are damaged, or of another model.
        MissingFileError: the weights are neither here nor can they be downloaded.
        DataError: from ``preprocess``, a row that is no video, cannot be decoded, or is over
            100 times as long as it is wide.

    Reference: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action
        Recognition", CVPR 2018, arXiv:1711.11248 (r3d, mc3, r2plus1d); Xie et al.,
        "Rethinking Spatiotemporal Feature Learning", ECCV 2018, arXiv:1712.04851 (s3d); Li et
        al., "MViTv2", CVPR 2022, arXiv:2112.01526; Liu et al., "Video Swin Transformer", CVPR
        2022, arXiv:2106.13230.

    Departs from the papers: one clip over the whole video, not the mean over many short ones.
    """

    kinds = frozenset({"video"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "r3d_18",
        weights: str | None = None,
        frames: int = 16,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        tokens: bool = False,
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        require_videos(self, frames)
        self.frames, self.tokens = frames, tokens
        network, entry = _build(model, weights)
        family = type(network).__name__
        _require_frames(family, model, frames, entry)
        head = _HEADS[family]
        last = [m for m in getattr(network, head).modules() if isinstance(m, _LAST)][-1]
        setattr(network, head, nn.Identity())
        if weights is not None and needs_pretrained_weights():
            is_file = weights not in type(entry).__members__
            load_weights(network, weights if is_file else entry.url, head, model)
        width = last.weight.shape[1]
        self._preset = entry.transforms()
        self._adopt(network, width, _blocks(network), weights is None)

    def preprocess(self, raw: Any) -> Tensor:
        """Frames, resized, cropped and normalised as the model was trained."""
        return torch.stack([self._preset(self._clip(v)) for v in raw])

    def _clip(self, value: Any) -> Tensor:
        frames = torch.from_numpy(frames_of(value, self.frames).copy()).permute(0, 3, 1, 2)
        height, width = frames.shape[2:]
        # Resizing the short side of a thinner video could fill the memory with its long side.
        if max(height, width) > THINNEST * min(height, width):
            raise DataError(
                f"A video of {width} x {height} pixels is over {THINNEST} times as long as it is "
                "wide. Cut it, or mark the row absent."
            )
        return frames.contiguous()

    def preprocessing(self) -> dict[str, Any]:
        """The model's own settings, and how many frames are read."""
        return {"frames": self.frames, **settings_of(self._preset)}

    def features(self, x: Tensor) -> Tensor | Tokens:
        """What the classifier would read, or the moments of the last map."""
        if not self.tokens:
            return self.backbone(x)
        return as_tokens(_last_map(self.backbone, x).mean(dim=(3, 4)).transpose(1, 2))


def _build(model: str, weights: str | None) -> tuple[nn.Module, Any]:
    """The network, and torchvision's entry for the weights: of a file and of none the default."""
    from torchvision import models

    names = models.list_models(module=models.video)
    if model not in names:
        raise ConfigError(f"torchvision has no video model {model!r}. It has {', '.join(names)}.")
    entries = models.get_model_weights(model)
    is_named = weights in entries.__members__
    if not is_named and weights is not None and "." not in weights and "/" not in weights:
        raise ConfigError(
            f"torchvision has no weights {weights!r} of {model}. It has "
            f"{list(entries.__members__)}; or give the path of a file."
        )
    with fixed_draw():
        network = models.get_model(model, weights=None)
    return network, entries[str(weights) if is_named else "DEFAULT"]


def _require_frames(family: str, model: str, frames: int, entry: Any) -> None:
    fewest = entry.meta.get("min_temporal_size", 1)
    is_fixed = family == "MViT"  # its positions are learned
    if frames < fewest or (is_fixed and frames != fewest):
        raise ConfigError(
            f"TorchvisionVideoEncoder: frames is {frames}; {model} takes {fewest}"
            f"{'' if is_fixed else ' up'}."
        )


def _blocks(network: Any) -> list[nn.Module]:
    if hasattr(network, "layer1"):
        return inner_blocks([network.layer1, network.layer2, network.layer3, network.layer4])
    found = inner_blocks(network.blocks if hasattr(network, "blocks") else network.features)
    return [b for b in found if any(True for _ in b.parameters())]


def _last_map(network: Any, x: Tensor) -> Tensor:
    """``(B, D, T, H, W)``: what the network pools, or of MViT the patches."""
    family = type(network).__name__
    if family == "VideoResNet":
        for part in (network.stem, network.layer1, network.layer2, network.layer3, network.layer4):
            x = part(x)
        return x
    if family == "S3D":
        return network.features(x)
    if family == "SwinTransformer3d":
        x = network.norm(network.features(network.pos_drop(network.patch_embed(x))))
        return x.permute(0, 4, 1, 2, 3)
    x = network.pos_encoding(network.conv_proj(x).flatten(2).transpose(1, 2))
    size = (network.pos_encoding.temporal_size, *network.pos_encoding.spatial_size)
    for block in network.blocks:
        x, size = block(x, size)
    return network.norm(x)[:, 1:].transpose(1, 2).unflatten(2, size)
