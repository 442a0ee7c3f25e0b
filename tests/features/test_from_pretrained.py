"""Extractor.from_pretrained: one name, the encoders of one pretrained model."""

from __future__ import annotations

import inspect

import pytest
import torch
from PIL import Image

from mmfuse import Encoder, Extractor, features
from mmfuse.errors import ConfigError
from mmfuse.features.pretrained import _LIBRARIES
from mmfuse.registry import resolve


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A ResNet-18 with random weights, saved as torchvision saves one."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    model = resnet18()
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(model.state_dict(), path)
    return model.eval(), path


def test_a_local_file_gives_the_features_that_the_library_gives(weights, tmp_path):
    from torchvision.models import ResNet18_Weights

    model, path = weights
    extractor = Extractor.from_pretrained(f"torchvision:resnet18/{path}")
    picture = Image.new("RGB", (300, 260), (200, 30, 90))
    extractor.extract({"image": [picture, None]}, tmp_path / "f")
    found = features.load(tmp_path / "f")["image"]
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        pixels = ResNet18_Weights.DEFAULT.transforms()(picture)
        expected = model(pixels.unsqueeze(0))[0]
    torch.testing.assert_close(torch.tensor(found[0]), expected, rtol=1e-4, atol=1e-5)
    assert found[1] is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("openclip:ViT-B-32/laion2b", "Did you mean 'open_clip'"),
        ("resnet18", "Write library:model"),
        ("timm:", "Write library:model"),
        ("torchvision:resnet18", "names no weights"),
        ("open_clip:ViT-B-32", "names no weights"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, told):
    with pytest.raises(ConfigError, match=told):
        Extractor.from_pretrained(name)


@pytest.mark.parametrize("library", _LIBRARIES)
def test_every_library_names_encoders_that_take_its_options(library):
    classes, arguments = _LIBRARIES[library]
    options = arguments("a/b")
    for kind, name in classes.items():
        cls = resolve(Encoder, name)
        assert kind in cls.kinds
        assert set(options) <= set(inspect.signature(cls).parameters)
