"""Models of Hugging Face transformers: from a folder or the hub, or from plain data."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmfuse.errors import CheckpointError, ConfigError, MissingFileError

#: What a folder may call its weights.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
#: What a folder may call its tokenizer's vocabulary.
TOKENIZERS = ("tokenizer.json", "*vocab*", "*.model", "*.tiktoken", "*.bpe.codes")
_NO_TOKENIZER = (
    "{} has no tokenizer: a tokenizer.json, or a vocabulary that transformers reads. Save the "
    "tokenizer beside the model."
)
# Of the machine that wrote the files, or of the kind of answer; none of them is architecture.
_NOT_ARCHITECTURE = ("_name_or_path", "architectures", "transformers_version", "dtype")
_ANSWER = {
    "use_cache": False,
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
}


def read_config(model: str) -> dict[str, Any]:
    """The architecture of a model, in plain data.

    Args:
        model: a folder, or a name on the hub.

    Raises:
        MissingFileError: no such folder, or a name that cannot be had from the hub.
        ConfigError: transformers is not installed or does not know the architecture, or the
            model reads more than text.
    """
    refuse_missing(model)
    with loading(model) as transformers:
        config = transformers.AutoConfig.from_pretrained(model, trust_remote_code=False)
    plain = {**json.loads(config.to_json_string(use_diff=False)), **_ANSWER}
    if any(key.endswith(("vision_config", "audio_config")) for key in plain):
        raise ConfigError(
            f"{model} is a {config.model_type}, which reads more than text. Give a text model."
        )
    return {k: v for k, v in plain.items() if k not in _NOT_ARCHITECTURE}


def read_tokenizer(model: str) -> tuple[Any, int]:
    """A model's tokenizer (``tokenizers.Tokenizer``), and the longest text it is meant for.

    Raises:
        MissingFileError: no tokenizer is there.
        ConfigError: it has no fast form.
    """
    refuse_missing(model)
    folder = Path(model).expanduser()
    if folder.is_dir() and not any(next(folder.glob(p), None) for p in TOKENIZERS):
        raise MissingFileError(_NO_TOKENIZER.format(model))
    with loading(model) as transformers:
        found = transformers.AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    backend = getattr(found, "backend_tokenizer", None)
    if backend is None:
        raise ConfigError(
            f"The tokenizer of {model} is a {type(found).__name__}, which has no fast form "
            "(tokenizer.json). Give a model whose tokenizer has one."
        )
    # Without a vocabulary file transformers makes a tokenizer of special tokens alone.
    if not set(backend.get_vocab()) - set(found.all_special_tokens):
        raise MissingFileError(_NO_TOKENIZER.format(model))
    return backend, found.model_max_length


def build(config: Mapping[str, Any]) -> nn.Module:
    """A model of this architecture in float32, its weights drawn at random."""
    with loading(str(config["model_type"])) as transformers:
        made = transformers.AutoConfig.for_model(**config)
        return _trunk(transformers.AutoModel.from_config(made, dtype=torch.float32))


def load(model: str, config: Mapping[str, Any]) -> nn.Module:
    """A model with its weights in float32, read without unpickling code.

    Raises:
        MissingFileError: there are no weights.
        CheckpointError: the weights are damaged, or are not those of the architecture.
    """
    network, unread = read_weights(model, "AutoModel", config)
    made: Any = network.config
    network = _trunk(network)
    own = network.state_dict().keys()
    prefix = "encoder." if made.is_encoder_decoder else ""
    missing = [k for k in unread if k in own or k.removeprefix(prefix) in own]
    if missing:
        raise CheckpointError(
            f"The weights of {model} are not those of its architecture ({made.model_type}): "
            f"{len(missing)} are missing, {missing[0]} among them. Give the files of one model."
        )
    return network


def read_weights(model: str, cls: str, config: Mapping[str, Any]) -> tuple[nn.Module, list[str]]:
    """A model of one of transformers' classes, and the names of weights that were not there.

    Raises:
        MissingFileError: there are no weights at all.
        CheckpointError: the weights are damaged, or of other shapes.
    """
    refuse_missing(model)
    folder = Path(model).expanduser()
    if folder.is_dir() and not any((folder / name).is_file() for name in WEIGHTS):
        raise MissingFileError(
            f"{model} has no weights: none of {', '.join(WEIGHTS)}. Save the model there with "
            "save_pretrained, or download the whole of it."
        )
    with loading(model) as transformers:
        made = transformers.AutoConfig.for_model(**config)
        try:
            network, told = getattr(transformers, cls).from_pretrained(
                model,
                config=made,
                dtype=torch.float32,
                weights_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:
            if not folder.is_dir() and isinstance(error, OSError):
                raise
            # What damaged or foreign weights raise depends on the byte that is wrong.
            raise CheckpointError(
                f"The weights of {model} cannot be read: {_first_line(error)}. Download or save "
                "them again."
            ) from error
    return network, sorted(told["missing_keys"])


def blocks_of(network: nn.Module) -> nn.ModuleList:
    """The layers, from the input to the output: the longest list that is in no other one."""
    longest = nn.ModuleList()
    lists: list[str] = []
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and not name.startswith(tuple(lists)):
            lists.append(f"{name}.")
            longest = max(longest, module, key=len)
    return longest


def most_positions(network: Any) -> int | None:
    """How many tokens the model has positions for, None where it sets no limit."""
    for name, module in network.named_modules():
        # RoBERTa and its kin count positions from the one after padding's.
        if (
            isinstance(module, nn.Embedding)
            and "position" in name
            and module.padding_idx is not None
        ):
            return module.num_embeddings - module.padding_idx - 1
    return getattr(network.config, "max_position_embeddings", None)


def _trunk(network: Any) -> nn.Module:
    """The part that turns tokens into states: no decoder behind an encoder, no pooler."""
    if network.main_input_name != "input_ids":
        raise ConfigError(
            f"{type(network).__name__} reads {network.main_input_name}, not text. Give a text "
            "model."
        )
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    if getattr(network, "pooler", None) is not None:
        network.pooler = None
    _plain_maps(network)
    return network


def _plain_maps(network: nn.Module) -> None:
    """Puts linear maps in the place of GPT-2's transposed ones, which adapters do not know."""
    from transformers.pytorch_utils import Conv1D

    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Conv1D):
                inputs, outputs = child.weight.shape
                plain = nn.Linear(inputs, outputs)
                plain.weight.data = child.weight.data.T.contiguous()
                plain.bias = child.bias
                setattr(parent, name, plain)


