"""Encoders around open_clip's towers, against open_clip itself."""

from __future__ import annotations

import json
import logging
import shutil

import huggingface_hub.constants
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import mmfuse
from mmfuse.batch import Batch
from mmfuse.errors import CheckpointError, ConfigError, DataError, MissingFileError
from mmfuse.fusion import ConcatFusion
from mmfuse.model import FusionModel
from mmfuse.spec import DataSpec, ModalitySpec, TargetSpec
from mmfuse.testing import check_encoder
from mmfuse.testing.values import sample_raw
from mmfuse.tokens import Tokens
from mmfuse_encoders import OpenClipImageEncoder, OpenClipTextEncoder, pretrained
from mmfuse_encoders.adapters import FullTuning, LoRA
from mmfuse_encoders.open_clip_model import agreed_preprocessing

IMAGE, TEXT = ModalitySpec("image"), ModalitySpec("text")
VISION = {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 3}
LANGUAGE = {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 3}
# Settings that no model has by default.
SETTINGS = {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
    "interpolation": "bilinear",
    "resize_mode": "squash",
}


def architecture(vision: dict | None = None, text: dict | None = None, **rest) -> dict:
    return {
        "embed_dim": 6,
        "vision_cfg": {**VISION, **(vision or {})},
        "text_cfg": {**LANGUAGE, **(text or {})},
        **rest,
    }


MODELS = {
    "vit": architecture(),
    "average": architecture({"pool_type": "avg", "final_ln_after_pool": True}),
    "resnet": {
        **architecture(),
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    },
    "timm": {
        **architecture(),
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token"},
    },
    "coca": architecture(
        {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        {"embed_cls": True, "output_tokens": True},
        multimodal_cfg={**LANGUAGE, "layers": 1, "attn_pooler_heads": 2},
        custom_text=True,
    ),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One folder a model, with random weights, as open_clip saves it."""
    found = {}
    for name, model in MODELS.items():
        folder = tmp_path_factory.mktemp(name)
        content = {"model_cfg": model, "preprocess_cfg": SETTINGS}
        (folder / "open_clip_config.json").write_text(json.dumps(content))
        torch.manual_seed(1)
        built = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        for parameter in built.parameters():
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
        save_file(built.state_dict(), folder / "open_clip_model.safetensors")
        found[name] = folder
    return found


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def theirs(folder):
    """open_clip's own model, preprocessing and tokenizer."""
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    # With gradients torch's attention takes another way, which rounds in another manner.
    return (
        model.eval().requires_grad_(False),
        preprocess,
        open_clip.get_tokenizer(f"local-dir:{folder}"),
    )


def plainly(model, kind, x):
    """encode_image or encode_text without normalisation, which CoCa does by default."""
    return getattr(model, f"encode_{kind}")(x, normalize=False)


@pytest.mark.parametrize("name", MODELS)
def test_a_pictures_vector_is_open_clips_own_bit_for_bit(folders, name):
    model, preprocess, _ = theirs(folders[name])
    pictures = sample_raw(IMAGE)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders[name]}")
    x = encoder.preprocess(pictures)
    assert torch.equal(x, torch.stack([preprocess(p) for p in pictures]))
    assert torch.equal(encoder(x), plainly(model, "image", x))
    assert encoder.out_dim == 6
    assert encoder.frozen


@pytest.mark.parametrize("name", ["vit", "coca"])
def test_a_texts_vector_is_open_clips_own_to_rounding(folders, name):
    model, _, tokenizer = theirs(folders[name])
    texts = ["", "a cat! sat?!", "word " * 30, *sample_raw(TEXT)]
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders[name]}")
    x = encoder.preprocess(texts)
    assert torch.equal(x.values, tokenizer(texts))
    torch.testing.assert_close(
        encoder(x), plainly(model, "text", tokenizer(texts)), rtol=1e-6, atol=1e-6
    )


def test_the_settings_of_the_model_are_told_in_plain_data(folders):
    found = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}").preprocessing()
    assert {k: found[k] for k in SETTINGS} == SETTINGS
    assert tuple(found["size"]) == (32, 32)
    found = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}").preprocessing()
    assert found == {"tokenizer": "SimpleTokenizer", "context_length": 12}


def test_weights_in_a_file_are_preprocessed_as_the_published_ones_agree():
    siglip = agreed_preprocessing("ViT-B-16-SigLIP")
    assert siglip["mean"] == (0.5, 0.5, 0.5)
    assert siglip["resize_mode"] == "squash"
    assert agreed_preprocessing("ViT-B-32")["mean"] == open_clip.OPENAI_DATASET_MEAN


