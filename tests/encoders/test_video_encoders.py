"""Encoders of videos: frames through an encoder of pictures, and torchvision's video models."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.models import video as theirs
from torchvision.transforms._presets import VideoClassification

import mmfuse
from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.errors import CheckpointError, ConfigError, DataError, MissingFileError
from mmfuse.fusion import ConcatFusion
from mmfuse.media import Video
from mmfuse.recorded import describe
from mmfuse.testing import check_encoder
from mmfuse.testing.values import sample_raw
from mmfuse_encoders import (
    FramePoolEncoder,
    ImageCNNEncoder,
    TorchvisionVideoEncoder,
)
from mmfuse_encoders.adapters import FullTuning, LastLayers, LoRA
from mmfuse_encoders.pretrained import fixed_draw

VIDEO = ModalitySpec("video")
SMALL_CNN = {"out_dim": 4, "hidden": 8, "layers": 2, "size": 8}


class Film(Video):
    """Frames of noise that are at hand, each of its own brightness."""

    def __init__(self, greys: list[int], size: tuple[int, int] = (16, 24)) -> None:
        super().__init__(b"")
        self.greys, self.size = greys, size

    def frames(self, count: int) -> np.ndarray:
        chosen = [(2 * i + 1) * len(self.greys) // (2 * count) for i in range(count)]
        return np.stack([frame(self.greys[i], self.size) for i in chosen])


def frame(grey: int, size: tuple[int, int] = (16, 24)) -> np.ndarray:
    noise = np.random.default_rng(grey).integers(0, 256, (*size, 3))
    return (noise // 2 + grey // 2).astype(np.uint8)


def pool(**options) -> FramePoolEncoder:
    small = {"image": "ImageCNNEncoder", "options": SMALL_CNN, "frames": 3}
    return FramePoolEncoder(VIDEO, **{**small, **options})


def answers(encoder, videos, tmp_path, before_loading=lambda: None) -> list[torch.Tensor]:
    """What a model says before it is saved and once it is loaded."""
    spec = DataSpec({"x": VIDEO}, {"y": TargetSpec("regression")})
    model = FusionModel(spec, {"x": encoder}, ConcatFusion({"x": encoder.out_dim})).eval()
    path = mmfuse.save(model, tmp_path / "model.ckpt")
    before_loading()
    present = torch.ones(len(videos), 1, dtype=torch.bool)
    return [
        m(Batch(("x",), {"x": m.preprocess["x"](videos)}, present)).logits["y"]
        for m in (model, mmfuse.load(path))
    ]


# Frames through an encoder of pictures


def test_the_result_is_the_mean_over_what_the_picture_encoder_makes_of_each_frame():
    encoder = pool(frames=2).eval()
    films = [Film([0, 60, 120, 180]), Film([255, 10])]
    found = encoder(encoder.preprocess(films))
    for i, greys in enumerate([(60, 180), (255, 10)]):
        pictures = [Image.fromarray(frame(g)) for g in greys]
        each = encoder.image(encoder.image.preprocess(pictures))
        torch.testing.assert_close(found[i], (each[0] + each[1]) / 2)


@pytest.mark.parametrize("patches", [False, True])
def test_tokens_are_the_frames_in_order(patches):
    options = {**SMALL_CNN, "tokens": patches}
    encoder = pool(tokens=True, options=options).eval()
    found = encoder(encoder.preprocess([Film([0, 100, 200])]))
    assert found.mask.tolist() == [[True] * 3]
    backwards = encoder(encoder.preprocess([Film([200, 100, 0])]))
    torch.testing.assert_close(found.values.flip(1), backwards.values)
    assert not torch.allclose(found.values[0, 0], found.values[0, 1])


@pytest.mark.parametrize(
    "image",
    [
        "ImageCNNEncoder",
        ImageCNNEncoder,
        partial(ImageCNNEncoder, out_dim=7),
        {"class_path": "ImageCNNEncoder", "init_args": {"out_dim": 7}},
    ],
)
def test_the_picture_encoder_is_given_as_any_component_is(image):
    encoder = FramePoolEncoder(VIDEO, image=image)
    assert isinstance(encoder.image, ImageCNNEncoder)
    assert encoder.out_dim == (64 if image in ("ImageCNNEncoder", ImageCNNEncoder) else 7)
    assert describe(encoder, without=("spec",))["init_args"]["image"].endswith("ImageCNNEncoder")


def test_yaml_gives_the_picture_encoder_by_class_path():
    import jsonargparse

    from mmfuse.encoder import Encoder
    from mmfuse.tasks.build import EncoderFactory

    parser = jsonargparse.ArgumentParser()
    parser.add_argument("--encoder", type=EncoderFactory)
    text = """
    encoder:
      class_path: mmfuse_encoders.FramePoolEncoder
      init_args:
        frames: 2
        image:
          class_path: mmfuse_encoders.ImageCNNEncoder
          init_args: {out_dim: 5}
    """
    made = parser.instantiate(parser.parse_string(text)).encoder(VIDEO)
    assert isinstance(made, Encoder)
    assert (made.frames, made.out_dim) == (2, 5)
    assert made(made.preprocess([Film([1, 2])])).shape == (1, 5)


def test_a_checkpoint_brings_the_picture_encoder_back(tmp_path):
    torch.manual_seed(0)
    encoder = FramePoolEncoder(VIDEO, partial(ImageCNNEncoder, **SMALL_CNN), frames=2)
    before, after = answers(encoder, [Film([0, 60]), Film([255, 10])], tmp_path)
    assert torch.equal(before, after)


def test_what_of_the_picture_encoder_learns_is_its_own_affair(tmp_path):
    frozen = pool(options={**SMALL_CNN, "frozen": True})
    assert frozen.frozen
    assert pool().frozen is False
    tuned = pool(
        image="TorchvisionEncoder",
        options={"model": "resnet18", "out_dim": 3, "adapter": LastLayers(1)},
    )
    learned = {n.split(".")[2] for n, p in tuned.named_parameters() if p.requires_grad}
    assert learned == {"layer4", "weight", "bias"}
    assert not tuned.train().image.backbone.bn1.training
    assert tuned.image.backbone.layer4[1].training
    before, after = answers(tuned.eval(), [Film([0, 60]), Film([255, 10])], tmp_path)
    assert torch.equal(before, after)
    again = mmfuse.load(tmp_path / "model.ckpt").encoders["x"]
    assert {n for n, p in again.named_parameters() if p.requires_grad} == {
        n for n, p in tuned.named_parameters() if p.requires_grad
    }


def test_frozen_freezes_the_picture_encoder():
    encoder = pool(frozen=True).train()
    assert not any(p.requires_grad for p in encoder.parameters())
    assert not encoder.image.training


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"image": "MLPEncoder", "options": None}, "takes vector"),
        ({"image": ImageCNNEncoder}, "an encoder that is no name"),
        ({"options": {"no_such": 1}}, "cannot be built"),
        ({"image": 5, "options": None}, "Expected a Encoder"),
        ({"image": lambda spec: torch.nn.Linear(1, 1), "options": None}, "made a Linear"),
        ({"image": lambda spec: 1 / 0 if spec.width else None, "options": None}, "no raw pictures"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        pool(**options)


def test_a_row_that_is_no_video_is_refused():
    with pytest.raises(DataError, match=r"takes videos .*found str"):
        pool().preprocess([Film([1]), "a.mp4"])
    with pytest.raises(DataError, match="cannot be decoded"):
        pool().preprocess([Video(b"no video")])


@pytest.mark.parametrize("options", [{}, {"tokens": True}, {"frames": 1}], ids=str)
def test_frame_pooling_keeps_an_encoders_promises(options):
    small = {"options": {**SMALL_CNN, "out_dim": 2, "layers": 1, "hidden": 4}, "frames": 2}
    check_encoder(FramePoolEncoder, **{**small, **options})


# torchvision's video models


@pytest.fixture
def tiny(monkeypatch) -> type:
    """Stands in torchvision's list as a very small Video Swin of random weights."""

    class Weights(models.WeightsEnum):
        FILMS_V1 = models.Weights(
            url="https://example.invalid/tiny-00000000.pth",
            transforms=partial(VideoClassification, crop_size=(16, 16), resize_size=(20,)),
            meta={"min_temporal_size": 1},
        )
        DEFAULT = FILMS_V1

    def make(name: str, weights: None = None) -> theirs.SwinTransformer3d:
        return theirs.SwinTransformer3d(
            [2, 4, 4], 4, [1, 1], [2, 2], [2, 2, 2], num_classes=5, stochastic_depth_prob=0.0
        )

    monkeypatch.setattr(models, "list_models", lambda module: ["tiny"])
    monkeypatch.setattr(models, "get_model", make)
    monkeypatch.setattr(models, "get_model_weights", lambda name: Weights)
    return Weights


