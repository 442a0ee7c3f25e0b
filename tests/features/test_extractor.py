"""Extractor: what it writes is what the model says, once for every row, and others can read it."""

from __future__ import annotations

import json

import datasets
import pandas as pd
import pytest
import torch
from feature_samples import small_data
from PIL import Image

from mmfuse import ArrayData, Extractor, ModalitySpec, features
from mmfuse.errors import ConfigError, DataError, MissingFileError, UnknownModalityError
from mmfuse.features.job import Job
from mmfuse.features.options import Options
from mmfuse.missing import MCAR
from mmfuse_encoders import ImageCNNEncoder, LinearEncoder, MLPEncoder

WHAT = ["a", "s", "s.tokens", "fused", "steps", "logits"]


@pytest.fixture
def whole(model, data):
    """All rows in one batch, and the model's tokens and output for them."""
    data.attach(model.preprocess)
    batch = data.dataset("test", missing=None).__getitems__(range(53))
    with torch.no_grad():
        return batch, model.encode(batch), model(batch)


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_features_are_what_the_model_says(model, data, whole, tmp_path, format):
    batch, tokens, output = whole
    manifest = Extractor(model).extract(
        data, tmp_path / "f", WHAT, format=format, shard_rows=20, batch_size=7
    )
    found = features.load(tmp_path / "f")
    assert found["row"][:] == list(range(53))
    assert [len(s) for s in (manifest["shards"], manifest["problems"])] == [3, 0]
    for i in range(53):
        row = features.load(tmp_path / "f", verify=False)[i]
        for column, m in enumerate(("a", "s")):
            if not batch.present[i, column]:
                assert row[m] is None
                continue
            expected = tokens[m].pooled()[i]
            torch.testing.assert_close(torch.tensor(row[m]), expected)
        real = tokens["s"].values[i][tokens["s"].mask[i]]
        assert (row["s.tokens"] is None) == (len(real) == 0)
        if len(real):
            torch.testing.assert_close(torch.tensor(row["s.tokens"]), real)
    for name, expected in {
        "fused": output.fused.vector,
        "steps": output.fused.steps,
        "logits.target.y": output.logits["y"],
    }.items():
        torch.testing.assert_close(torch.tensor(found[name][:]), expected)


def test_rows_carry_their_split_and_their_label(model, data, tmp_path):
    Extractor(model).extract(data, tmp_path / "f", ["a"])
    found = features.load(tmp_path / "f").to_pandas()
    for split in ("train", "val", "test"):
        assert found.row[found.split == split].tolist() == data.rows(split).tolist()
    assert found["target.y"].tolist() == [f"class {i % 3}" for i in range(53)]


def test_one_split_alone(model, data, tmp_path):
    Extractor(model).extract(data, tmp_path / "f", ["a"], split="val")
    assert features.load(tmp_path / "f")["row"][:] == data.rows("val").tolist()


def test_simulated_absence_does_not_reach_features(model, data, tmp_path):
    Extractor(model).extract(data, tmp_path / "natural", ["a"])
    simulated = small_data(missing=MCAR(0.9), test_missing=MCAR(0.9))
    Extractor(model).extract(simulated, tmp_path / "simulated", ["a"])
    found = [features.load(tmp_path / n)["a"][:] for n in ("natural", "simulated")]
    assert found[0] == found[1]


def test_other_tools_open_the_files(model, data, tmp_path):
    import duckdb
    import polars

    Extractor(model).extract(data, tmp_path / "f", ["a", "fused"], shard_rows=20)
    folder = tmp_path / "f" / "data"
    frame = pd.read_parquet(folder)
    assert len(frame) == 53
    lacking = frame.a.isna()
    assert lacking.tolist() == [i % 5 == 0 for i in range(53)]
    table = polars.read_parquet(folder / "*.parquet")
    assert table["fused"].to_numpy().shape == (53, 64)
    count = duckdb.sql(f"select count(*), count(a) from '{folder}/*.parquet'").fetchall()
    assert count == [(53, int((~lacking).sum()))]
    found = datasets.load_dataset("parquet", data_dir=str(folder), split="train")
    assert found["row"][:] == list(range(53))


