"""Encoder for sounds around wav2vec 2.0, HuBERT and WavLM, as torchaudio has them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.errors import ConfigError, MissingFileError
from mmfuse.spec import ModalitySpec
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import Adapter
from mmfuse_encoders.masked_norm import masked_group_norm
from mmfuse_encoders.pretrained import PretrainedEncoder, existing, fixed_draw, foreign
from mmfuse_encoders.tokens import sequence
from mmfuse_encoders.waveform import Waveforms

#: Samples a second that all of these models were trained on.
RATE = 16_000


class Wav2Vec2Encoder(PretrainedEncoder):
    """Features of a wav2vec 2.0, HuBERT or WavLM model, their mean over time or as tokens.

    They are what ``extract_features`` of torchaudio's model gives for each sound alone.
    Padding changes nothing: the group normalisation in the first convolution, the scaling of
    the samples (in models whose convolutions all have a LayerNorm) and attention see a
    sound's real samples. A sound too short for one frame is padded with silence.

    Args:
        spec: an audio modality.
        bundle: name of a bundle in ``torchaudio.pipelines``, such as ``WAV2VEC2_BASE``,
            ``HUBERT_BASE`` or ``WAVLM_BASE_PLUS``.
        weights: a file with the model's state dict; None for the bundle's own, from torch
            hub's folder (``TORCH_HOME``) or else downloaded.
        config: an architecture in place of the bundle's, as arguments of
            ``torchaudio.models.wav2vec2_model``, or of ``wavlm_model`` if
            ``encoder_num_buckets`` is among them. It needs ``weights``.
        layer: which transformer layer's output, from 0, or from -1 backwards. Later ones are
            left out of the model.
        tokens: give the frames as tokens, not their mean.
        max_seconds: the most that is kept of a sound, from its beginning; a longer one is
            reported once and counted.
        out_dim: width of the result through a linear readout; None for the model's own.
        adapter: what of the model learns; in WavLM, LoRA reaches the linear maps but those of
            queries, keys and values.

    Shape:
        preprocess: B sounds -> Tokens, values (B, T) at 16 kHz
        forward: (B, T) or Tokens -> (B, out_dim), or Tokens (B, F, out_dim), about 50 a second

    Raises:
        ConfigError: no such bundle or layer, or a config that makes no model.
        CheckpointError: the file of weights is damaged, or is of another model.
        MissingFileError: weights that are not there and cannot be downloaded.
        DataError: from ``preprocess``, a row that is not a Sound.

    Reference: Baevski et al., "wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
        Representations", NeurIPS 2020, arXiv:2006.11477; Hsu et al., "HuBERT: Self-Supervised
        Speech Representation Learning by Masked Prediction of Hidden Units", TASLP 2021,
        arXiv:2106.07447; Chen et al., "WavLM: Large-Scale Self-Supervised Pre-Training for
        Full Stack Speech Processing", JSTSP 2022, arXiv:2110.13900.

    Departs from the papers: no time steps are masked and no layers dropped in training.
    """

    kinds = frozenset({"audio"})

    def __init__(
        self,
        spec: ModalitySpec | int | Sequence[int | None],
        bundle: str = "WAV2VEC2_BASE",
        weights: str | None = None,
        config: Mapping[str, Any] | None = None,
        layer: int = -1,
        tokens: bool = False,
        max_seconds: float = 20.0,
        out_dim: int | None = None,
        adapter: Adapter | None = None,
    ) -> None:
        super().__init__(spec, out_dim, adapter)
        self.tokens = tokens
        self.waveforms = Waveforms(RATE, max_seconds)
        with fixed_draw():
            model = _model(bundle, weights, config)
        _trim(model, layer)
        blocks = model.feature_extractor.conv_layers
        self._is_scaled = not isinstance(blocks[0].layer_norm, nn.GroupNorm)
        self._shortest = _receptive_field(blocks)
        transformer = model.encoder.transformer
        self._adopt(model, transformer.pos_conv_embed.embed_dim, list(transformer.layers))

    def preprocess(self, raw: Any) -> Tokens:
        """Samples of each sound at 16 kHz, padded to the longest."""
        return self.waveforms(raw)

    def preprocessing(self) -> dict[str, Any]:
        """The rate and the longest sound."""
        return self.waveforms.in_words()

    def features(self, x: Tensor | Tokens) -> Tensor | Tokens:
        """The layer's output."""
        given = sequence(x)
        samples = given.values.to(next(self.backbone.parameters()).dtype)
        length = given.mask.sum(dim=1)
        if self._is_scaled:
            samples = _scaled(Tokens(samples, given.mask))
        samples = F.pad(samples, (0, max(0, self._shortest - samples.shape[1])))
        found = self._transformed(self._convolved(samples, length.clamp(min=self._shortest)))
        return found if self.tokens else found.pooled()

    def _convolved(self, samples: Tensor, length: Tensor) -> Tokens:
        """Frames of the convolutions; one is real if all that it sees is."""
        maps = samples.unsqueeze(1)
        for block in self.backbone.feature_extractor.conv_layers:  # type: ignore[union-attr]
            maps = block.conv(maps)
            length = (length - block.kernel_size) // block.stride + 1
            mask = torch.arange(maps.shape[2], device=maps.device) < length.unsqueeze(1)
            if isinstance(block.layer_norm, nn.GroupNorm):
                maps = masked_group_norm(block.layer_norm, maps, mask)
            elif block.layer_norm is not None:
                maps = block.layer_norm(maps)
            maps = F.gelu(maps)
        return Tokens(maps.transpose(1, 2), mask)

    def _transformed(self, frames: Tokens) -> Tokens:
        encoder: Any = self.backbone.encoder
        transformer, mask = encoder.transformer, frames.mask
        x = encoder.feature_projection(frames.values).masked_fill(~mask.unsqueeze(2), 0)
        x = x + transformer.pos_conv_embed(x)
        if transformer.layer_norm_first:
            x = transformer.layer_norm(x)
        x = transformer.dropout(x)
        # WavLM's attention takes what to add for each frame, the others' a mask of pairs.
        dtype = next(self.backbone.parameters()).dtype  # as its biases are, under autocast too
        added = torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, float("-inf"))
        steps = mask.shape[1]
        pairs = None if _is_wavlm(transformer) else mask[:, None, None].expand(-1, 1, steps, -1)
        bias = None
        for layer in transformer.layers:
            x, bias = layer(x, pairs, position_bias=bias, key_padding_mask=added)
        return Tokens(x, mask)