def video_encoder(model: str, **options) -> TorchvisionVideoEncoder:
    return TorchvisionVideoEncoder(VIDEO, model, **options).eval()


@pytest.mark.parametrize(
    ("model", "frames", "moments"),
    [
        ("r3d_18", 2, 1),
        ("mc3_18", 2, 2),
        ("r2plus1d_18", 2, 1),
        ("swin3d_t", 2, 1),
        pytest.param("s3d", 14, 2, marks=pytest.mark.slow),
        pytest.param("mvit_v2_s", 16, 8, marks=pytest.mark.slow),
    ],
)
def test_the_vector_is_what_the_classifier_would_read(model, frames, moments):
    with fixed_draw():
        whole = models.get_model(model, weights=None).eval()
    encoder = video_encoder(model, frames=frames)
    film = Film(list(range(0, 250, 10)), size=(40, 60))
    x = encoder.preprocess([film])
    ours = models.get_model_weights(model).DEFAULT.transforms()
    frames_first = torch.from_numpy(film.frames(frames).copy()).permute(0, 3, 1, 2).contiguous()
    assert torch.equal(x[0], ours(frames_first))
    with torch.no_grad():
        vector, expected = encoder(x), whole(x)
        encoder.tokens = True
        tokens = encoder(x)
    head = next(m for n, m in whole.named_children() if n in ("fc", "head", "classifier"))
    if model == "s3d":
        vector = vector[:, :, None, None, None]
    torch.testing.assert_close(head(vector).flatten(1), expected, rtol=1e-4, atol=1e-5)
    assert tokens.values.shape == (1, moments, encoder.out_dim)
    if model not in ("s3d", "mvit_v2_s"):  # which pool otherwise than by the mean of the map
        torch.testing.assert_close(tokens.pooled(), encoder_vector(encoder, x))


