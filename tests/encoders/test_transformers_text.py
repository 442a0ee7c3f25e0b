"""Text encoders of Hugging Face transformers, on tiny checkpoints in the library's own format."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2Model,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
    ViTConfig,
    ViTModel,
)
from transformers.utils import logging as hf_logging

import mmfuse
from mmfuse import Batch, DataSpec, FusionModel, ModalitySpec, TargetSpec
from mmfuse.encoder import without_pretrained_weights
from mmfuse.errors import CheckpointError, ConfigError, DataError, MissingFileError
from mmfuse.fusion import ConcatFusion
from mmfuse.testing import check_encoder
from mmfuse.tokens import Tokens
from mmfuse_encoders import TransformersTextEncoder
from mmfuse_encoders.adapters import FullTuning, LastLayers, LoRA
from mmfuse_encoders.huggingface import blocks_of

TEXT = ModalitySpec("text")
TEXTS = ["a short text", "one", "a longer text, with more words in it", "", "zebra text"]
SENTENCE = "a short text one longer , with more words in it and two the last of them all"
WORDS = list(dict.fromkeys(SENTENCE.split()))
SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(autouse=True)
def _quiet():
    hf_logging.disable_progress_bar()
    yield
    hf_logging.enable_progress_bar()


def tokenizer(specials: list[str], template: str, **options) -> PreTrainedTokenizerFast:
    vocabulary = {w: i for i, w in enumerate([*specials, *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=specials[1]))
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    if template:
        inner.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(s, i) for i, s in enumerate(specials)]
        )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token=specials[1], **options)


def save(folder: Path, network, words: PreTrainedTokenizerFast | None) -> str:
    torch.manual_seed(3)
    network.save_pretrained(folder)
    if words is not None:
        words.save_pretrained(folder)
    return str(folder)


def bert_words() -> PreTrainedTokenizerFast:
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    return tokenizer(specials, "[CLS] $A [SEP]", pad_token="[PAD]", model_max_length=24)


def bert_config(**options) -> BertConfig:
    sizes = {**SIZES, "vocab_size": 30, "intermediate_size": 16, "max_position_embeddings": 24}
    return BertConfig(**{**sizes, **options})


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> str:
    torch.manual_seed(0)
    return save(tmp_path_factory.mktemp("bert"), BertModel(bert_config()), bert_words())


@pytest.fixture(scope="session")
def roberta(tmp_path_factory) -> str:
    torch.manual_seed(1)
    words = tokenizer(["<s>", "<unk>", "</s>", "<pad>"], "<s> $A </s>", pad_token="<pad>")
    config = RobertaConfig(
        **SIZES,
        vocab_size=30,
        intermediate_size=16,
        max_position_embeddings=24,
        pad_token_id=3,
        type_vocab_size=1,
    )
    return save(tmp_path_factory.mktemp("roberta"), RobertaModel(config), words)


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory) -> str:
    """A decoder without a padding token, whose tokenizer pads on the left and adds nothing."""
    torch.manual_seed(2)
    words = tokenizer(["<end>", "<unk>"], "", eos_token="<end>", padding_side="left")
    config = GPT2Config(
        vocab_size=30,
        n_embd=8,
        n_layer=2,
        n_head=2,
        n_positions=24,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    return save(tmp_path_factory.mktemp("gpt2"), GPT2Model(config), words)


@pytest.fixture(scope="session")
def t5(tmp_path_factory) -> str:
    torch.manual_seed(4)
    words = tokenizer(["<pad>", "<unk>", "</s>"], "$A </s>", pad_token="<pad>")
    config = T5Config(vocab_size=30, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    return save(tmp_path_factory.mktemp("t5"), T5Model(config), words)


@pytest.fixture
def folder(request) -> str:
    """The folder of the model that the test names."""
    return request.getfixturevalue(request.param)


EVERY = pytest.mark.parametrize("folder", ["bert", "roberta", "gpt2", "t5"], indirect=True)


def make(folder: str, **options) -> TransformersTextEncoder:
    return TransformersTextEncoder(TEXT, folder, **options).eval()


def encode(encoder: TransformersTextEncoder, texts: list[str]):
    with torch.no_grad():
        return encoder(encoder.preprocess(texts))


def the_librarys_states(folder: str, text: str, layer: int | None = None) -> torch.Tensor:
    """(T, D) of one text alone, by the library's own tokenizer and model."""
    network = AutoModel.from_pretrained(folder).eval()
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    x = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        found = network(**x, output_hidden_states=True)
    return (found.last_hidden_state if layer is None else found.hidden_states[layer])[0]