@pytest.mark.parametrize(
    ("dtype", "format"),
    [("float16", "parquet"), ("float16", "safetensors"), ("bfloat16", "safetensors")],
)
def test_narrow_numbers_are_the_wide_ones_rounded(model, data, tmp_path, dtype, format):
    for name, kind in (("wide", "float32"), ("narrow", dtype)):
        Extractor(model).extract(data, tmp_path / name, ["fused"], dtype=kind, format=format)
    wide, narrow = (
        torch.tensor(features.load(tmp_path / n)["fused"][:]) for n in ("wide", "narrow")
    )
    assert torch.equal(wide.to(getattr(torch, dtype)).float(), narrow)


def test_parquet_refuses_bfloat16(model, data, tmp_path):
    with pytest.raises(ConfigError, match="Parquet has no bfloat16"):
        Extractor(model).extract(data, tmp_path / "f", dtype="bfloat16")
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"what": ["b"]}, "cannot be extracted; there is a, s, a.tokens"),
        ({"what": ["a", "a"]}, "once"),
        ({"what": []}, "once"),
        ({"split": "all"}, "split is 'all'"),
        ({"format": "csv"}, "format is 'csv'"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"shard_rows": 0}, "shard_rows is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"engine": "spark"}, "engine is 'spark'"),
    ],
)
def test_options_that_mean_nothing_are_refused(model, data, tmp_path, options, told):
    with pytest.raises(ConfigError, match=told):
        Extractor(model).extract(data, tmp_path / "f", **options)


def test_steps_need_a_fusion_that_has_them(data, tmp_path):
    from mmfuse import build_model

    model = build_model(data.spec, None, "MeanFusion")
    with pytest.raises(ConfigError, match="MeanFusion has no steps"):
        Extractor(model).extract(data, tmp_path / "f", ["steps"])


def test_the_second_call_computes_nothing(model, data, tmp_path):
    extractor = Extractor(model)
    first = extractor.extract(data, tmp_path / "f", shard_rows=20)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "f" / "data").iterdir()}
    counts = []
    second = extractor.extract(
        data, tmp_path / "f", shard_rows=20, progress=lambda done, total: counts.append(done)
    )
    assert second == first
    assert counts == [53]
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "f" / "data").iterdir()}


def test_features_of_another_model_are_refused(model, data, tmp_path):
    Extractor(model).extract(data, tmp_path / "f")
    with torch.no_grad():
        next(model.parameters()).add_(1e-6)
    with pytest.raises(ConfigError, match="another plan: model: fingerprint"):
        Extractor(model).extract(data, tmp_path / "f")


def test_features_of_other_data_are_refused(model, data, tmp_path):
    Extractor(model).extract(data, tmp_path / "f")
    rows = [[float(i), 0.0, 0.0] for i in range(53)]
    others = ArrayData({"a": rows, "s": [None] * 53}, [f"class {i % 3}" for i in range(53)])
    with pytest.raises(ConfigError, match="another plan: data"):
        Extractor(model).extract(others, tmp_path / "f")