def encoder_vector(encoder: TorchvisionVideoEncoder, x: torch.Tensor) -> torch.Tensor:
    encoder.tokens = False
    with torch.no_grad():
        return encoder(x)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tokens": True, "out_dim": 3, "adapter": FullTuning()},
        {"adapter": LoRA(rank=2)},
        {"adapter": LastLayers(1), "out_dim": 2},
    ],
    ids=["frozen", "tuned", "lora", "last"],
)
def test_a_torchvision_video_model_keeps_an_encoders_promises(tiny, options):
    check_encoder(TorchvisionVideoEncoder, model="tiny", frames=4, **options)


def test_a_file_brings_the_weights_whatever_its_classes_and_may_go_again(tiny, tmp_path):
    torch.manual_seed(9)
    whole = models.get_model("tiny").eval()
    state = {**whole.state_dict(), "head.weight": torch.ones(2, 3), "head.bias": torch.ones(2)}
    file = tmp_path / "tiny.pth"
    torch.save(state, file)
    encoder = video_encoder("tiny", weights=str(file), frames=4)
    assert not encoder.random_weights
    assert encoder.preprocessing()["crop_size"] == [16, 16]
    x = encoder.preprocess([Film([0, 60, 120, 180])])
    torch.testing.assert_close(whole.head(encoder(x)), whole(x))
    before, after = answers(encoder, [Film([0, 60]), Film([255, 10])], tmp_path, file.unlink)
    assert torch.equal(before, after)


def test_random_weights_are_called_so(tiny):
    assert video_encoder("tiny").random_weights


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "resnet18"}, ConfigError, "no video model 'resnet18'. It has tiny"),
        ({"weights": "V7"}, ConfigError, r"no weights 'V7' of tiny. It has \['FILMS_V1'"),
        ({"weights": "gone.pth"}, MissingFileError, "no file of weights at gone.pth"),
        ({"frames": 0}, ConfigError, "frames is 0"),
    ],
)
def test_what_torchvision_has_not_is_refused(tiny, options, error, message):
    with pytest.raises(error, match=message):
        TorchvisionVideoEncoder(VIDEO, **{"model": "tiny", **options})


def test_weights_that_cannot_be_downloaded_say_where_to_put_them(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(MissingFileError, match=r"checkpoints.*Put .*tiny-00000000\.pth there"):
        video_encoder("tiny", weights="FILMS_V1")


@pytest.mark.parametrize("content", [b"no weights", {"other.weight": torch.ones(2)}, {}])
def test_a_file_that_holds_no_weights_of_the_model_is_refused(tiny, tmp_path, content):
    file = tmp_path / "odd.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(CheckpointError, match=r"odd\.pth"):
        video_encoder("tiny", weights=str(file))


@pytest.mark.parametrize(
    ("model", "frames", "takes"), [("mvit_v2_s", 8, "16"), ("s3d", 13, "14 up")]
)
def test_a_number_of_frames_that_the_model_does_not_take_is_refused(model, frames, takes):
    with pytest.raises(ConfigError, match=f"frames is {frames}; {model} takes {takes}"):
        video_encoder(model, frames=frames)


def test_a_video_thin_as_a_thread_is_refused(tiny):
    with pytest.raises(DataError, match="over 100 times as long"):
        video_encoder("tiny", frames=1).preprocess([Film([0], size=(2, 400))])
    with pytest.raises(DataError, match="found str"):
        video_encoder("tiny", frames=1).preprocess(["a.mp4"])


@pytest.mark.parametrize("make", [FramePoolEncoder, TorchvisionVideoEncoder])
def test_arrays_are_refused(make):
    with pytest.raises(ConfigError, match="takes raw videos"):
        make(ModalitySpec("video", (4, 3, 8, 8)))


def test_sample_videos_differ():
    x = pool(frames=2).preprocess(sample_raw(VIDEO))
    assert x.shape == (6, 2, 3, 8, 8)