# What comes out


@EVERY
def test_every_tokens_state_is_the_one_that_the_library_gives_for_the_text_alone(folder):
    texts = [t for t in TEXTS if t]
    found = encode(make(folder, tokens=True), texts)
    for i, text in enumerate(texts):
        expected = the_librarys_states(folder, text)
        assert found.mask[i].sum() == len(expected)
        torch.testing.assert_close(found.values[i, : len(expected)], expected)


@EVERY
@pytest.mark.parametrize("layer", [0, 1, 2, -1, -3])
def test_a_layers_states_are_the_librarys_and_nothing_further_up_is_kept(folder, layer):
    encoder = make(folder, tokens=True, layer=layer)
    expected = the_librarys_states(folder, "a longer text", layer)
    torch.testing.assert_close(encode(encoder, ["a longer text"]).values[0], expected)
    assert len(blocks_of(encoder.backbone)) == {0: 1, 1: 2, 2: 2, -1: 2, -3: 1}[layer]


@EVERY
def test_pooling_is_the_mean_the_first_or_the_last_of_the_real_tokens(folder):
    texts = [t for t in TEXTS if t]
    for pooling, by_hand in {
        "mean": lambda states: states.sum(dim=0) / len(states),
        "cls": lambda states: states[0],
        "last": lambda states: states[-1],
    }.items():
        found = encode(make(folder, pooling=pooling), texts)
        expected = torch.stack([by_hand(the_librarys_states(folder, t)) for t in texts])
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_first_and_last_are_real_tokens_wherever_the_padding_stands(bert, pooling):
    encoder = make(bert, pooling=pooling)
    states = torch.arange(4.0).view(1, 4, 1).expand(2, 4, 8)
    encoder._states = lambda ids, mask: states
    mask = torch.tensor([[False, True, True, False], [True, True, False, False]])
    found = encoder.features(Tokens(torch.zeros(2, 4, dtype=torch.long), mask))[:, 0]
    assert found.tolist() == ([1.0, 0.0] if pooling == "cls" else [2.0, 1.0])


def test_a_readout_sets_the_width(bert):
    assert encode(make(bert, out_dim=5), TEXTS).shape == (5, 5)
    assert encode(make(bert, out_dim=5, tokens=True), TEXTS).values.shape[2] == 5


# Bad and boundary input


def test_an_empty_text_is_its_special_tokens(bert, gpt2):
    assert make(bert).preprocess([""]).values.tolist() == [[2, 3]]
    assert encode(make(bert), [""]).isfinite().all()
    with pytest.raises(DataError, match="row 1 has no token"):
        make(gpt2).preprocess(["a", ""])


def test_a_row_that_is_no_text_is_refused(bert):
    with pytest.raises(DataError, match="found NoneType in row 1"):
        make(bert).preprocess(["a", None])
    with pytest.raises(DataError, match="row 1 holds half a character"):
        make(bert).preprocess(["a", "b \ud800"])


def test_cut_texts_are_counted_and_told_once(bert, caplog):
    encoder = make(bert, max_tokens=5)
    with caplog.at_level(logging.WARNING, logger="mmfuse_encoders"):
        tokens = encoder.preprocess(["a short text", "a b c d e", "a", "a a a a a a a"])
        encoder.preprocess(["a a a a"])
    assert tokens.mask.sum(dim=1).tolist() == [5, 5, 3, 5]
    assert tokens.values[1, -1] == 3  # the closing token stays
    assert (encoder.texts, encoder.texts_cut) == (5, 3)
    assert [r.getMessage()[:40] for r in caplog.records] == [
        "2 of 4 texts have more than 5 tokens and"
    ]


