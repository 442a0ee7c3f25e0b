"""mmfuse search: a person asks by text, picture, sound or row, and reads who is near."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import open_clip
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from search_samples import COLOURS, ColourOfPicture, ColourOfText, picture

import mmfuse
from mmfuse import ArrayData, Extractor, ModalitySpec, build_model, features
from mmfuse.cli import main
from mmfuse.errors import ConfigError, DataError, UnknownModalityError
from mmfuse.model import Towers
from mmfuse_encoders import MLPEncoder, OpenClipImageEncoder, OpenClipTextEncoder

IMAGE, TEXT = ModalitySpec("image"), ModalitySpec("text")
NAMES = [c for c in COLOURS if c != "white"] * 3
WORDS = [None if i == 3 else f"a {c} thing" for i, c in enumerate(NAMES)]


@pytest.fixture
def data():
    pictures = [picture(c, i) for i, c in enumerate(NAMES)]
    return ArrayData({"image": pictures, "text": WORDS}, NAMES, val=0.2, test=0.2)


@pytest.fixture(params=["parquet", "safetensors"])
def folder(data, tmp_path, request):
    encoders = {"image": ColourOfPicture(IMAGE), "text": ColourOfText(TEXT)}
    extractor = Extractor(Towers(data.spec, encoders))
    extractor.extract(data, tmp_path / "f", format=request.param, shard_rows=4)
    return str(tmp_path / "f")


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")


def told(capsys, *words):
    assert main(["search", *map(str, words)]) == 0
    return capsys.readouterr().out


def refused(capsys, *words):
    assert main(["search", *map(str, words)]) == 2
    found = capsys.readouterr()
    assert found.err.startswith("mmfuse: ")
    assert "Traceback" not in found.err
    assert not found.out
    return found.err


def table(out):
    """The cells of the table's rows."""
    return [line.split() for line in out.splitlines() if line.strip()[:1].isdigit()]


