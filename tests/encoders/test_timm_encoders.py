"""The encoder around timm's picture models, against timm itself."""

from __future__ import annotations

import shutil
import sys

import huggingface_hub.constants
import pytest
import timm
import torch
from safetensors.torch import save_file

import mmfuse
from mmfuse.batch import Batch
from mmfuse.errors import CheckpointError, ConfigError, MissingFileError
from mmfuse.fusion import ConcatFusion
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
from mmfuse.testing import check_encoder
from mmfuse.testing.values import sample_raw
from mmfuse_encoders import TimmEncoder
from mmfuse_encoders.adapters import FullTuning, LastLayers, LoRA
from mmfuse_encoders.timm_image import trunk_blocks, trunk_places

IMAGE = ModalitySpec("image")
NAMES = ["test_vit", "test_vit2", "test_resnet", "test_convnext", "test_efficientnet"]


def random_model(name: str, **options):
    torch.manual_seed(1)
    model = timm.create_model(name, **options)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """For each model a file with its weights and those of its classifier."""
    folder = tmp_path_factory.mktemp("timm")
    for name in NAMES:
        save_file(random_model(name).state_dict(), folder / f"{name}.safetensors")
    return {name: str(folder / f"{name}.safetensors") for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_vector_is_timms_own_bit_for_bit(files, name):
    model = random_model(name)
    data = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**data, is_training=False)
    pictures = sample_raw(IMAGE)
    encoder = TimmEncoder(IMAGE, name, files[name])
    x = encoder.preprocess(pictures)
    assert torch.equal(x, torch.stack([transform(p) for p in pictures]))
    expected = model.forward_head(model.forward_features(x), pre_logits=True)
    assert torch.equal(encoder(x), expected)
    assert encoder.out_dim == expected.shape[1]
    assert not encoder.random_weights


@pytest.mark.parametrize("name", NAMES)
def test_tokens_are_the_places_at_the_end(files, name):
    model, x = random_model(name), torch.randn(2, 3, 160, 160)
    encoder = TimmEncoder(IMAGE, name, files[name], tokens=True)
    expected = model.forward_features(x)
    if expected.dim() == 4:
        expected = expected.flatten(2).mT
    else:
        expected = expected[:, model.num_prefix_tokens :]
    assert torch.equal(encoder(x).values, expected)
    assert encoder.out_dim == expected.shape[2]


