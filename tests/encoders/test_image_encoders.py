"""Encoders for images."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from mmfuse.errors import ConfigError, DataError
from mmfuse.spec import ModalitySpec
from mmfuse_encoders import ImageCNNEncoder


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 8, 8), (3, 7, 5), (3, 32, 48)])
def test_image_cnn_takes_every_size_from_four_pixels_up(shape):
    encoder = ImageCNNEncoder(shape, out_dim=4, hidden=8)
    assert encoder(torch.randn(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize(("shape", "count"), [((1, 4, 4), 1), ((3, 7, 5), 4), ((3, 32, 16), 32)])
def test_image_tokens_are_the_places_of_the_last_map(shape, count):
    encoder = ImageCNNEncoder(shape, out_dim=4, hidden=8, tokens=True)
    assert encoder(torch.randn(2, *shape)).values.shape == (2, count, 4)


def test_image_tokens_run_row_by_row():
    encoder = ImageCNNEncoder((1, 32, 32), out_dim=4, hidden=8, layers=2, tokens=True).eval()
    image = torch.zeros(1, 1, 32, 32)
    blank = encoder(image).values
    image[0, 0, 3, 29] = 1  # the group norm moves every token a little, this place most
    moved = (encoder(image).values - blank).square().sum(dim=2)
    row, column = divmod(int(moved.argmax()), 16)
    assert abs(row - 1) <= 1
    assert abs(column - 14) <= 1


def test_image_cnn_trains_on_one_row(trains_on_one_row):
    trains_on_one_row(ImageCNNEncoder((1, 4, 4), out_dim=4), torch.randn(1, 1, 4, 4))


def test_image_cnn_learns_which_side_is_bright(learns):
    labels = torch.arange(60) % 2
    images = torch.randn(60, 1, 4, 4) * 0.3
    images[labels == 0, :, :, :2] += 1
    images[labels == 1, :, :, 2:] += 1
    learns(ImageCNNEncoder((1, 4, 4), out_dim=8, hidden=16), images, labels)


def test_image_cnn_refuses_a_vector():
    with pytest.raises(ConfigError, match="takes image, the modality is vector"):
        ImageCNNEncoder(16)


def test_image_cnn_resizes_raw_pictures_and_scales_them_to_one():
    encoder = ImageCNNEncoder(ModalitySpec("image"), out_dim=4, hidden=8, size=16)
    pictures = [Image.new("RGB", (50, 20), (0, 127, 255)), Image.new("L", (3, 3), 255)]
    x = encoder.preprocess(pictures)
    assert x.shape == (2, 3, 16, 16)
    torch.testing.assert_close(x[0, :, 7, 7], torch.tensor([-1, 127 / 127.5 - 1, 1]))
    assert (x[1] == 1).all()
    assert encoder(x).shape == (2, 4)


def test_image_cnn_takes_arrays_as_they_are():
    x = torch.randn(2, 3, 4, 4)
    assert ImageCNNEncoder((3, 4, 4)).preprocess(x) is x


def test_image_cnn_refuses_what_is_no_picture():
    with pytest.raises(DataError, match="found str"):
        ImageCNNEncoder(ModalitySpec("image")).preprocess(["cat.png"])


def test_image_cnn_refuses_a_size_below_four():
    with pytest.raises(ConfigError, match="size is 2; expected 4 up"):
        ImageCNNEncoder(ModalitySpec("image"), size=2)