@pytest.mark.parametrize(
    ("folder", "longest"),
    [("bert", 24), ("roberta", 20), ("gpt2", 24), ("t5", 512)],
    indirect=["folder"],
)
def test_the_longest_text_is_the_models_own(folder, longest):
    encoder = make(folder)
    assert encoder.max_tokens == longest
    assert encoder.preprocessing()["max_tokens"] == longest
    x = encoder.preprocess(["text " * 1000])
    assert x.mask.sum() == longest
    assert encoder(x).isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "pooling is 'max'; expected one of mean, cls, last"),
        ({"layer": 3}, "layer is 3; the model has layers 0"),
        ({"layer": -4}, "layer is -4"),
        ({"max_tokens": 25}, "max_tokens is 25; .* takes 3 to 24 tokens"),
        ({"max_tokens": 2}, "max_tokens is 2"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_an_option_that_the_model_cannot_meet_is_refused(bert, options, message):
    with pytest.raises(ConfigError, match=message):
        make(bert, **options)


# Files


def test_files_that_are_not_there_are_named(bert, tmp_path):
    with pytest.raises(MissingFileError, match="There is no folder"):
        make(str(tmp_path / "nowhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(MissingFileError, match=r"has no config\.json"):
        make(str(empty))
    for name, message in (
        ("model.safetensors", "has no weights"),
        ("tokenizer.json", "has no tokenizer"),
    ):
        copy = shutil.copytree(bert, tmp_path / name)
        (copy / name).unlink()
        with pytest.raises(MissingFileError, match=message):
            make(str(copy))


def test_weights_of_another_model_are_refused(bert, gpt2, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    shutil.copy(Path(gpt2) / "model.safetensors", copy)
    with pytest.raises(CheckpointError, match="missing"):
        make(str(copy))


def test_weights_of_another_size_are_refused(bert, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "hidden_size": 12}))
    with pytest.raises(CheckpointError):
        make(str(copy))


def test_damaged_weights_are_refused(bert, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be read"):
        make(str(copy))


def test_a_tokenizer_of_another_model_is_refused(bert, tmp_path):
    torch.manual_seed(0)
    folder = save(tmp_path, BertModel(bert_config(vocab_size=5)), bert_words())
    with pytest.raises(CheckpointError, match="22 tokens, the model has embeddings for 5"):
        make(folder)


def test_what_is_no_text_model_is_refused(tmp_path):
    config = ViTConfig(**SIZES, intermediate_size=16, image_size=8, patch_size=4)
    with pytest.raises(ConfigError, match="pixel_values"):
        make(save(tmp_path, ViTModel(config), bert_words()))


def test_code_that_comes_with_a_model_is_not_run(bert, tmp_path):
    copy = shutil.copytree(bert, tmp_path / "copy")
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (copy / "config.json").write_text(json.dumps(own))
    (copy / "own.py").write_text("raise SystemExit('the code ran')")
    with pytest.raises(ConfigError, match="brings no code of its own"):
        make(str(copy))


def test_a_checkpoint_with_a_head_and_without_a_pooler_is_read_in_silence(tmp_path, capfd):
    torch.manual_seed(0)
    folder = save(tmp_path, BertForMaskedLM(bert_config()), bert_words())
    capfd.readouterr()
    hf_logging.enable_progress_bar()
    encoder = make(folder, tokens=True)
    assert capfd.readouterr() == ("", "")
    network = BertForMaskedLM.from_pretrained(folder).bert.eval()
    x = encoder.preprocess(["a text"])
    expected = network(x.values, x.mask.long()).last_hidden_state
    torch.testing.assert_close(encoder(x).values, expected)


def test_a_name_that_cannot_be_downloaded_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingFileError) as found:
        make("nobody/no-such-model")
    for part in ("hf download nobody/no-such-model", "HF_HOME", "give the folder"):
        assert part in str(found.value)


def test_a_name_in_the_hubs_cache_is_found_offline(bert, tmp_path, monkeypatch):
    repo = tmp_path / "models--somebody--tiny"
    shutil.copytree(bert, repo / "snapshots" / "0123abc")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert torch.equal(encode(make("somebody/tiny"), TEXTS), encode(make(bert), TEXTS))


# What learns


@EVERY
def test_by_default_it_is_frozen_and_its_output_has_no_history(folder):
    encoder = make(folder)
    assert encoder.frozen
    assert not encoder(encoder.preprocess(["a text"])).requires_grad
    assert make(folder, out_dim=3).frozen is False


@EVERY
def test_lora_changes_nothing_at_first_and_learns(folder, learns):
    adapted = TransformersTextEncoder(TEXT, folder, adapter=LoRA(rank=2))
    texts = [t for t in TEXTS if t]
    assert torch.equal(encode(adapted.eval(), texts), encode(make(folder), texts))
    learned = [n for n, p in adapted.named_parameters() if p.requires_grad]
    assert learned
    assert all("lora_" in n for n in learned)
    texts = ["one text", "two words"] * 4
    learns(adapted, adapted.preprocess(texts), torch.arange(8) % 2)


def test_the_last_layers_are_counted_from_the_chosen_one(bert):
    encoder = make(bert, layer=1, adapter=LastLayers(1))
    learned = {n.split(".")[3] for n, p in encoder.named_parameters() if p.requires_grad}
    assert learned == {"0"}


# Kept promises


FROZEN = [{}, {"tokens": True, "pooling": "cls"}, {"pooling": "last", "layer": 1}]
LEARNING = [
    {"pooling": "last", "layer": 1, "adapter": FullTuning()},
    {"tokens": True, "adapter": FullTuning(), "out_dim": 3},
    {"layer": 0, "adapter": FullTuning()},
    {"adapter": LastLayers(1), "pooling": "cls"},
]


@EVERY
@pytest.mark.parametrize("options", FROZEN, ids=["default", "tokens", "layer"])
def test_frozen_it_keeps_an_encoders_promises(folder, options):
    check_encoder(TransformersTextEncoder, model=folder, **options)


# Not T5, which computes its softmax and norms in float32, too coarse for a numerical gradient.
@pytest.mark.parametrize("folder", ["bert", "roberta", "gpt2"], indirect=True)
@pytest.mark.parametrize("options", LEARNING, ids=["layer", "tokens", "embeddings", "last"])
def test_learning_it_keeps_an_encoders_promises(folder, options):
    with without_pretrained_weights():  # the kit stirs them anyway, and reading them takes longest
        check_encoder(TransformersTextEncoder, model=folder, **options)


def test_with_lora_it_keeps_an_encoders_promises(bert):
    check_encoder(TransformersTextEncoder, model=bert, adapter=LoRA(rank=2, dropout=0.5))


@EVERY
@pytest.mark.parametrize("adapter", [None, LoRA(rank=2)])
def test_a_checkpoint_needs_neither_folder_nor_hub(folder, adapter, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "model")
    encoder = TransformersTextEncoder(TEXT, str(copy), out_dim=4, layer=-2, adapter=adapter)
    spec = DataSpec({"x": TEXT}, {"y": TargetSpec("regression")})
    model = FusionModel(spec, {"x": encoder}, ConcatFusion({"x": 4})).eval()
    path = mmfuse.save(model, tmp_path / "model.ckpt")
    shutil.rmtree(copy)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    loaded = mmfuse.load(path)
    texts = [t for t in TEXTS if t]
    present = torch.ones(len(texts), 1, dtype=torch.bool)
    answers = [
        m(Batch(("x",), {"x": m.preprocess["x"](texts)}, present)).logits["y"]
        for m in (model, loaded)
    ]
    assert torch.equal(*answers)


def test_building_it_draws_no_random_number(bert):
    torch.manual_seed(5)
    make(bert, adapter=LoRA())
    found = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(found, torch.rand(3))


def test_importing_the_encoders_imports_little_beyond_torch():
    heavy = {"transformers", "tokenizers", "av", "peft", "sklearn", "scipy", "pandas"}
    heavy |= {"timm", "open_clip", "torchaudio", "torchvision"}
    code = f"import sys, mmfuse_encoders; print(*{heavy}.intersection(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