def test_maps_with_channels_last_are_read_row_by_row():
    model = random_model("swin_tiny_patch4_window7_224", depths=(1, 1), img_size=56, window_size=7)
    x = torch.randn(1, 3, 56, 56)
    found = trunk_places(model, x, [])[0]
    assert torch.equal(found.view(1, 7, 7, -1), model.forward_features(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layers", [[-1], [2, 1]])
def test_chosen_layers_are_timms_intermediates_side_by_side(files, name, layers):
    model, x = random_model(name), torch.randn(2, 3, 160, 160)
    maps = model.forward_intermediates(x, intermediates_only=True)
    expected = torch.cat([maps[i].mean(dim=(2, 3)) for i in layers], dim=1)
    encoder = TimmEncoder(IMAGE, name, files[name], layers=layers)
    torch.testing.assert_close(encoder(x), expected)
    assert encoder.out_dim == expected.shape[1]


def test_chosen_patches_are_read_row_by_row(files):
    model, x = random_model("test_vit"), torch.randn(2, 3, 160, 160)
    maps = model.forward_intermediates(x, intermediates_only=True)
    encoder = TimmEncoder(IMAGE, "test_vit", files["test_vit"], tokens=True, layers=[3, 0])
    expected = torch.cat([maps[3], maps[0]], dim=1).flatten(2).mT
    torch.testing.assert_close(encoder(x).values, expected)
    assert len(encoder.backbone.blocks) == 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options", [{}, {"tokens": True}, {"layers": [1]}], ids=["vector", "tokens", "layer"]
)
def test_a_full_tuned_model_learns_in_every_part_that_is_left(name, options):
    encoder = TimmEncoder(IMAGE, name, adapter=FullTuning(), **options).train()
    found = encoder(torch.randn(2, 3, 160, 160))
    (found.values if options.get("tokens") else found).square().sum().backward()
    assert not [n for n, p in encoder.named_parameters() if p.grad is None]


@pytest.mark.parametrize(
    ("name", "count"),
    [("test_vit", 6), ("test_resnet", 4), ("test_convnext", 9), ("test_efficientnet", 5)],
)
def test_blocks_are_those_of_every_stage(name, count):
    model = timm.create_model(name)
    blocks = trunk_blocks(model)
    assert len(blocks) == count
    assert len({type(b) for b in blocks} & {torch.nn.Sequential, torch.nn.ModuleList}) == 0


@pytest.mark.parametrize("name", ["test_vit", "test_convnext"])
def test_a_saved_model_needs_neither_file_nor_folder_any_more(name, tmp_path):
    folder = tmp_path / "model"
    # A size that is not the model's own must be found again.
    own = {"img_size": 96} if name == "test_vit" else {}
    model = random_model(name, num_classes=3, **own)
    model.pretrained_cfg.update(input_size=(3, 96, 96), mean=(0.1, 0.2, 0.3))
    timm.models.save_for_hf(model, folder, model_args=own, safe_serialization=True)
    encoder = TimmEncoder(IMAGE, f"local-dir:{folder}", True, adapter=LoRA(2))
    assert list(encoder.preprocessing()["mean"]) == [0.1, 0.2, 0.3]
    spec = DataSpec({"a": IMAGE}, {"y": TargetSpec("regression")})
    fusion = ConcatFusion({"a": encoder.out_dim}, out_dim=3, hidden=0)
    fused = FusionModel(spec, {"a": encoder}, fusion).eval()

    def answer(fused):
        x = fused.preprocess["a"](sample_raw(IMAGE))
        assert x.shape[2:] == (96, 96)
        return fused(Batch(("a",), {"a": x}, torch.ones(6, 1).bool())).logits["y"]

    expected = answer(fused)
    mmfuse.save(fused, tmp_path / "model.ckpt")
    shutil.rmtree(folder)
    assert torch.equal(answer(mmfuse.load(tmp_path / "model.ckpt")), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_vit", {"adapter": LoRA(2), "tokens": True, "out_dim": 3}),
        ("test_resnet", {"layers": [1, -1], "adapter": LastLayers(1)}),
        ("test_convnext", {}),
    ],
)
def test_it_keeps_an_encoders_promises(name, options, tmp_path):
    own = {"img_size": 32} if name == "test_vit" else {}
    model = random_model(name, **own)
    model.pretrained_cfg.update(input_size=(3, 32, 32))
    timm.models.save_for_hf(model, tmp_path, model_args=own, safe_serialization=True)
    check_encoder(TimmEncoder, model=f"local-dir:{tmp_path}", pretrained=True, **options)


@pytest.mark.parametrize("content", [b"nonsense", "test_convnext"])
def test_weights_in_a_folder_that_are_damaged_or_of_another_model_are_refused(tmp_path, content):
    timm.models.save_for_hf(random_model("test_vit"), tmp_path, safe_serialization=True)
    file = tmp_path / "model.safetensors"
    if isinstance(content, str):
        save_file(random_model(content).state_dict(), file)
    else:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match="holds no weights of its architecture"):
        TimmEncoder(IMAGE, f"local-dir:{tmp_path}", True)


def test_names_and_files_that_cannot_be_used_are_refused(files, tmp_path):
    with pytest.raises(ConfigError, match=r"timm has no model 'resnet_18'.*timm\.list_models"):
        TimmEncoder(IMAGE, "resnet_18")
    with pytest.raises(MissingFileError, match="no file of weights"):
        TimmEncoder(IMAGE, "test_vit", str(tmp_path / "absent.pth"))
    with pytest.raises(CheckpointError, match="is of another model: it lacks"):
        TimmEncoder(IMAGE, "test_vit", files["test_convnext"])
    for content in (b"", b"nonsense", b"PK\x03\x04" + bytes(100), b"x" * 9):
        (tmp_path / "broken.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match="holds no weights of this model"):
            TimmEncoder(IMAGE, "test_vit", str(tmp_path / "broken.pth"))


def test_layers_that_do_not_exist_or_do_not_fit_together_are_refused():
    with pytest.raises(ConfigError, match=r"has not \[6\]; it has 6"):
        TimmEncoder(IMAGE, "test_vit", layers=[6])
    with pytest.raises(ConfigError, match="no one sequence"):
        TimmEncoder(IMAGE, "test_resnet", layers=[1, 2], tokens=True)


def test_weights_that_are_not_here_say_what_to_download_and_where_to_put_it(monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingFileError, match=r"'test_vit' is neither on this.*HF_HOME"):
        TimmEncoder(IMAGE, "test_vit", True)
    with pytest.raises(MissingFileError, match=r"'hf-hub:owner/none' is neither on this.*HF_HOME"):
        TimmEncoder(IMAGE, "hf-hub:owner/none", True)


def test_without_timm_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="needs timm, which is not installed: pip install"):
        TimmEncoder(IMAGE, "test_vit")