@pytest.mark.parametrize("name", ["vit", "coca"])
def test_tokens_are_what_open_clip_gives_beside_the_vector(folders, name):
    model, _, _ = theirs(folders[name])
    x = torch.randn(2, 3, 32, 32)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders[name]}", tokens=True)
    model.visual.output_tokens = True
    assert torch.equal(encoder(x).values, model.visual(x)[1])
    assert encoder(x).mask.all()


def test_the_tokens_of_average_pooling_give_its_vector_back(folders):
    model, _, _ = theirs(folders["average"])
    x = torch.randn(2, 3, 32, 32)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['average']}", tokens=True)
    visual = model.visual
    vector = visual.ln_post(encoder(x).pooled()) @ visual.proj
    torch.testing.assert_close(vector, visual(x))


def test_a_resnets_tokens_are_its_last_map(folders):
    model, _, _ = theirs(folders["resnet"])
    x = torch.randn(2, 3, 64, 64)
    encoder = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['resnet']}", tokens=True)
    found = encoder(x).values
    assert found.shape == (2, 4, 256)
    torch.testing.assert_close(
        model.visual.attnpool(found.mT.unflatten(2, (2, 2))), model.visual(x)
    )


def test_word_tokens_are_those_up_to_the_end_of_the_text(folders):
    model, _, tokenizer = theirs(folders["vit"])
    texts = ["one two", "!!!?", "word " * 30]
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}", tokens=True)
    found = encoder(encoder.preprocess(texts))
    assert found.mask.sum(dim=1).tolist() == [4, len(tokenizer.encode("!!!?")) + 2, 12]
    states = model.token_embedding(tokenizer(texts)) + model.positional_embedding
    states = model.ln_final(model.transformer(states, attn_mask=model.attn_mask))
    torch.testing.assert_close(found.values, states)


def outputs_of(blocks, run) -> list[torch.Tensor]:
    found = []
    hooks = [b.register_forward_hook(lambda _, __, out: found.append(out)) for b in blocks]
    run()
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("layers", [[0], [-1], [2, 0]])
def test_chosen_layers_are_those_of_the_tower_side_by_side(folders, layers):
    model, _, tokenizer = theirs(folders["vit"])
    source = f"local-dir:{folders['vit']}"
    x = torch.randn(2, 3, 32, 32)
    found = outputs_of(model.visual.transformer.resblocks, lambda: model.visual(x))
    expected = torch.cat([found[i] for i in layers], dim=2)
    patches = OpenClipImageEncoder(IMAGE, source, tokens=True, layers=layers)
    assert torch.equal(patches(x).values, expected[:, 1:])
    assert torch.equal(OpenClipImageEncoder(IMAGE, source, layers=layers)(x), expected[:, 0])

    texts = ["one two", "three"]
    ids = tokenizer(texts)
    found = outputs_of(model.transformer.resblocks, lambda: model.encode_text(ids))
    expected = torch.cat([found[i] for i in layers], dim=2)
    words = OpenClipTextEncoder(TEXT, source, tokens=True, layers=layers)
    torch.testing.assert_close(words(words.preprocess(texts)).values, expected)
    vector = OpenClipTextEncoder(TEXT, source, layers=layers)
    ends = expected[torch.arange(2), ids.argmax(dim=1)]
    torch.testing.assert_close(vector(vector.preprocess(texts)), ends)


def test_what_lies_behind_the_chosen_layer_is_dropped(folders):
    source = f"local-dir:{folders['vit']}"
    assert len(OpenClipImageEncoder(IMAGE, source, layers=[0]).backbone.transformer.resblocks) == 1
    assert len(OpenClipTextEncoder(TEXT, source, layers=[1]).backbone.transformer.resblocks) == 2


@pytest.mark.parametrize("name", ["resnet", "timm"])
def test_the_layers_of_other_towers_are_pooled_by_their_mean(folders, name):
    source = f"local-dir:{folders[name]}"
    places = OpenClipImageEncoder(IMAGE, source, tokens=True, layers=[1])
    x = places.preprocess(sample_raw(IMAGE))
    several = OpenClipImageEncoder(IMAGE, source, layers=[1, 2])
    torch.testing.assert_close(several(x)[:, : places.out_dim], places(x).pooled())


