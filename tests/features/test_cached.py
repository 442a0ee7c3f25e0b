"""Features in place of a frozen encoder: one line, the same results; and features as data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from feature_samples import SeededGRU

from mmfuse import ArrayData, Extractor, SupervisedTask, Trainer, load, save
from mmfuse.data import FeatureData
from mmfuse.errors import CheckpointError, ConfigError, DataError
from mmfuse.model import Towers
from mmfuse.spec import ModalitySpec
from mmfuse_encoders import LinearEncoder, MLPEncoder

ROWS = 60


def rows(**options) -> ArrayData:
    """A series and a vector, some absent."""
    source = np.random.default_rng(1)
    series = [None if i % 6 == 0 else source.normal(size=(3 + i % 3, 2)) for i in range(ROWS)]
    vector = [None if i % 9 == 0 else source.normal(size=3) for i in range(ROWS)]
    labels = ["yes" if i % 2 else "no" for i in range(ROWS)]
    return ArrayData({"s": series, "v": vector}, labels, **options)


def encoders(**options):
    return {
        "s": {"class_path": "feature_samples.SeededGRU", "init_args": options},
        "v": "MLPEncoder",
    }


def trained(tmp_path, data, **options):
    torch.manual_seed(3)
    task = SupervisedTask(encoders(**options), "SequentialFusion")
    trainer = Trainer(
        max_epochs=3, default_root_dir=str(tmp_path), logger=False, enable_progress_bar=False
    )
    trainer.fit(task, datamodule=data)
    return task


def extracted(folder, what, **options):
    data = rows()
    task = SupervisedTask(encoders(**options), "SequentialFusion")
    towers = task.towers(data.spec)
    Extractor(towers).extract(data, folder, what)


@pytest.mark.parametrize("tokens", [False, True])
def test_training_on_features_is_training_on_raw_rows(tmp_path, tokens):
    extracted(tmp_path / "f", ["s.tokens" if tokens else "s"], tokens=tokens)
    raw = trained(tmp_path / "raw", rows(), tokens=tokens)
    fast = trained(tmp_path / "fast", rows(cached={"s": str(tmp_path / "f")}), tokens=tokens)
    slow_weights, fast_weights = raw.model.state_dict(), fast.model.state_dict()
    assert set(fast_weights) < set(slow_weights)
    for name, value in fast_weights.items():
        torch.testing.assert_close(value, slow_weights[name], rtol=1e-5, atol=1e-6)
    again = load(save(fast.model, tmp_path / "fast.ckpt"))
    assert type(again.encoders["s"]).__name__ == "CachedEncoder"


def test_the_splits_are_those_of_the_raw_rows(tmp_path):
    extracted(tmp_path / "f", ["s"])
    fast = rows(cached={"s": str(tmp_path / "f")})
    for split in ("train", "val", "test"):
        assert fast.rows(split).tolist() == rows().rows(split).tolist()
    assert fast.spec.modalities["s"] == ModalitySpec("vector", (6,))


def test_features_of_another_encoder_are_refused(tmp_path):
    extracted(tmp_path / "f", ["s"])
    data = rows(cached={"s": str(tmp_path / "f")})
    with pytest.raises(CheckpointError, match="made by another encoder"):
        trained(tmp_path, data, seed=1)


def test_an_encoder_that_learns_cannot_be_replaced(tmp_path):
    extracted(tmp_path / "f", ["s"])
    data = rows(cached={"s": str(tmp_path / "f")})
    with pytest.raises(ConfigError, match="'s' learns"):
        trained(tmp_path, data, frozen=False)


def test_features_that_training_would_have_changed_are_refused(tmp_path):
    extracted(tmp_path / "f", ["s"], frozen=False)
    with pytest.raises(ConfigError, match="was not frozen"):
        rows(cached={"s": str(tmp_path / "f")}).setup()


def test_means_do_not_stand_in_for_tokens(tmp_path):
    extracted(tmp_path / "f", ["s"], tokens=True)
    with pytest.raises(ConfigError, match=r"Extract s\.tokens too"):
        trained(tmp_path, rows(cached={"s": str(tmp_path / "f")}), tokens=True)


def test_features_of_other_data_are_refused(tmp_path):
    extracted(tmp_path / "f", ["s"])
    inputs = {"s": [np.ones((3, 2)), np.zeros((3, 2))] * 30, "v": np.eye(60, 3)}
    data = ArrayData(inputs, ["a", "b"] * 30, cached={"s": str(tmp_path / "f")})
    with pytest.raises(DataError, match="of other data"):
        data.setup()


def test_a_modality_without_features_is_told(tmp_path):
    extracted(tmp_path / "f", ["s"])
    with pytest.raises(ConfigError, match="has no features of 'v'"):
        rows(cached={"v": str(tmp_path / "f")}).setup()
    with pytest.raises(ConfigError, match="cached names 'x'"):
        rows(cached={"x": str(tmp_path / "f")}).setup()


def test_features_of_one_split_do_not_stand_in_for_all(tmp_path):
    data = rows()
    towers = SupervisedTask(encoders()).towers(data.spec)
    Extractor(towers).extract(data, tmp_path / "f", ["s"], split="test")
    with pytest.raises(DataError, match="Extract all splits"):
        rows(cached={"s": str(tmp_path / "f")}).setup()


class TestFeatureData:
    @pytest.fixture
    def folder(self, tmp_path):
        data = rows()
        towers = Towers(
            data.spec,
            {
                m: LinearEncoder(s, 4) if m == "v" else SeededGRU(s)
                for m, s in data.spec.modalities.items()
            },
        )
        Extractor(towers).extract(data, tmp_path / "f", ["s", "s.tokens", "v"])
        return tmp_path / "f"

    def test_it_trains_a_model(self, folder, tmp_path):
        data = FeatureData(str(folder))
        assert set(data.spec.modalities) == {"s", "v"}
        assert data.spec.targets["y"].classes == ("no", "yes")
        assert data.rows("test").tolist() == rows().rows("test").tolist()
        trainer = Trainer(
            max_epochs=1, default_root_dir=str(tmp_path), logger=False, enable_progress_bar=False
        )
        trainer.fit(SupervisedTask({"s": MLPEncoder, "v": MLPEncoder}), datamodule=data)

    def test_columns_are_chosen_by_name(self, folder):
        data = FeatureData(str(folder), {"walk": "s.tokens"}, targets=[])
        assert data.spec.modalities["walk"].kind == "tokens"
        assert not data.spec.targets

    def test_a_column_that_is_not_there_is_told(self, folder):
        with pytest.raises(ConfigError, match=r"has no \['fused'\]"):
            FeatureData(str(folder), ["fused"]).setup()
