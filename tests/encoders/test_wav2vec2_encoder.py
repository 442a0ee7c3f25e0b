"""The encoder around wav2vec 2.0, HuBERT and WavLM."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchaudio import models, pipelines
from torchaudio.pipelines import Wav2Vec2Bundle

import mmfuse
from mmfuse import DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.batch import Batch
from mmfuse.errors import CheckpointError, ConfigError, DataError, MissingFileError
from mmfuse.fusion import ConcatFusion
from mmfuse.media import Sound
from mmfuse.testing import check_encoder
from mmfuse.tokens import Tokens
from mmfuse_encoders.adapters import FullTuning, LastLayers, LoRA
from mmfuse_encoders.wav2vec2_audio import RATE, Wav2Vec2Encoder

AUDIO = ModalitySpec("audio")
# Small models of random weights, built as the published base and large ones are.
BASE = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [[8, 10, 5], [8, 3, 2], [8, 2, 2]],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 12,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 6,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 16,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.1,
    "aux_num_out": None,
}
LARGE = BASE | {
    "extractor_mode": "layer_norm",
    "extractor_conv_bias": True,
    "encoder_layer_norm_first": True,
}
WAVLM = {k: v for k, v in BASE.items() if k != "aux_num_out"} | {
    "encoder_num_buckets": 8,
    "encoder_max_distance": 10,
    "aux_num_out": None,
}
CONFIGS = {"base": BASE, "large": LARGE, "wavlm": WAVLM}


def theirs(config, seed: int = 3) -> torch.nn.Module:
    """torchaudio's model with random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        make = models.wavlm_model if "encoder_num_buckets" in config else models.wav2vec2_model
        model = make(**config).eval()
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.2) if p.dim() > 1 else p.data.add_(
                0.1 * torch.randn_like(p)
            )
    return model