def test_texts_that_are_cut_are_counted_and_told_once(folders, caplog):
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    fits, too_long = "a " * 10, "a " * 11  # start and end are tokens too
    with caplog.at_level(logging.WARNING):
        encoder.preprocess([fits, "short"])
        assert not caplog.records
        encoder.preprocess([too_long, fits, too_long])
        encoder.preprocess([too_long])
    assert (encoder.texts, encoder.texts_cut) == (6, 3)
    assert [r.getMessage() for r in caplog.records] == [
        "2 of 3 texts have more than 12 tokens and were cut; of later ones, texts_cut alone tells. "
        "Split the texts, or use a model that takes longer ones."
    ]


def fused(encoders: dict, specs: dict) -> FusionModel:
    fusion = ConcatFusion({m: e.out_dim for m, e in encoders.items()}, out_dim=3, hidden=0)
    return FusionModel(DataSpec(specs, {"y": TargetSpec("regression")}), encoders, fusion).eval()


def batch_of(model: FusionModel, specs: dict) -> Batch:
    inputs = {m: model.preprocess[m](sample_raw(s)) for m, s in specs.items()}
    return Batch(tuple(specs), inputs, torch.ones(6, len(specs)).bool())


@pytest.mark.parametrize(
    ("name", "layers"), [*((name, []) for name in MODELS), ("vit", [1]), ("coca", [1])]
)
def test_a_saved_model_needs_nothing_of_the_folder_any_more(folders, name, layers, tmp_path):
    source = f"local-dir:{shutil.copytree(folders[name], tmp_path / 'model')}"
    specs = {"a": IMAGE, "b": TEXT}
    encoders = {
        "a": OpenClipImageEncoder(IMAGE, source, adapter=LoRA(2), layers=layers)
        if name != "resnet"
        else OpenClipImageEncoder(IMAGE, source, adapter=FullTuning(), layers=layers),
        "b": OpenClipTextEncoder(TEXT, source, out_dim=5, tokens=True, layers=layers),
    }
    model = fused(encoders, specs)
    expected = model(batch_of(model, specs)).logits["y"]
    mmfuse.save(model, tmp_path / "model.ckpt")
    shutil.rmtree(tmp_path / "model")
    again = mmfuse.load(tmp_path / "model.ckpt")
    assert torch.equal(again(batch_of(again, specs)).logits["y"], expected)


def test_an_architecture_of_ones_own_comes_from_a_json_file(folders, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"model_cfg": MODELS["vit"], "preprocess_cfg": SETTINGS}))
    weights = str(folders["vit"] / "open_clip_model.safetensors")
    encoder = OpenClipImageEncoder(IMAGE, str(path), weights)
    same = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}")
    x = same.preprocess(sample_raw(IMAGE))
    assert torch.equal(encoder(x), same(x))
    assert not encoder.random_weights
    assert OpenClipImageEncoder(IMAGE, str(path)).random_weights


def test_a_name_that_was_added_to_open_clip_takes_weights_from_a_file(folders, tmp_path):
    path = tmp_path / "mmfuse-own.json"
    path.write_text(json.dumps(MODELS["vit"]))
    open_clip.add_model_config(path)
    weights = str(folders["vit"] / "open_clip_model.safetensors")
    texts = sample_raw(TEXT)
    encoder = OpenClipTextEncoder(TEXT, "mmfuse-own", weights)
    same = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    assert torch.equal(encoder(encoder.preprocess(texts)), same(same.preprocess(texts)))


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    """A model whose text tower and tokenizer are of transformers, in a folder of theirs."""
    import tokenizers
    import transformers

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "short", "text", "one", "word"]
    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    plain.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    folder = tmp_path / "bert"
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    transformers.BertConfig(
        vocab_size=16, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=16,
    ).save_pretrained(folder)  # fmt: skip
    model = architecture()
    model["text_cfg"] = {
        "hf_model_name": str(folder),
        "hf_tokenizer_name": str(folder),
        "context_length": 8,
        "hf_proj_type": "linear",
        "hf_pooler_type": "mean_pooler",
    }
    path = tmp_path / "own.json"
    path.write_text(json.dumps(model))
    return path, folder


def test_a_text_tower_of_transformers_is_rebuilt_without_its_folder(hugging_face, tmp_path):
    path, folder = hugging_face
    encoder = OpenClipTextEncoder(TEXT, str(path), out_dim=4, adapter=LoRA(2))
    model = fused({"b": encoder}, {"b": TEXT})
    batch = batch_of(model, {"b": TEXT})
    assert batch.inputs["b"].values.shape == (6, 8)
    expected = model(batch).logits["y"]
    mmfuse.save(model, tmp_path / "model.ckpt")
    shutil.rmtree(folder)
    path.unlink()
    again = mmfuse.load(tmp_path / "model.ckpt")
    assert torch.equal(again(batch_of(again, {"b": TEXT})).logits["y"], expected)