def _model(bundle: str, weights: str | None, config: Mapping[str, Any] | None) -> Any:
    """The model of torchaudio, with its weights unless a checkpoint brings them."""
    from torchaudio import models, pipelines

    if config is None:
        known = [
            n for n in dir(pipelines) if isinstance(getattr(pipelines, n), pipelines.Wav2Vec2Bundle)
        ]
        if bundle not in known:
            near = difflib.get_close_matches(bundle, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"torchaudio has no such bundle as {bundle!r}.{hint} It has {', '.join(known)}."
            )
        if weights is None and needs_pretrained_weights():
            return _downloaded(bundle, getattr(pipelines, bundle))
        config = getattr(pipelines, bundle)._params
    make = models.wavlm_model if "encoder_num_buckets" in config else models.wav2vec2_model
    try:
        model = make(**config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"Wav2Vec2Encoder: config makes no model: {error}. It takes the arguments of "
            f"torchaudio.models.{make.__name__}."
        ) from error
    if needs_pretrained_weights():
        if weights is None:
            raise ConfigError(
                "Wav2Vec2Encoder: config names an architecture, not its weights. Give weights, a "
                "file with the model's state dict."
            )
        _load(model, weights)
    return model


def _downloaded(name: str, bundle: Any) -> Any:
    try:
        model = bundle.get_model(dl_kwargs={"map_location": "cpu", "weights_only": True})
    except OSError as error:
        file = bundle._path.rpartition("/")[2]
        raise MissingFileError(
            f"The weights of {name} are not in {torch.hub.get_dir()}/checkpoints and cannot be "
            f"downloaded: {error}. Put {file} of torchaudio's models there, or set TORCH_HOME to "
            "the folder whose hub/checkpoints has it, or give its path as weights."
        ) from error
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise foreign(f"{torch.hub.get_dir()}/checkpoints", name, error) from error
    return getattr(model, "model", model)  # without the wrapper that scales a whole batch at once


def _load(model: nn.Module, path: str) -> None:
    file = existing(path)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        # The readout for speech recognition is not used, and published ones differ in shape.
        own = {k: v for k, v in model.state_dict().items() if k.startswith("aux.")}
        model.load_state_dict({k: v for k, v in state.items() if not k.startswith("aux.")} | own)
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise foreign(path, "this bundle or config", error) from error


def _trim(model: Any, layer: int) -> None:
    """Leaves out what the layer's output does not depend on, and makes the rest plain."""
    transformer = model.encoder.transformer
    count = len(transformer.layers)
    if not -count <= layer < count:
        raise ConfigError(
            f"Wav2Vec2Encoder: layer {layer} of {count}. Take 0 to {count - 1}, or -1 backwards."
        )
    model.aux = None
    transformer.layers = transformer.layers[: layer % count + 1]
    if not transformer.layer_norm_first:
        transformer.layer_norm = nn.Identity()  # for the last layer, before a readout
    transformer.pos_conv_embed.conv = _plain(transformer.pos_conv_embed.conv)
    for block in transformer.layers if _is_wavlm(transformer) else ():
        block.attention.attention = _AttentionWeights(block.attention.attention)


def _plain(conv: nn.Conv1d) -> nn.Conv1d:
    """The same without weight normalisation, whose hooks cannot be pickled."""
    made = nn.Conv1d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size[0],
        padding=conv.padding[0],
        groups=conv.groups,
    )
    made.load_state_dict({"weight": conv.weight, "bias": conv.bias})
    return made


class _AttentionWeights(nn.Module):
    """The weights of WavLM's attention, which reads them and never calls the layer itself.

    In this form LoRA does not take them for an attention that it can open, and reaches the
    map of the output alone.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.in_proj_weight, self.in_proj_bias = attention.in_proj_weight, attention.in_proj_bias
        self.out_proj = attention.out_proj


def _is_wavlm(transformer: Any) -> bool:
    return hasattr(transformer.layers[0].attention, "rel_attn_embed")


def _receptive_field(blocks: Any) -> int:
    """Samples that one frame sees."""
    seen = 1
    for block in reversed(blocks):
        seen = (seen - 1) * block.stride + block.kernel_size
    return seen


def _scaled(sound: Tokens) -> Tensor:
    """Each row's real samples at mean zero and deviation one, as LayerNorm would; padding zero."""
    count = sound.mask.sum(dim=1, keepdim=True)
    mean = sound.values.sum(dim=1, keepdim=True) / count
    centred = (sound.values - mean).masked_fill(~sound.mask, 0)
    variance = centred.square().sum(dim=1, keepdim=True) / count
    return centred * (variance + 1e-5).rsqrt()
