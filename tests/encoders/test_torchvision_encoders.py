"""The encoder around torchvision's picture classifiers, against torchvision itself."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from torchvision import models
from torchvision.models.vision_transformer import VisionTransformer

import mmfuse
from mmfuse.batch import Batch
from mmfuse.errors import CheckpointError, ConfigError, DataError, MissingFileError
from mmfuse.fusion import ConcatFusion
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
from mmfuse.testing import check_encoder
from mmfuse.testing.values import sample_raw
from mmfuse_encoders import TorchvisionEncoder, torchvision_image
from mmfuse_encoders.adapters import FullTuning, LastLayers, LoRA

IMAGE = ModalitySpec("image")
GET_MODEL = models.get_model
# What stands before each model's last linear map.
HEADS = {
    "resnet18": "fc",
    "vit_b_32": "heads.head",
    "convnext_tiny": "classifier.2",
    "efficientnet_b0": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "regnet_y_400mf": "fc",
}


def small_transformer(image_size: int = 224, num_classes: int = 1000) -> VisionTransformer:
    """What stands for ``vit_b_32`` here, where its size would only cost time."""
    model = VisionTransformer(
        image_size, patch_size=32, num_layers=6, num_heads=2, hidden_dim=16, mlp_dim=32,
        num_classes=num_classes,
    )  # fmt: skip
    torch.nn.init.normal_(model.encoder.pos_embedding)
    return model


@pytest.fixture(scope="module", autouse=True)
def _small():
    def get_model(name, weights=None, **options):
        if name == "vit_b_32":
            return small_transformer(**options)
        return GET_MODEL(name, weights=weights, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "get_model", get_model)
        yield


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Each model with random weights and 7 classes, and the file that holds them."""
    folder, found = tmp_path_factory.mktemp("torchvision"), {}
    for name in HEADS:
        torch.manual_seed(1)
        model = models.get_model(name, num_classes=7).eval().requires_grad_(False)
        torch.save(model.state_dict(), folder / f"{name}.pth")
        found[name] = model, str(folder / f"{name}.pth")
    return found


def before_the_head(model, name: str, x: torch.Tensor) -> torch.Tensor:
    found = []
    head = model.get_submodule(HEADS[name])
    hook = head.register_forward_hook(lambda _, given, __: found.append(given[0]))
    model(x)
    hook.remove()
    return found[0]


@pytest.mark.parametrize("name", HEADS)
def test_the_vector_is_what_the_classifier_reads_bit_for_bit(classifiers, name):
    model, file = classifiers[name]
    encoder = TorchvisionEncoder(IMAGE, name, file)
    transform = models.get_model_weights(name).DEFAULT.transforms()
    pictures = sample_raw(IMAGE, rows=2)
    x = encoder.preprocess(pictures)
    assert torch.equal(x, torch.stack([transform(p) for p in pictures]))
    expected = before_the_head(model, name, x)
    assert torch.equal(encoder(x), expected)
    assert encoder.out_dim == expected.shape[1]
    assert not encoder.random_weights


@pytest.mark.slow
def test_torchvisions_own_transformer_gives_its_vector_too(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "get_model", GET_MODEL)
    model = models.vit_b_32().eval()
    torch.save(model.state_dict(), tmp_path / "vit.pth")
    encoder = TorchvisionEncoder(IMAGE, "vit_b_32", str(tmp_path / "vit.pth"), adapter=LoRA(2))
    x = torch.randn(1, 3, 224, 224)
    torch.testing.assert_close(encoder.eval()(x), before_the_head(model, "vit_b_32", x))


def test_the_preprocessing_is_that_of_the_weights_that_are_named(monkeypatch):
    monkeypatch.setattr(
        models, "get_model", lambda _, weights, **options: small_transformer(**options)
    )
    monkeypatch.setattr(torchvision_image, "load_weights", lambda *_: None)
    encoder = TorchvisionEncoder(IMAGE, "vit_b_16", "IMAGENET1K_SWAG_E2E_V1")
    settings = encoder.preprocessing()
    assert settings["crop_size"] == [384]
    assert settings["interpolation"] == "bicubic"
    x = encoder.preprocess(sample_raw(IMAGE, rows=1))
    assert x.shape == (1, 3, 384, 384)
    assert encoder(x).shape == (1, 16)
    assert TorchvisionEncoder(IMAGE, "resnet50").preprocessing()["resize_size"] == [232]