def test_a_tokenizer_of_transformers_tells_what_it_cuts(hugging_face, caplog):
    encoder = OpenClipTextEncoder(TEXT, str(hugging_face[0]), tokens=True)
    x = encoder.preprocess(["one " * 6, "one " * 7, "one"])
    assert encoder.texts_cut == 1
    assert x.mask.sum(dim=1).tolist() == [8, 8, 3]
    found = encoder(x)
    assert found.values.shape == (3, 8, 8)
    assert torch.equal(found.mask, x.mask)
    with pytest.raises(ConfigError, match="TransformersTextEncoder"):
        OpenClipTextEncoder(TEXT, str(hugging_face[0]), layers=[0])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit", {}),
        ("vit", {"layers": [1, 0], "adapter": FullTuning()}),
        ("vit", {"adapter": LoRA(2), "out_dim": 3, "tokens": True}),
        ("average", {"tokens": True, "adapter": FullTuning()}),
        ("resnet", {"layers": [1, 0], "tokens": True, "adapter": FullTuning()}),
        ("timm", {"layers": [1], "adapter": FullTuning()}),
        ("coca", {"tokens": True, "adapter": FullTuning()}),
    ],
)
def test_image_towers_keep_an_encoders_promises(folders, name, options):
    check_encoder(OpenClipImageEncoder, model=f"local-dir:{folders[name]}", **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit", {"adapter": LoRA(2)}),
        pytest.param("vit", {"layers": [1], "adapter": FullTuning()}, marks=pytest.mark.slow),
        pytest.param("coca", {"tokens": True, "adapter": FullTuning()}, marks=pytest.mark.slow),
    ],
)
def test_text_towers_keep_an_encoders_promises(folders, name, options):
    check_encoder(OpenClipTextEncoder, model=f"local-dir:{folders[name]}", **options)


def test_random_weights_are_told_once_and_a_folders_are_not(folders, tmp_path, caplog):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(MODELS["vit"]))
    pretrained._say_random.cache_clear()
    before = list(logging.getLogger().handlers)
    for _ in range(2):
        OpenClipImageEncoder(IMAGE, str(path))
    OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}")
    assert [r.getMessage()[:44] for r in caplog.records] == [
        "OpenClipImageEncoder has random weights, as "
    ]
    assert logging.getLogger().handlers == before


def test_random_weights_are_always_the_same_and_draw_nothing(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(MODELS["vit"]))
    x, state = torch.randn(1, 3, 32, 32), torch.get_rng_state()
    first = OpenClipImageEncoder(IMAGE, str(path))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(OpenClipImageEncoder(IMAGE, str(path))(x), first(x))


@pytest.mark.parametrize("cls", [OpenClipImageEncoder, OpenClipTextEncoder])
def test_names_that_nobody_has_are_refused_with_those_that_are_near(cls, tmp_path):
    spec = IMAGE if cls is OpenClipImageEncoder else TEXT
    with pytest.raises(ConfigError, match=r"no model 'ViT-B32'.*ViT-B-32"):
        cls(spec, "ViT-B32")
    with pytest.raises(ConfigError, match=r"no weights 'laion' of ViT-B-32.*laion2b_e16"):
        cls(spec, "ViT-B-32", "laion")
    with pytest.raises(MissingFileError, match="no file of weights at"):
        cls(spec, "ViT-B-32", str(tmp_path / "absent.pt"))
    with pytest.raises(MissingFileError, match="no description of a model at"):
        cls(spec, str(tmp_path / "absent.json"))


def test_a_tag_that_is_not_here_says_what_to_download_and_where_to_put_it(offline):
    with pytest.raises(MissingFileError, match=r"laion2b_s34b_b79k.*neither on this.*HF_HOME"):
        OpenClipImageEncoder(IMAGE, "ViT-B-32", "laion2b_s34b_b79k")
    with pytest.raises(MissingFileError, match=r"owner/none.*neither on this.*HF_HOME"):
        OpenClipTextEncoder(TEXT, "hf-hub:owner/none")


