"""OpenClipImageEncoder: the image tower of any open_clip model, its vector or its patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmfuse.errors import ConfigError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.open_clip_model import build, has_random_weights
from mmfuse_encoders.pictures import PictureEncoder, as_tokens, chosen, inner_blocks, places
from mmfuse_encoders.pretrained import fixed_draw
from mmfuse_encoders.timm_image import read_trunk, trunk_blocks, trunk_places, trunk_width


class OpenClipImageEncoder(PictureEncoder):
    """The image tower of an open_clip model.

    The vector is ``encode_image`` of the model: projected into the space shared with texts,
    and not normalised, as its length is information to a fusion. Pictures are preprocessed as
    the weights' own configuration says (size, resize mode, interpolation, mean, deviation);
    for weights in a file, as all published weights of the architecture agree.

    Args:
        spec: an image modality of raw pictures.
        model: open_clip's name, such as ``ViT-B-32``; ``hf-hub:owner/repository`` or
            ``local-dir:folder``, which bring their weights; or the path of a JSON file with an
            architecture of your own, in the form of open_clip's ``model_configs``.
        pretrained: a tag of open_clip, such as ``laion2b_s34b_b79k`` (from the hub, cached under
            ``HF_HOME``), or the path of a file; None for random weights, of which every number
            is that of a random-weight encoder.
        out_dim: width of the result through a linear readout; None for the tower's own.
        adapter: what of the tower learns; ``Frozen()`` by default.
        tokens: give each patch, or place of the last map, as a token, row by row, unprojected.
        layers: layers to read instead of the end, from 0, without the last normalisation: a
            transformer's blocks, or a ResNet's stem and four stages. Several lie side by side.
            The vector is then the class token of a tower that pools by it, or else the mean.
        config: what the encoder read of the model, kept for checkpoints in place of ``model``.

    Shape:
        preprocess: B pictures -> (B, 3, H, W)
        forward: (B, 3, H, W) -> (B, D), or Tokens (B, T, D)

    Raises:
        ConfigError: an unknown model, tag or layer; layers of different sizes as tokens.
        CheckpointError: the weights are damaged, or of another model.
        MissingFileError: the weights are neither here nor can they be downloaded.

    Reference: Radford et al., "Learning Transferable Visual Models From Natural Language
        Supervision", ICML 2021, arXiv:2103.00020; Cherti et al., "Reproducible Scaling Laws
        for Contrastive Language-Image Learning", CVPR 2023, arXiv:2212.07143.
    """

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        model: str = "ViT-B-32",
        pretrained: str | None = None,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
        tokens: bool = False,
        layers: Sequence[int] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        from open_clip.transform import PreprocessCfg, image_transform_v2

        with fixed_draw():
            built, config = build(model, pretrained, config, "vision_cfg")
        self._arguments["config"] = config
        self._settings = config["preprocess_cfg"]
        self._transform = image_transform_v2(PreprocessCfg(**self._settings), is_train=False)
        tower: Any = built.visual
        read = READERS.get(type(tower).__name__)
        if read is None:
            raise ConfigError(f"The image tower of {model} is a {type(tower).__name__}, unknown.")
        self._reader = read(tower, layers, tokens)
        self.tokens = tokens
        self._adopt(
            tower,
            self._reader.width,
            self._reader.blocks(tower),
            has_random_weights(model, pretrained),
        )

    def features(self, x: Tensor) -> Tensor | Tokens:
        """The tower's vector or places."""
        if self.tokens:
            return as_tokens(torch.cat(self._reader.places(self.backbone, x), dim=2))
        return self._reader.vector(self.backbone, x)