@pytest.fixture(params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture
def weights(config, tmp_path):
    torch.save(theirs(config).state_dict(), tmp_path / "model.pt")
    return str(tmp_path / "model.pt")


def noise(lengths: list[int], padding: float = 0.0, extra: int = 0) -> Tokens:
    """Random samples of these lengths, in double precision."""
    torch.manual_seed(1)
    mask = torch.arange(max(lengths) + extra) < torch.tensor(lengths).unsqueeze(1)
    values = torch.full(mask.shape, padding, dtype=torch.float64)
    for i, length in enumerate(lengths):
        values[i, :length] = torch.randn(length, dtype=torch.float64) + 0.3
    return Tokens(values, mask)


@pytest.mark.parametrize("layer", [-1, 0, 1])
def test_each_sound_of_a_batch_gets_the_features_that_torchaudio_gives_it_alone(
    config, weights, layer
):
    encoder = Wav2Vec2Encoder(
        AUDIO, weights=weights, config=config, layer=layer, tokens=True
    ).double()
    model = theirs(config).double()
    lengths = [400, 233, 1000, 1000]
    found = encoder(noise(lengths))
    for i, length in enumerate(lengths):
        alone = noise(lengths).values[i : i + 1, :length]
        if config is LARGE:  # as the wrapper of these bundles does
            alone = torch.nn.functional.layer_norm(alone, alone.shape)
        expected = model.extract_features(alone)[0][layer][0]
        torch.testing.assert_close(found.values[i, found.mask[i]], expected)


def test_the_vector_is_the_mean_over_real_frames(config, weights):
    options = {"weights": weights, "config": config}
    frames = Wav2Vec2Encoder(AUDIO, tokens=True, **options)(noise([900, 200]))
    vector = Wav2Vec2Encoder(AUDIO, **options)(noise([900, 200]))
    for i in range(2):
        torch.testing.assert_close(vector[i], frames.values[i, frames.mask[i]].mean(dim=0))


def test_padding_never_leaks_into_the_features(config, weights):
    encoder = Wav2Vec2Encoder(AUDIO, weights=weights, config=config).double()
    lengths = [1, 60, 900]
    expected = encoder(noise(lengths))
    for padding, extra in ((float("nan"), 0), (1e30, 300), (7.0, 1)):
        torch.testing.assert_close(encoder(noise(lengths, padding, extra)), expected)


def test_a_sound_too_short_for_a_frame_is_padded_with_silence(weights, config):
    encoder = Wav2Vec2Encoder(AUDIO, weights=weights, config=config, tokens=True)
    found = encoder(Tokens(torch.ones(2, 3), torch.tensor([[1, 0, 0], [1, 1, 1]]).bool()))
    assert found.mask.tolist() == [[True], [True]]
    assert found.values.isfinite().all()


@pytest.mark.parametrize(
    "options", [{}, {"tokens": True, "out_dim": 5}, {"adapter": FullTuning(), "layer": 1}]
)
def test_it_keeps_its_promises_with_random_weights(config, weights, options):
    spec = {"weights": weights, "config": config, "max_seconds": 0.1}
    check_encoder(Wav2Vec2Encoder, **spec, **options)


def test_every_bundle_is_at_this_rate_and_scaled_exactly_if_its_convolutions_have_layer_norm():
    bundles = [getattr(pipelines, n) for n in dir(pipelines)]
    bundles = [b for b in bundles if isinstance(b, Wav2Vec2Bundle)]
    assert len(bundles) > 20
    for bundle in bundles:
        assert bundle.sample_rate == RATE
        has_layer_norm = bundle._params["extractor_mode"] == "layer_norm"
        assert bundle._normalize_waveform is has_layer_norm
        assert ("encoder_num_buckets" in bundle._params) is (bundle._model_type == "WavLM")


def test_a_bundle_loads_its_weights_from_torch_hubs_folder(tmp_path, monkeypatch):
    for name, config in CONFIGS.items():
        kind = "WavLM" if name == "wavlm" else "Wav2Vec2"
        bundle = Wav2Vec2Bundle(f"{name}.pth", config, RATE, name == "large", kind)
        monkeypatch.setattr(pipelines, f"TINY_{name}", bundle, raising=False)
        folder = tmp_path / "hub" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(theirs(config).state_dict(), folder / f"{name}.pth")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        encoder = Wav2Vec2Encoder(AUDIO, f"TINY_{name}", tokens=True)
        x = torch.randn(1, 700)
        expected = bundle.get_model().extract_features(x)[0][-1]
        torch.testing.assert_close(encoder(x).values, expected)


def test_without_a_network_it_says_where_the_weights_must_be(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    with pytest.raises(
        MissingFileError, match=r"HUBERT_BASE are not in .*hub/checkpoints"
    ) as found:
        Wav2Vec2Encoder(AUDIO, "HUBERT_BASE")
    assert "hubert_fairseq_base_ls960.pth" in str(found.value)
    assert str(tmp_path) in str(found.value)


def test_a_bundle_whose_file_is_damaged_or_of_another_is_refused(tmp_path, monkeypatch):
    bundle = Wav2Vec2Bundle("tiny.pth", BASE, RATE, False, "Wav2Vec2")
    monkeypatch.setattr(pipelines, "TINY", bundle, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "tiny.pth"
    file.parent.mkdir(parents=True)
    torch.save(theirs(LARGE).state_dict(), file)
    with pytest.raises(CheckpointError, match="checkpoints holds no weights of TINY"):
        Wav2Vec2Encoder(AUDIO, "TINY")
    file.write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="checkpoints holds no weights of TINY"):
        Wav2Vec2Encoder(AUDIO, "TINY")


def model_of(encoder: Wav2Vec2Encoder) -> FusionModel:
    spec = DataSpec({"sound": AUDIO}, {"y": TargetSpec("regression")})
    fusion = ConcatFusion({"sound": encoder.out_dim}, out_dim=3)
    return FusionModel(spec, {"sound": encoder}, fusion).eval()


@pytest.mark.parametrize("adapter", [None, LoRA(rank=2), LastLayers(1)])
def test_a_saved_model_needs_its_weights_file_no_more(config, weights, tmp_path, adapter):
    torch.save(theirs(config).state_dict(), tmp_path / "gone.pt")
    encoder = Wav2Vec2Encoder(
        AUDIO, weights=str(tmp_path / "gone.pt"), config=config, adapter=adapter, max_seconds=0.05
    )
    model = model_of(encoder)
    mmfuse.save(model, tmp_path / "model.ckpt")
    (tmp_path / "gone.pt").unlink()
    again = mmfuse.load(tmp_path / "model.ckpt").eval()
    sounds = [Sound(np.random.default_rng(0).normal(size=(2, 3000)).astype(np.float32), 22050)]
    found = []
    for each in (model, again):
        x = each.preprocess["sound"](sounds)
        found.append(each(Batch(("sound",), {"sound": x}, torch.ones(1, 1).bool())).logits["y"])
    assert torch.equal(*found)


def test_a_gradient_reaches_the_samples_when_it_learns(config, weights):
    encoder = Wav2Vec2Encoder(AUDIO, weights=weights, config=config, adapter=FullTuning())
    sound = noise([300, 900])
    values = sound.values.float().requires_grad_()
    encoder(Tokens(values, sound.mask)).cos().sum().backward()
    assert values.grad[~sound.mask].abs().max() == 0
    assert values.grad[sound.mask].abs().sum() > 0
    assert all(p.grad is not None for p in encoder.parameters())


def test_mixed_precision_gives_about_the_same(config, weights):
    encoder = Wav2Vec2Encoder(AUDIO, weights=weights, config=config)
    sound = noise([400, 900])
    sound = Tokens(sound.values.float(), sound.mask)
    with torch.autocast("cpu", torch.bfloat16):
        found = encoder(sound)
    torch.testing.assert_close(found.float(), encoder(sound), atol=0.1, rtol=0)


def test_last_layers_are_those_below_the_chosen_one():
    with mmfuse.encoder.without_pretrained_weights():
        encoder = Wav2Vec2Encoder(AUDIO, config=BASE, layer=1, adapter=LastLayers(1))
    learning = {n.split(".layers.")[1][0] for n, p in encoder.named_parameters() if p.requires_grad}
    assert learning == {"1"}
    assert len(encoder.backbone.encoder.transformer.layers) == 2


def test_it_learns_pitch_through_a_readout(tmp_path, learns):
    torch.save(theirs(BASE).state_dict(), tmp_path / "model.pt")
    labels = torch.arange(40) % 2
    time = torch.arange(800) / RATE
    hertz = torch.where(labels == 1, 900.0, 300.0) + 20 * torch.randn(40)
    x = torch.sin(2 * torch.pi * (hertz[:, None] * time + torch.rand(40, 1)))
    encoder = Wav2Vec2Encoder(
        AUDIO, weights=str(tmp_path / "model.pt"), config=BASE, out_dim=8, adapter=FullTuning()
    )
    learns(encoder, x, labels, steps=60)


def test_a_wrong_bundle_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"no such bundle as 'WAV2VEC_BASE'.*'WAV2VEC2_BASE'"):
        Wav2Vec2Encoder(AUDIO, "WAV2VEC_BASE")


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_the_model_has_not_is_refused(layer, tmp_path):
    torch.save(theirs(BASE).state_dict(), tmp_path / "model.pt")
    with pytest.raises(ConfigError, match=f"layer {layer} of 3"):
        Wav2Vec2Encoder(AUDIO, weights=str(tmp_path / "model.pt"), config=BASE, layer=layer)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    torch.save(theirs(BASE).state_dict(), tmp_path / "model.pt")
    (tmp_path / "damaged.pt").write_bytes(b"no weights")
    for file, config in (("model.pt", LARGE), ("damaged.pt", BASE)):
        with pytest.raises(CheckpointError, match=f"{file} holds no weights"):
            Wav2Vec2Encoder(AUDIO, weights=str(tmp_path / file), config=config)
    with pytest.raises(MissingFileError, match="There is no file"):
        Wav2Vec2Encoder(AUDIO, weights=str(tmp_path / "nowhere.pt"), config=BASE)


def test_a_config_without_weights_or_with_unknown_arguments_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="names an architecture, not its weights"):
        Wav2Vec2Encoder(AUDIO, config=BASE)
    with pytest.raises(ConfigError, match=r"config makes no model: .*colour"):
        Wav2Vec2Encoder(AUDIO, config=BASE | {"colour": 1}, weights="model.pt")


def test_what_is_no_sound_is_refused_before_a_pretrained_model():
    with mmfuse.encoder.without_pretrained_weights():
        encoder = Wav2Vec2Encoder(AUDIO, config=BASE)
    with pytest.raises(DataError, match="takes sounds"):
        encoder.preprocess(["a file name"])
    assert encoder.preprocessing() == {"channels": "mean", "rate": 16000, "max_seconds": 20.0}