def test_a_folder_that_is_no_model_is_refused(tmp_path, folders):
    with pytest.raises(MissingFileError, match=r"no description of a model at .*open_clip_config"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")
    shutil.copy(folders["vit"] / "open_clip_config.json", tmp_path)
    with pytest.raises(MissingFileError, match=r"has no weights. Put them there"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")
    with pytest.raises(ConfigError, match="has its own weights"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}", "laion2b_s34b_b79k")


@pytest.mark.parametrize("content", [b"", b"nonsense", "resnet"])
def test_weights_in_a_folder_that_are_damaged_or_of_another_model_are_refused(
    tmp_path, folders, content
):
    shutil.copy(folders["vit"] / "open_clip_config.json", tmp_path)
    file = tmp_path / "open_clip_model.safetensors"
    if isinstance(content, str):
        shutil.copy(folders[content] / file.name, file)
    else:
        file.write_bytes(content)
    with pytest.raises(CheckpointError, match="holds no weights of its architecture"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")


def test_weights_of_the_hub_that_are_damaged_are_refused(tmp_path, folders, monkeypatch):
    config = json.loads((folders["vit"] / "open_clip_config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    monkeypatch.setattr(open_clip.factory, "_get_hf_config", lambda *_, **__: config)
    monkeypatch.setattr(
        open_clip.factory,
        "download_pretrained_from_hf",
        lambda *_, **__: str(tmp_path / "model.safetensors"),
    )
    with pytest.raises(CheckpointError, match="hf-hub:owner/clip holds no weights"):
        OpenClipImageEncoder(IMAGE, "hf-hub:owner/clip")


@pytest.mark.parametrize("content", ["[1, 2]", "{", '{"embed_dim": 3}'])
def test_a_json_file_that_describes_no_model_is_refused(tmp_path, content):
    path = tmp_path / "own.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match="no description of an open_clip model"):
        OpenClipImageEncoder(IMAGE, str(path))


def test_an_impossible_architecture_is_refused(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(architecture({"nonsense": 1})))
    with pytest.raises(ConfigError, match=r"cannot build the model described.*nonsense"):
        OpenClipImageEncoder(IMAGE, str(path))
    content = {"model_cfg": architecture({"nonsense": 1})}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"cannot build the model described.*nonsense"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{tmp_path}")


def test_weights_of_another_model_and_files_that_hold_none_are_refused(folders, tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(architecture({"width": 32})))
    with pytest.raises(CheckpointError, match="holds no weights of this open_clip model"):
        OpenClipImageEncoder(IMAGE, str(path), str(folders["vit"] / "open_clip_model.safetensors"))
    for content in (b"", b"nonsense", b"PK\x03\x04" + bytes(100)):
        broken = tmp_path / "broken.pt"
        broken.write_bytes(content)
        with pytest.raises(CheckpointError, match="holds no weights of this open_clip model"):
            OpenClipImageEncoder(IMAGE, str(path), str(broken))


def test_layers_that_do_not_exist_or_do_not_fit_together_are_refused(folders):
    with pytest.raises(ConfigError, match=r"has not \[3\]; it has 3"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}", layers=[0, 3])
    with pytest.raises(ConfigError, match=r"has not \[-4\]; it has 3"):
        OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}", layers=[-4])
    with pytest.raises(ConfigError, match="maps of different sizes"):
        OpenClipImageEncoder(IMAGE, f"local-dir:{folders['resnet']}", layers=[1, 2], tokens=True)


def test_rows_that_cannot_be_used_are_told(folders):
    image = OpenClipImageEncoder(IMAGE, f"local-dir:{folders['vit']}")
    with pytest.raises(DataError, match="found str"):
        image.preprocess(["cat.png"])
    with pytest.raises(DataError, match="2 x 300 pixels is over 100 times"):
        image.preprocess([Image.new("RGB", (2, 300))])
    text = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    with pytest.raises(DataError, match="found NoneType"):
        text.preprocess([None])
    with pytest.raises(DataError, match="half a character"):
        text.preprocess(["a \ud800"])


def test_arrays_are_refused_as_nobody_knows_their_preprocessing(folders):
    with pytest.raises(ConfigError, match=r"takes raw pictures.*arrays of shape \(3, 32, 32\)"):
        OpenClipImageEncoder((3, 32, 32), f"local-dir:{folders['vit']}")


def test_a_shorter_context_changes_no_text(folders):
    encoder = OpenClipTextEncoder(TEXT, f"local-dir:{folders['vit']}")
    x = encoder.preprocess(["one two", "three"])
    assert torch.equal(encoder(Tokens(x.values[:, :4], x.mask[:, :4])), encoder(x))