def test_a_text_finds_the_pictures_it_describes(folder, capsys):
    out = told(capsys, "a yellow star", "--features", folder, "--k", 3)
    assert "Nearest to 'a yellow star' in 'image'" in out
    header = next(line for line in out.splitlines() if "rank" in line)
    assert header.split() == ["rank", "row", "cosine", "split", "target.y"]
    rows = table(out)
    assert [r[0] for r in rows] == ["1", "2", "3"]
    assert {r[1] for r in rows} == {"0", "5", "10"}
    assert {r[4] for r in rows} == {"yellow"}
    assert {r[3] for r in rows} <= {"train", "val", "test"}
    scores = [float(r[2]) for r in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.99
    assert "only if they were trained together" in out


def test_what_is_printed_is_what_the_index_finds(folder, capsys):
    for metric in ("cosine", "dot", "l2"):
        index = features.index(folder, "image", metric=metric)
        extractor = Extractor({"text": ColourOfText(TEXT)})
        found = index.search(features.embed(extractor, {"text": ["green"]}), 15)
        out = told(capsys, "green", "--features", folder, "--k", 99, "--metric", metric)
        assert [int(r[1]) for r in table(out)] == found.rows[0].tolist()
        assert [r[2] for r in table(out)] == [f"{s:.4f}" for s in found.scores[0]]


def test_a_picture_finds_texts_and_pictures(folder, capsys, tmp_path):
    picture("purple", 99).save(tmp_path / "query.png")
    words = ("--features", folder, "--image", tmp_path / "query.png", "--k", 2)
    assert {r[1] for r in table(told(capsys, *words))} <= {"4", "9", "14"}
    out = told(capsys, *words, "--column", "image")
    assert {r[1] for r in table(out)} <= {"4", "9", "14"}
    assert "trained together" not in out


def test_a_row_finds_its_like_but_not_itself(folder, capsys):
    words = ("--row", 7, "--features", folder, "--column", "image")
    out = told(capsys, *words, "--k", 2)
    assert "Nearest to row 7 in 'image'" in out
    assert {r[1] for r in table(out)} == {"2", "12"}
    assert len(table(told(capsys, *words, "--k", 99))) == 14
    by_text = told(capsys, *words, "--by", "text", "--k", 3)
    assert {r[1] for r in table(by_text)} == {"2", "7", "12"}


@pytest.mark.parametrize("backend", ["faiss", "faiss-hnsw"])
def test_an_index_of_faiss_serves_too(folder, capsys, backend):
    words = ("red", "--features", folder, "--k", 3)
    assert told(capsys, *words) == told(capsys, *words, "--backend", backend)


def test_a_sound_finds_sounds(tmp_path, capsys):
    waves = [np.sin(np.arange(4000) * f).astype(np.float32) for f in (0.1, 0.5, 0.9)]
    files = [tmp_path / f"{i}.wav" for i in range(3)]
    for file, wave in zip(files, waves, strict=True):
        soundfile.write(file, wave, 8000)
    torch.manual_seed(0)
    encoder = {
        "class_path": "LogMelCNNEncoder",
        "init_args": {"rate": 8000, "mels": 16, "layers": 1, "out_dim": 4},
    }
    data = ArrayData({"audio": files}, [0.0, 1.0, 2.5], kinds={"audio": "audio"}, val=0, test=0)
    model = build_model(data.spec, {"audio": encoder}, "MeanFusion").eval()
    mmfuse.save(model, tmp_path / "model.ckpt")
    Extractor(model).extract(data, tmp_path / "f", ["audio"])
    words = ("--sound", files[1], "--features", tmp_path / "f", "--k", 1)
    out = told(capsys, *words, "--ckpt_path", tmp_path / "model.ckpt")
    assert table(out) == [["1", "1", "1.0000", "train", "1"]]
    assert "--ckpt_path" in refused(capsys, *words)


# Which encoder.


@pytest.fixture
def trained(data, tmp_path):
    """A model whose encoders have weights of their own, its checkpoint, and its features."""
    encoders = {
        m: f"search_samples.ColourOf{n}" for m, n in (("image", "Picture"), ("text", "Text"))
    }
    model = build_model(data.spec, encoders, "MeanFusion").eval()
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder.scale.mul_(torch.tensor([1.0, 2.0, 3.0]))
    Extractor(model).extract(data, tmp_path / "g")
    return model, mmfuse.save(model, tmp_path / "model.ckpt"), tmp_path / "g"


def test_a_trained_encoder_comes_from_its_checkpoint(trained, capsys):
    _, path, folder = trained
    words = ("a red dot", "--features", folder, "--column", "image", "--k", 3)
    assert "had other weights" in refused(capsys, *words)
    assert {r[1] for r in table(told(capsys, *words, "--ckpt_path", path))} == {"1", "6", "11"}


def test_the_fused_vector_is_searched_with_the_other_modalities_absent(trained, capsys):
    model, path, folder = trained
    words = ("a red dot", "--features", folder, "--column", "fused", "--k", 3)
    assert "Give its checkpoint with --ckpt_path" in refused(capsys, *words)
    found = features.index(folder, "fused").search(
        features.embed(Extractor(model), {"text": ["a red dot"]}, "fused"), 3
    )
    out = told(capsys, *words, "--ckpt_path", path)
    assert [int(r[1]) for r in table(out)] == found.rows[0].tolist()
    assert "trained together" not in out


@pytest.mark.parametrize("column", ["image", "fused"])
def test_a_checkpoint_of_another_model_is_refused(trained, capsys, tmp_path, column):
    model, _, folder = trained
    with torch.no_grad():
        model.encoders["image"].scale.mul_(2)
    other = mmfuse.save(model, tmp_path / "other.ckpt")
    words = ("red", "--features", folder, "--column", column, "--ckpt_path", other)
    assert "with other weights" in refused(capsys, *words)


def test_a_checkpoint_without_the_modality_is_refused(folder, capsys, tmp_path):
    data = ArrayData(
        {"image": [picture("red", i) for i in range(9)]}, np.random.default_rng(0).normal(size=9)
    )
    model = build_model(data.spec, {"image": "search_samples.ColourOfPicture"}, "MeanFusion")
    other = mmfuse.save(model, tmp_path / "other.ckpt")
    told = refused(capsys, "red", "--features", folder, "--ckpt_path", other)
    assert "reads ['image'], not 'text'" in told


@pytest.fixture
def clip(tmp_path):
    """A tiny open_clip model with random weights, in the library's own form."""
    tower = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
    words = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    settings = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear"}
    content = {
        "model_cfg": {"embed_dim": 6, "vision_cfg": tower, "text_cfg": words},
        "preprocess_cfg": settings,
    }
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps(content))

    def write(seed):
        torch.manual_seed(seed)
        built = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        save_file(built.state_dict(), folder / "open_clip_model.safetensors")
        return f"local-dir:{folder}"

    return write


def test_both_towers_of_open_clip_are_found_again(clip, data, tmp_path, capsys):
    name = clip(1)
    encoders = {"image": OpenClipImageEncoder(IMAGE, name), "text": OpenClipTextEncoder(TEXT, name)}
    extractor = Extractor(encoders)
    extractor.extract(data, tmp_path / "f")
    query = features.embed(extractor, {"text": ["a yellow star"]})
    expected = features.index(tmp_path / "f", "image").search(query, 4)
    words = ("a yellow star", "--features", tmp_path / "f", "--k", 4)
    out = told(capsys, *words)
    assert [int(r[1]) for r in table(out)] == expected.rows[0].tolist()
    assert [r[2] for r in table(out)] == [f"{s:.4f}" for s in expected.scores[0]]
    assert "trained together" not in out

    alone = Extractor({"image": encoders["image"]})
    pictures = {"image": [picture(c, i) for i, c in enumerate(NAMES)]}
    alone.extract(pictures, tmp_path / "pictures")
    again = told(capsys, "a yellow star", "--features", tmp_path / "pictures", "--k", 4)
    assert [r[:3] for r in table(again)] == [r[:3] for r in table(out)]

    clip(2)
    for folder in ("f", "pictures"):
        words = ("a yellow star", "--features", tmp_path / folder)
        assert "put the same weights back" in refused(capsys, *words)