class _Transformer:
    """How to read open_clip's vision transformer; what nothing reads is dropped from it."""

    def __init__(self, tower: Any, layers: Sequence[int], tokens: bool) -> None:
        self.layers = chosen(layers, len(tower.transformer.resblocks), "The image tower")
        self.has_class = tower.pool_type == "tok" and tower.attn_pool is None
        tower.output_tokens = tokens and not layers
        self.width = tower.output_dim
        if layers:
            self.width = tower.transformer.width * len(layers)
            tower.prune_intermediate_layers(self.layers, prune_norm=True)
            tower.attn_pool = None
        elif tokens:
            self.width = tower.ln_post.normalized_shape[0]
            tower.proj = None
            if tower.final_ln_after_pool and tower.attn_pool is None:
                tower.ln_post = nn.Identity()  # it would normalise the vector alone

    def vector(self, tower: Any, x: Tensor) -> Tensor:
        if not self.layers:
            return tower(x)
        if not self.has_class:
            return torch.cat([p.mean(dim=1) for p in self.places(tower, x)], dim=1)
        return torch.cat([c[:, 0] for c in self._intermediates(tower, x, "_prefix")], dim=1)

    def places(self, tower: Any, x: Tensor) -> list[Tensor]:
        return self._intermediates(tower, x, "") if self.layers else [tower(x)[1]]

    def _intermediates(self, tower: Any, x: Tensor, part: str) -> list[Tensor]:
        found = tower.forward_intermediates(
            x,
            indices=self.layers,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )[f"image_intermediates{part}"]  # from the input to the output
        by_layer = dict(zip(sorted(set(self.layers)), found, strict=True))
        return [by_layer[i] for i in self.layers]

    def blocks(self, tower: Any) -> list[nn.Module]:
        return list(tower.transformer.resblocks)


class _ResNet:
    """How to read open_clip's ResNet: its stem and four stages."""

    STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")

    def __init__(self, tower: Any, layers: Sequence[int], tokens: bool) -> None:
        self.layers = chosen(layers, len(self.STAGES), "The image tower")
        if tokens and not layers:
            self.layers = [len(self.STAGES) - 1]
        self.width = tower.output_dim
        if not self.layers:
            return
        # Stem and first stage have maps of one size.
        if tokens and len({max(i, 1) for i in self.layers}) > 1:
            raise ConfigError(
                f"The image tower's layers {list(layers)} have maps of different sizes, which "
                "are no one sequence. Choose one, or no tokens."
            )
        widths = [tower.bn3.num_features]
        widths += [getattr(tower, name)[-1].bn3.num_features for name in self.STAGES[1:]]
        self.width = sum(widths[i] for i in self.layers)
        for name in ("attnpool", *self.STAGES[max(self.layers) + 1 :]):
            setattr(tower, name, None)

    def vector(self, tower: Any, x: Tensor) -> Tensor:
        if not self.layers:
            return tower(x)
        return torch.cat([p.mean(dim=1) for p in self.places(tower, x)], dim=1)

    def places(self, tower: Any, x: Tensor) -> list[Tensor]:
        found = {}
        for i in range(max(self.layers) + 1):
            x = getattr(tower, self.STAGES[i])(x)
            found[i] = x
        return [places(found[i]) for i in self.layers]

    def blocks(self, tower: Any) -> list[nn.Module]:
        stages = [getattr(tower, name) for name in self.STAGES[1:]]
        return inner_blocks([s for s in stages if s is not None])


class _Timm:
    """How to read a tower from timm."""

    def __init__(self, tower: Any, layers: Sequence[int], tokens: bool) -> None:
        self.is_end = not layers and not tokens
        self.layers = read_trunk(tower.trunk, layers, tokens)
        if self.is_end:
            last = [m for m in tower.head.modules() if isinstance(m, nn.Linear)]
            own = tower.trunk.num_classes or trunk_width(tower.trunk, [], False)
            self.width = last[-1].out_features if last else own
        else:
            self.width = trunk_width(tower.trunk, self.layers, tokens)
            tower.head = nn.Identity()

    def vector(self, tower: Any, x: Tensor) -> Tensor:
        if self.is_end:
            return tower(x)
        return torch.cat([p.mean(dim=1) for p in self.places(tower, x)], dim=1)

    def places(self, tower: Any, x: Tensor) -> list[Tensor]:
        return trunk_places(tower.trunk, x, self.layers)

    def blocks(self, tower: Any) -> list[nn.Module]:
        return trunk_blocks(tower.trunk)


READERS: Mapping[str, type[_Transformer] | type[_ResNet] | type[_Timm]] = {
    "VisionTransformer": _Transformer,
    "ModifiedResNet": _ResNet,
    "TimmModel": _Timm,
}
