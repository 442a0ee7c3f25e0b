"""evaluate_corruptions through the data module: raw values, before any preprocessing."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from mmfuse import ArrayData, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.data import CatalogueData
from mmfuse.errors import ConfigError, DataError
from mmfuse.fusion import ConcatFusion, LateMeanFusion
from mmfuse.media import Sound
from mmfuse.robustness.corruptions import (
    Measured,
    evaluate_corruptions,
    measure,
)
from mmfuse_encoders import (
    GRUEncoder,
    HashedNgramEncoder,
    ImageCNNEncoder,
    LogMelCNNEncoder,
    MLPEncoder,
    TableMLPEncoder,
)


def media_data(**options) -> ArrayData:
    random = np.random.default_rng(0)
    pictures = [Image.fromarray(random.integers(0, 256, (12, 15, 3), np.uint8)) for _ in range(40)]
    sounds = [Sound(random.normal(0, 0.1, (1, 900)).astype("f4"), 8000) for _ in range(40)]
    texts = [" ".join(random.choice(["red", "green", "blue", "grey"], 6)) for _ in range(40)]
    pictures[3] = sounds[4] = texts[5] = None
    return ArrayData(
        {
            "picture": pictures,
            "sound": sounds,
            "text": texts,
            "series": [random.normal(size=(int(n), 2)) for n in random.integers(2, 9, 40)],
            "numbers": random.normal(3, 2, (40, 3)),
        },
        {"y": np.arange(40) % 2},
        seed=0,
        val=0.2,
        test=0.4,
        **options,
    )


def media_model(data: ArrayData, fusion=LateMeanFusion) -> FusionModel:
    torch.manual_seed(0)
    s = data.spec.modalities
    encoders = {
        "picture": ImageCNNEncoder(s["picture"], 8, hidden=8, layers=2, size=12),
        "sound": LogMelCNNEncoder(s["sound"], 8, hidden=4, layers=1),
        "text": HashedNgramEncoder(s["text"], 8, hidden=4),
        "series": GRUEncoder(s["series"], 8),
        "numbers": MLPEncoder(s["numbers"], 8, hidden=(4,)),
    }
    return FusionModel(data.spec, encoders, fusion(dict.fromkeys(encoders, 8), out_dim=8))


def test_every_kind_of_input_is_corrupted_before_its_encoder_preprocesses_it():
    data = media_data(eval_batch_size=7)
    model = media_model(data)
    found = evaluate_corruptions(model, data, bootstrap=0)
    counts = found.scores.query("metric == 'brier'").groupby("modality", sort=False)["corruption"]
    assert counts.nunique().to_dict() == {
        "picture": 12,
        "sound": 7,
        "text": 7,
        "series": 6,
        "numbers": 5,
        "": 1,
    }
    moved = found.scores.query("metric == 'brier'").pivot(
        index=["modality", "corruption"], columns="severity", values="value"
    )
    unmoved = moved.index[(moved[5] - moved[0]).abs() < 1e-9].tolist()
    # The encoder makes letters small, and a log-mel standardises level.
    assert unmoved in ([("text", "SwappedCase")], [("sound", "Gain"), ("text", "SwappedCase")], [])
    large = media_data(eval_batch_size=40)
    again = evaluate_corruptions(model, large, bootstrap=0).scores
    pd.testing.assert_frame_equal(found.scores, again, rtol=1e-4, atol=1e-5)


def test_batches_of_what_is_preprocessed_are_refused():
    data = media_data()
    model = media_model(data)
    data.attach(model.preprocess)
    batches = list(data.loader("test", missing=None))
    with pytest.raises(ConfigError, match="'picture': image rows are corrupted before"):
        evaluate_corruptions(model, batches)
    found = evaluate_corruptions(model, batches, {"numbers": ["CellNoise"]}, bootstrap=0)
    of_data = evaluate_corruptions(model, data, {"numbers": ["CellNoise"]}, bootstrap=0)
    pd.testing.assert_frame_equal(found.scores, of_data.scores, rtol=1e-4, atol=1e-5)


class _Refusing(HashedNgramEncoder):
    def preprocess(self, raw):
        if any("rred" in text or "eed" in text or "dd" in text for text in raw):
            raise DataError("It does not like what it reads.")
        return super().preprocess(raw)


def test_an_encoder_that_refuses_corrupted_rows_is_named_with_the_corruption():
    data = media_data()
    model = media_model(data)
    model.encoders["text"] = _Refusing(data.spec.modalities["text"], 8, hidden=4)
    with pytest.raises(DataError, match=r"'text': its encoder .* RepeatedLetters at severity \d"):
        evaluate_corruptions(model, data, {"text": ["RepeatedLetters"]})


@pytest.mark.parametrize("options", [{}, {"scale": "range"}, {"standardise": False}])
def test_what_is_measured_is_of_the_training_rows_however_data_are_scaled(options):
    random = np.random.default_rng(0)
    x = random.normal(4, 3, (50, 3))
    x[:, 2] = 7
    x[1, 0] = np.nan
    split = np.where(np.arange(50) < 30, "train", "test")
    x[split == "test"] += 100
    images = random.uniform(-1, 2, (50, 2, 4, 4))
    data = ArrayData(
        {"x": x, "image": images},
        np.arange(50) % 2,
        split=split,
        val=0,
        missing_cells="keep",
        **options,
    )
    found = measure(data)
    train = x[:30]
    np.testing.assert_allclose(found["x"].mean, np.nanmean(train, 0), rtol=1e-5)
    np.testing.assert_allclose(found["x"].std, [*np.nanstd(train[:, :2], 0), 0], rtol=1e-4)
    assert found["x"].valid is None
    ends = images[:30].min(), images[:30].max()
    np.testing.assert_allclose(found["image"].valid, ends, rtol=1e-5)


def test_without_training_rows_the_spec_tells():
    data = ArrayData({"x": np.random.default_rng(0).normal(size=(9, 2))}, np.arange(9) % 2, test=1)
    spec = DataSpec(
        {"x": ModalitySpec("vector", (2,), mean=(1.0, 2.0), std=(3.0, 4.0))},
        {"y": TargetSpec("binary", classes=("0", "1"))},
    )
    data.adopt(spec)
    assert measure(data, spec)["x"] == Measured(spec.modalities["x"], (1.0, 2.0), (3.0, 4.0))


needs_data = pytest.mark.skipif("MMFUSE_DATA" not in os.environ, reason="needs the data mirror")


def few_rows(data: CatalogueData, count: int) -> None:
    """Of each split the first rows alone."""
    ready = data._set_up
    object.__setattr__(ready, "parts", {k: v[:count] for k, v in ready.parts.items()})


@pytest.mark.data
@needs_data
def test_spoken_and_written_digits():
    data = CatalogueData("av_digits", eval_batch_size=32)
    few_rows(data, 64)
    torch.manual_seed(0)
    s = data.spec.modalities
    encoders = {
        "sound": LogMelCNNEncoder(s["sound"], 8, hidden=4, layers=1),
        "image": ImageCNNEncoder(s["image"], 8, hidden=4, layers=2),
    }
    model = FusionModel(data.spec, encoders, ConcatFusion(dict.fromkeys(encoders, 8), out_dim=8))
    found = evaluate_corruptions(
        model,
        data,
        {"sound": ["WhiteNoise", "Speed"], "image": ["ShotNoise", "JPEG"]},
        bootstrap=0,
    )
    assert found.meta["rows"] == 64
    assert found.scores.query("metric == 'brier'")["value"].notna().all()
    assert measure(data)["image"].valid == (0.0, 255.0)


@pytest.mark.data
@needs_data
def test_reviews_with_gaps():
    data = CatalogueData("womens_clothing", eval_batch_size=50, missing_cells="mean")
    few_rows(data, 120)
    torch.manual_seed(0)
    s = data.spec.modalities
    encoders: dict[str, nn.Module] = {
        "title": HashedNgramEncoder(s["title"], 8, hidden=4),
        "review": HashedNgramEncoder(s["review"], 8, hidden=4),
        "categories": TableMLPEncoder(s["categories"], 8),
        "numbers": MLPEncoder(s["numbers"], 8, hidden=(4,)),
    }
    model = FusionModel(data.spec, encoders, ConcatFusion(dict.fromkeys(encoders, 8), out_dim=8))
    found = evaluate_corruptions(model, data, bootstrap=50)
    exposed = found.scores.drop_duplicates("modality").set_index("modality")["exposed"]
    assert exposed["title"] < 1 == exposed["numbers"]
    names = found.scores.groupby("modality")["corruption"].unique()
    assert set(names["categories"]) == {"MissingCells", "WrongCategories"}
    assert found.scores.query("metric == 'brier'")["value"].notna().all()
