"""What these tests share."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    BertModel,
    GPT2Config,
    GPT2Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5Model,
)
from transformers.utils import logging as hf_logging
from transformers_samples import (
    SIZES,
    bert_config,
    bert_words,
    save,
    tokenizer,
)


@pytest.fixture(autouse=True)
def _quiet():
    hf_logging.disable_progress_bar()
    yield
    hf_logging.enable_progress_bar()


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