@pytest.mark.parametrize("name", ["resnet18", "convnext_tiny", "efficientnet_b0", "regnet_y_400mf"])
def test_tokens_of_a_convolutional_network_are_its_last_map(classifiers, name):
    model, file = classifiers[name]
    encoder = TorchvisionEncoder(IMAGE, name, file, tokens=True)
    x = torch.randn(1, 3, 96, 64)
    maps = []
    hook = model.avgpool.register_forward_hook(lambda _, given, __: maps.append(given[0]))
    model(x)
    hook.remove()
    assert torch.equal(encoder(x).values, maps[0].flatten(2).mT)
    assert encoder.out_dim == maps[0].shape[1]


def test_tokens_of_a_transformer_are_its_patches_after_the_norm(classifiers):
    model, file = classifiers["vit_b_32"]
    encoder = TorchvisionEncoder(IMAGE, "vit_b_32", file, tokens=True)
    x, found = torch.randn(1, 3, 224, 224), []
    hook = model.encoder.register_forward_hook(lambda _, __, out: found.append(out))
    model(x)
    hook.remove()
    assert torch.equal(encoder(x).values, found[0][:, 1:])


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("resnet18", {0: "maxpool", 1: "layer1", 4: "layer4", -2: "layer3"}),
        ("convnext_tiny", {0: "features.0", 3: "features.3", -1: "features.7"}),
        ("efficientnet_b0", {2: "features.2", -1: "features.8"}),
        ("regnet_y_400mf", {0: "stem", 1: "trunk_output.block1", -1: "trunk_output.block4"}),
    ],
)
def test_chosen_layers_are_the_stages_side_by_side(classifiers, name, modules):
    model, file = classifiers[name]
    x, found = torch.randn(1, 3, 96, 64), {}
    for layer, module in modules.items():
        model.get_submodule(module).register_forward_hook(
            lambda _, __, out, layer=layer: found.__setitem__(layer, out)
        )
    model(x)
    encoder = TorchvisionEncoder(IMAGE, name, file, layers=list(modules))
    expected = torch.cat([found[layer].mean(dim=(2, 3)) for layer in modules], dim=1)
    assert torch.equal(encoder(x), expected)
    layer = next(iter(modules))
    tokens = TorchvisionEncoder(IMAGE, name, file, layers=[layer], tokens=True)(x).values
    assert torch.equal(tokens, found[layer].flatten(2).mT)


def test_chosen_layers_of_a_transformer_are_its_blocks(classifiers):
    model, file = classifiers["vit_b_32"]
    x, found = torch.randn(1, 3, 224, 224), []
    hooks = [
        b.register_forward_hook(lambda _, __, out: found.append(out)) for b in model.encoder.layers
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    expected = torch.cat([found[5], found[2]], dim=2)
    vector = TorchvisionEncoder(IMAGE, "vit_b_32", file, layers=[5, 2])
    assert torch.equal(vector(x), expected[:, 0])
    assert len(vector.backbone.encoder.layers) == 6
    patches = TorchvisionEncoder(IMAGE, "vit_b_32", file, layers=[5, 2], tokens=True)
    assert torch.equal(patches(x).values, expected[:, 1:])


@pytest.mark.parametrize("options", [{}, {"tokens": True}, {"layers": [2, 1]}])
def test_a_saved_model_needs_no_file_any_more(classifiers, tmp_path, options, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(classifiers["mobilenet_v3_small"][0].state_dict(), path)
    encoder = TorchvisionEncoder(
        IMAGE, "mobilenet_v3_small", str(path), adapter=LastLayers(1), **options
    )
    spec = DataSpec({"a": IMAGE}, {"y": TargetSpec("regression")})
    fusion = ConcatFusion({"a": encoder.out_dim}, out_dim=3, hidden=0)
    model = FusionModel(spec, {"a": encoder}, fusion).eval()

    def answer(model):
        x = model.preprocess["a"](sample_raw(IMAGE, rows=2))
        return model(Batch(("a",), {"a": x}, torch.ones(2, 1).bool())).logits["y"]

    expected = answer(model)
    mmfuse.save(model, tmp_path / "model.ckpt")
    path.unlink()
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    assert torch.equal(answer(mmfuse.load(tmp_path / "model.ckpt")), expected)


@pytest.mark.parametrize(
    "options",
    [
        {"layers": [1, 2], "adapter": FullTuning(), "out_dim": 3},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"tokens": True, "adapter": FullTuning()}, marks=pytest.mark.slow),
        pytest.param({"adapter": LoRA(2, targets=["4.block.0.0"])}, marks=pytest.mark.slow),
    ],
)
def test_it_keeps_an_encoders_promises(options):
    check_encoder(TorchvisionEncoder, model="mobilenet_v3_small", **options)