def test_a_readout_of_its_own_leaves_the_shared_space(clip, tmp_path, capsys):
    name = clip(1)
    torch.manual_seed(0)
    encoder = OpenClipImageEncoder(IMAGE, name, out_dim=6).freeze()
    Extractor({"image": encoder}).extract({"image": [picture("red")]}, tmp_path / "f")
    mistake = refused(capsys, "red", "--features", tmp_path / "f")
    assert "had other weights" in mistake


# Mistakes.


@pytest.mark.parametrize(
    ("words", "mistake"),
    [
        ([], "There are 0 queries; expected one"),
        (["red", "--row", "1"], "There are 2 queries"),
        (["--row", "3", "--column", "text"], "Rows [3] have no 'text'"),
        (["--row", "99", "--column", "text"], "whose rows are 0 to 14"),
        (["--row", "1"], "has the vectors image, text. Choose a column"),
        (["--row", "1", "--column", "image", "--ckpt_path", "x"], "--ckpt_path does nothing"),
        (["--row", "one"], "invalid int value: 'one'"),
        (["red", "--k", "0"], "k is 0"),
        (["red", "--column", "sound"], "Choose with --column: image, text"),
        (["red", "--by", "image"], "'image' is image, the query is text"),
        (["red", "--by", "sound", "--column", "image"], "no encoder for a query of 'sound'"),
        (["red", "--backend", "fais"], "backend is 'fais'; expected one of exact, faiss"),
        (["red", "--metric", "l1"], "metric is 'l1'"),
        (["red", "--colour", "3"], "unrecognized arguments: --colour 3"),
        (["--image", "nowhere.png"], "nowhere.png"),
        (["--sound", "nowhere.wav", "--column", "image"], "no encoder for a query of 'audio'"),
        (["red", "--ckpt_path", "nowhere.ckpt"], "no checkpoint at nowhere.ckpt"),
    ],
)
def test_a_mistake_gets_one_sentence(folder, capsys, words, mistake):
    assert mistake in refused(capsys, *words, "--features", folder)


def test_a_folder_without_features_is_named(capsys, tmp_path):
    assert "no folder of features" in refused(capsys, "red", "--features", tmp_path / "nowhere")
    assert "--features" in refused(capsys, "red")


def test_columns_of_unequal_width_share_no_space(data, tmp_path, capsys):
    encoders = {"image": ColourOfPicture(IMAGE), "a": MLPEncoder(2, out_dim=4, frozen=True)}
    rows = {"image": [picture("red"), picture("blue")], "a": [[1.0, 2.0], [0.0, 1.0]]}
    Extractor(encoders).extract(rows, tmp_path / "f")
    picture("red").save(tmp_path / "red.png")
    mistake = refused(capsys, "--features", tmp_path / "f", "--image", tmp_path / "red.png")
    assert "'image' has vectors of width 3, 'a' of 4: they do not share a space" in mistake


def test_help_says_what_may_be_given(capsys):
    with pytest.raises(SystemExit) as left:
        main(["search", "--help"])
    assert left.value.code == 0
    assert "--features FOLDER" in capsys.readouterr().out


def test_search_is_quick_to_refuse_and_loads_no_lightning():
    code = (
        "import sys; from mmfuse.cli import main; main(['--help']); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "False"


# embed.


def test_embed_gives_what_extraction_writes(data, tmp_path):
    extractor = Extractor({"image": ColourOfPicture(IMAGE), "text": ColourOfText(TEXT)})
    extractor.extract(data, tmp_path / "f")
    stored = features.load(tmp_path / "f")
    pictures = [picture(c, i) for i, c in enumerate(NAMES)]
    found = features.embed(extractor, {"image": pictures})
    assert torch.equal(found, torch.tensor(stored["image"][:]))
    found.mul_(2)  # a tensor like any other


def test_embed_takes_rows_of_numbers_as_the_model_was_trained_on():
    source = np.random.default_rng(0)
    data = ArrayData({"a": source.normal(3, 2, size=(30, 2))}, source.normal(size=30))
    model = build_model(data.spec, {"a": "MLPEncoder"}, "MeanFusion").eval()
    assert data.spec.modalities["a"].mean
    values = torch.randn(5, 2)
    found = features.embed(Extractor(model), {"a": values.tolist()})
    with torch.no_grad():
        torch.testing.assert_close(found, model._encode_rows("a", values).pooled())


@pytest.mark.parametrize(
    ("items", "column", "error", "mistake"),
    [
        ({"b": [1]}, None, UnknownModalityError, r"reads \['a'\], not \['b'\]"),
        ({"a": [[1.0, 2.0]]}, "fused", ConfigError, "of these items there is a"),
        ({"a": []}, None, DataError, "from 1 up"),
        ({"a": ["red"]}, None, DataError, "numbers of shape"),
        ({"a": [[1.0, 2.0, 3.0]]}, None, DataError, "expects vector rows of shape"),
        ({"a": [[1.0, float("nan")]]}, None, DataError, "NaN"),
    ],
)
def test_embed_refuses_what_it_cannot_encode(items, column, error, mistake):
    with pytest.raises(error, match=mistake):
        features.embed(Extractor({"a": MLPEncoder(2, out_dim=4)}), items, column)