def test_a_folder_with_something_else_is_left_alone(model, data, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds no features"):
        Extractor(model).extract(data, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_encoders_alone_need_no_fusion(tmp_path):
    extractor = Extractor({"a": MLPEncoder(2, out_dim=4)})
    extractor.extract({"a": [[1.0, 2.0], None]}, tmp_path / "f")
    found = features.load(tmp_path / "f")
    assert found.column_names == ["row", "split", "a"]
    assert found["a"][1] is None


def test_a_frame_and_a_data_set_give_the_same_features(tmp_path):
    extractor = Extractor({"a": LinearEncoder(2, out_dim=4)})
    rows = [[1.0, 2.0], None, [3.0, 4.0]]
    given = {
        "dict": {"a": rows},
        "frame": pd.DataFrame({"a": rows}),
        "set": datasets.Dataset.from_dict({"a": rows}),
    }
    found = []
    for name, each in given.items():
        extractor.extract(each, tmp_path / name)
        found.append(features.load(tmp_path / name)["a"][:])
    assert found[0] == found[1] == found[2]


def test_a_data_set_in_another_order_gives_its_own_rows(tmp_path):
    extractor = Extractor({"a": LinearEncoder(2, out_dim=4)})
    stored = datasets.Dataset.from_dict({"a": [[1.0, 2.0], None, [3.0, 4.0]]})
    extractor.extract(stored, tmp_path / "f")
    extractor.extract(stored.select([2, 1, 0]), tmp_path / "turned")
    found = [features.load(tmp_path / n)["a"][:] for n in ("f", "turned")]
    assert found[0] == found[1][::-1]
    with pytest.raises(ConfigError, match="another plan: data"):
        extractor.extract(stored.select([2, 1, 0]), tmp_path / "f")


def test_encoders_whose_modality_is_not_there_take_no_part(tmp_path):
    extractor = Extractor({"a": MLPEncoder(2, out_dim=4), "b": MLPEncoder(2, out_dim=4)})
    extractor.extract({"a": [[1.0, 2.0]]}, tmp_path / "f")
    assert features.load(tmp_path / "f").column_names == ["row", "split", "a"]


def test_a_fusion_counts_a_modality_that_is_not_there_as_absent(model, tmp_path):
    Extractor(model).extract({"a": [[1.0, 2.0, 3.0]]}, tmp_path / "f", ["a", "s", "fused"])
    row = features.load(tmp_path / "f")[0]
    assert row["s"] is None
    assert row["a"] is not None


def test_encoders_alone_keep_the_labels_of_the_data(tmp_path):
    data = small_data()
    Extractor({"a": MLPEncoder(data.spec.modalities["a"], out_dim=4)}).extract(data, tmp_path / "f")
    assert features.load(tmp_path / "f")["target.y"][:3] == ["class 0", "class 1", "class 2"]


def test_batches_go_to_the_very_device_of_the_model(model, data, tmp_path):
    # "cuda" alone would be the first of several, whichever one the model is on.
    options = Options(("a",), None, "parquet", "float32", 9, 9, "raise", "32-true", "cuda")
    assert Job(model, data, tmp_path / "f", options).run([0]) is None
    assert len(list((tmp_path / "f" / "data").iterdir())) == 1


def test_rows_that_are_all_for_testing_need_no_labels(tmp_path):
    data = small_data(test=1, val=0)
    Extractor({"a": MLPEncoder(3, out_dim=4)}).extract(data, tmp_path / "f")
    found = features.load(tmp_path / "f")
    assert found.column_names == ["row", "split", "a"]
    assert set(found["split"]) == {"test"}


def test_data_that_cannot_be_read_are_refused(tmp_path):
    extractor = Extractor({"a": MLPEncoder(2, out_dim=4)})
    with pytest.raises(UnknownModalityError, match=r"have \['c'\]; the model reads \['a'\]"):
        extractor.extract({"c": [[1.0, 2.0]]}, tmp_path / "f")
    with pytest.raises(ConfigError, match="found int"):
        extractor.extract(3, tmp_path / "f")


def test_pictures_of_a_data_set_are_read_as_they_are_stored(tmp_path):
    pictures = [Image.new("RGB", (40, 30), (i, 0, 0)) for i in (10, 200)]
    stored = datasets.Dataset.from_dict(
        {"image": pictures}, features=datasets.Features({"image": datasets.Image()})
    )
    extractor = Extractor({"image": ImageCNNEncoder(ModalitySpec("image"), out_dim=4)})
    extractor.extract(stored, tmp_path / "set")
    extractor.extract({"image": pictures}, tmp_path / "list")
    found = [features.load(tmp_path / n)["image"][:] for n in ("set", "list")]
    assert found[0] == found[1]


def test_the_manifest_says_what_made_the_features(model, data, tmp_path):
    Extractor(model).extract(data, tmp_path / "f", ["a", "s.tokens"])
    manifest = json.loads((tmp_path / "f" / "manifest.json").read_text())
    assert manifest["columns"] == {
        "a": {"kind": "vector", "width": 64, "is_mean": False},
        "s.tokens": {"kind": "sequence", "width": 4},
    }
    assert manifest["libraries"]["torch"] == torch.__version__.partition("+")[0]
    assert manifest["model"]["description"]["fusion"]["class_path"].endswith("SequentialFusion")
    assert manifest["rows_written"] == 53


def test_a_changed_shard_is_refused(model, data, tmp_path):
    Extractor(model).extract(data, tmp_path / "f")
    shard = next((tmp_path / "f" / "data").iterdir())
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        features.load(tmp_path / "f")
    shard.write_bytes(content[:500])
    with pytest.raises(DataError, match="is damaged"):
        features.load(tmp_path / "f")
    (tmp_path / "f" / "manifest.json").unlink()
    Extractor(model).extract(data, tmp_path / "f")  # computes it again
    assert len(features.load(tmp_path / "f")) == 53


@pytest.mark.parametrize("field", ["dtype", "rows"])
def test_a_changed_manifest_is_refused(model, data, tmp_path, field):
    Extractor(model).extract(data, tmp_path / "f")
    file = tmp_path / "f" / "manifest.json"
    manifest = json.loads(file.read_text())
    if field == "rows":
        manifest["shards"][0]["rows"] = 1000
    else:
        manifest[field] = "float16"
    file.write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="does not agree"):
        features.load(tmp_path / "f")
    file.write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        features.load(tmp_path / "f")
    file.write_text("[]")
    with pytest.raises(DataError, match="is not a manifest"):
        features.load(tmp_path / "f")


def test_features_that_are_not_there_are_told(tmp_path):
    with pytest.raises(MissingFileError, match="no folder of features"):
        features.load(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="did not write it"):
        features.load(tmp_path)


class TestBadRows:
    @pytest.fixture
    def extractor(self):
        return Extractor({"a": FussyEncoder(ModalitySpec("text"))})

    rows = ["fine", "bad", None, "fine too"]

    def test_raise_names_the_row(self, extractor, tmp_path):
        with pytest.raises(DataError, match="row 1"):
            extractor.extract({"a": self.rows}, tmp_path / "f")

    def test_absent_keeps_the_row(self, extractor, tmp_path):
        manifest = extractor.extract({"a": self.rows}, tmp_path / "f", on_error="absent")
        assert [v is None for v in features.load(tmp_path / "f")["a"]] == [False, True, True, False]
        assert manifest["problem_counts"] == {"a": 1}
        assert manifest["problems"][0]["row"] == 1
        assert "bad" in manifest["problems"][0]["reason"]

    def test_skip_leaves_the_row_out(self, extractor, tmp_path):
        manifest = extractor.extract(
            {"a": self.rows}, tmp_path / "f", on_error="skip", batch_size=1
        )
        assert features.load(tmp_path / "f")["row"][:] == [0, 2, 3]
        assert manifest["skipped"] == [1]
        assert manifest["rows_written"] == 3


class FussyEncoder(LinearEncoder):
    """Reads the length of a text, and refuses one text."""

    kinds = frozenset({"text"})

    def __init__(self, spec, out_dim=2, frozen=False):
        from mmfuse import Encoder

        Encoder.__init__(self, spec, out_dim, frozen)

    def preprocess(self, raw):
        if "bad" in raw:
            raise DataError("a bad text")
        return torch.tensor([[float(len(text))] for text in raw])

    def forward(self, x):
        return x.expand(-1, self.out_dim)