def test_lora_reaches_the_attention_of_a_transformer():
    encoder = TorchvisionEncoder(IMAGE, "vit_b_32", layers=[1], adapter=LoRA(2)).train()
    encoder(torch.randn(1, 3, 224, 224)).square().sum().backward()
    learning = {n for n, p in encoder.named_parameters() if p.requires_grad}
    assert len(learning) == 2 * 4 * 2  # blocks, maps, A and B
    assert all(encoder.get_parameter(n).grad is not None for n in learning)


@pytest.mark.parametrize("name", ["swin_t", "shufflenet_v2_x0_5", "maxvit_t"])
def test_a_network_that_is_no_chain_gives_its_vector_and_nothing_else(name):
    encoder = TorchvisionEncoder(IMAGE, name)
    assert encoder(torch.randn(1, 3, 224, 224)).shape == (1, encoder.out_dim)
    for options in ({"tokens": True}, {"layers": [0]}):
        with pytest.raises(ConfigError, match="gives neither tokens nor layers"):
            TorchvisionEncoder(IMAGE, name, **options)


def test_names_that_nobody_has_are_refused_with_those_that_are_near():
    with pytest.raises(ConfigError, match=r"no classifier 'resnet-18'.*resnet18"):
        TorchvisionEncoder(IMAGE, "resnet-18")
    with pytest.raises(ConfigError, match=r"no weights 'V1' of resnet18.*IMAGENET1K_V1"):
        TorchvisionEncoder(IMAGE, "resnet18", "V1")
    with pytest.raises(ConfigError, match="ends in no linear map"):
        TorchvisionEncoder(IMAGE, "squeezenet1_1")
    with pytest.raises(ConfigError, match=r"has not \[5\]; it has 5"):
        TorchvisionEncoder(IMAGE, "resnet18", layers=[5])
    with pytest.raises(ConfigError, match="maps of different sizes"):
        TorchvisionEncoder(IMAGE, "resnet18", layers=[1, 2], tokens=True)
    with pytest.raises(ConfigError, match="takes raw pictures"):
        TorchvisionEncoder((3, 32, 32))


def test_files_that_are_absent_damaged_or_of_another_model_are_refused(classifiers, tmp_path):
    with pytest.raises(MissingFileError, match="no file of weights"):
        TorchvisionEncoder(IMAGE, "resnet18", str(tmp_path / "absent.pth"))
    with pytest.raises(CheckpointError, match="holds no weights of resnet18"):
        TorchvisionEncoder(IMAGE, "resnet18", classifiers["convnext_tiny"][1])
    for content in (b"", b"nonsense", b"PK\x03\x04" + bytes(100)):
        (tmp_path / "broken.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match="holds no weights of resnet18"):
            TorchvisionEncoder(IMAGE, "resnet18", str(tmp_path / "broken.pth"))


def test_weights_that_are_not_here_say_what_to_download_and_where_to_put_it(monkeypatch):
    def no_network(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", no_network)
    with pytest.raises(MissingFileError, match=r"resnet18 are not in .*checkpoints.*pytorch\.org"):
        TorchvisionEncoder(IMAGE, "resnet18", "DEFAULT")


def test_a_row_that_is_no_picture_is_told():
    with pytest.raises(DataError, match="found int"):
        TorchvisionEncoder(IMAGE, "mobilenet_v3_small").preprocess([3])