@contextmanager
def loading(model: str) -> Iterator[Any]:
    """Lends transformers, silent; what it raises becomes an error of ours."""
    try:
        # By name, because importing the lazy package alone would check none of it.
        transformers = importlib.import_module("transformers")
    except ImportError as error:
        raise ConfigError(
            "Models of Hugging Face need transformers, which is not installed: "
            "pip install mmfuse[media]"
        ) from error
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield transformers
    except OSError as error:
        if isinstance(error, MissingFileError):
            raise
        raise MissingFileError(_not_to_be_had(model, error)) from error
    except (ImportError, KeyError, ValueError) as error:
        if isinstance(error, CheckpointError | ConfigError):
            raise
        raise ConfigError(
            f"transformers cannot make a model of {model}: {_first_line(error)}. Give a "
            "model that this version of transformers knows and that brings no code of its own."
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def refuse_missing(model: str) -> None:
    """A path that leads nowhere must not be taken for a name on the hub."""
    path = Path(model).expanduser()
    is_path = model.startswith((".", "~")) or path.is_absolute() or len(path.parts) > 2
    if is_path and not path.is_dir():
        raise MissingFileError(f"There is no folder {model}. Check the path of the model.")
    if path.is_dir() and not (path / "config.json").is_file():
        raise MissingFileError(
            f"{model} has no config.json, so it holds no model of transformers. Give the folder "
            "that save_pretrained wrote."
        )


def _not_to_be_had(model: str, error: Exception) -> str:
    if Path(model).expanduser().is_dir():
        return f"{model} cannot be read: {_first_line(error)}. Check its files."
    from huggingface_hub import constants

    return (
        f"{model} is not in the hub's cache ({constants.HF_HOME}, set by HF_HOME) and cannot be "
        f"downloaded: run 'hf download {model}' where there is a network and copy the cache "
        "here, or give the folder of a copy."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".")
