"""open_clip's models: architecture, weights, preprocessing and tokenizer, and how to keep them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from mmfuse.encoder import needs_pretrained_weights
from mmfuse.errors import ConfigError, MissingFileError
from mmfuse_encoders.pretrained import existing, foreign, not_at_hand

Config = dict[str, Any]

#: Names under which open_clip finds the weights beside the architecture.
FOLDER = "local-dir:"
WITH_WEIGHTS = ("hf-hub:", FOLDER)
#: What is built in the place of the tower that nobody asked for, as small as may be.
NO_TEXT = {"context_length": 2, "vocab_size": 2, "width": 2, "heads": 1, "layers": 1}
NO_IMAGE = {"image_size": 2, "patch_size": 2, "width": 2, "head_width": 2, "layers": 1}


def build(
    model: str, pretrained: str | None, config: Mapping[str, Any] | None, tower: str
) -> tuple[nn.Module, Config]:
    """A model, and what it takes to build its tower again without any file.

    Args:
        model: open_clip's name, ``hf-hub:...``, ``local-dir:...``, or the path of a JSON file
            with the architecture.
        pretrained: a tag of open_clip or the path of a file; None for random weights, or for
            those beside the architecture.
        config: what an earlier call gave, in place of ``model``.
        tower: ``vision_cfg`` or ``text_cfg``, the part that is wanted.

    Raises:
        ConfigError: an unknown model or tag.
        CheckpointError: the weights are damaged, or of another model.
        MissingFileError: a file is not there, or cannot be downloaded.
    """
    if config is not None and not needs_pretrained_weights():
        with _quiet():
            return _described(_only(config, tower)), dict(config)
    if not model.endswith(".json"):
        config = None  # the name brings the weights too
        _check(model, pretrained)
    elif config is None:
        config = _read(model)
    is_file = pretrained is not None and (config is not None or pretrained not in _tags(model))
    with _quiet():
        if config is None:
            built, architecture = _named(model, None if is_file else pretrained)
            config = {"model_cfg": architecture}
        else:
            built = _described(config)
        if is_file:
            _load(built, str(pretrained))
    visual: Any = built.visual
    return built, {**config, "preprocess_cfg": dict(visual.preprocess_cfg)}


def tokenizer_of(model: str, config: Config, tower: Any) -> tuple[Any, Config]:
    """The model's tokenizer, and the description with what it takes to make both again."""
    import open_clip

    text = config["model_cfg"]["text_cfg"]
    name = text.get("hf_tokenizer_name")
    if "files" in config or not name:
        with folder_of(config) as folder, _quiet():
            return open_clip.get_tokenizer(f"{FOLDER}{folder}"), config
    try:
        with _quiet():
            if model.endswith(".json"):
                options, mode = text.get("tokenizer_kwargs") or {}, text.get("tokenizer_mode")
                length = text.get("context_length", 77)
                found = open_clip.tokenizer.HFTokenizer(
                    name, length, tokenizer_mode=mode, **options
                )
            else:
                found = open_clip.get_tokenizer(model)
    except (OSError, ValueError) as error:
        raise not_at_hand(f"The tokenizer {name!r} of {model}", error) from error
    except ImportError as error:
        raise ConfigError(
            f"{model} needs transformers, which is not installed: pip install mmfuse[media]"
        ) from error
    with TemporaryDirectory() as folder:
        found.save_pretrained(folder)
        if hasattr(tower, "config"):
            tower.config.save_pretrained(folder)
        paths = sorted(p for p in Path(folder).iterdir() if p.suffix in (".json", ".txt"))
        return found, {**config, "files": {p.name: p.read_text(encoding="utf-8") for p in paths}}


def has_random_weights(model: str, pretrained: str | None) -> bool:
    """Whether ``build`` gives a model that nothing is loaded into."""
    return pretrained is None and not model.startswith(WITH_WEIGHTS)


def _check(model: str, pretrained: str | None) -> None:
    """Refuses names that open_clip does not know."""
    import open_clip

    if model.startswith(WITH_WEIGHTS):
        if pretrained is not None:
            raise ConfigError(
                f"pretrained is {pretrained!r}, and {model!r} has its own weights. Leave it out."
            )
        if model.startswith(FOLDER):
            _read_folder(model)
        return
    names = open_clip.list_models()
    if _plain(model) not in names:
        raise ConfigError(
            f"open_clip has no model {model!r}. Near it: {get_close_matches(model, names, 5)}; "
            "open_clip.list_models() names all, and a JSON file may describe your own."
        )
    if pretrained is None or pretrained in (tags := _tags(model)):
        return
    if "." not in pretrained and "/" not in pretrained and not Path(pretrained).exists():
        raise ConfigError(
            f"open_clip has no weights {pretrained!r} of {model}. Its tags: {tags}; or give the "
            "path of a file."
        )
    existing(pretrained)


def _plain(model: str) -> str:
    return model.replace("/", "-")


def _tags(model: str) -> list[str]:
    import open_clip

    return open_clip.list_pretrained_tags_by_model(_plain(model))


def _named(model: str, tag: str | None) -> tuple[nn.Module, Config]:
    """A model that open_clip finds by its name, and its architecture."""
    import open_clip

    needs_weights = tag is not None or model.startswith(WITH_WEIGHTS)
    try:
        built = open_clip.create_model(
            model,
            tag,
            force_custom_text=True,
            pretrained_text=False,
            require_pretrained=needs_weights,
            force_preprocess_cfg=agreed_preprocessing(model) if tag is None else None,
        )
        return built, open_clip.get_model_config(model if ":" in model else _plain(model))
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise _reason(model, tag, error) from error


def _reason(model: str, tag: str | None, error: Exception) -> Exception:
    """What is wrong with a model that open_clip could not make."""
    is_without = str(error).startswith("Required pretrained weights")
    if model.startswith(FOLDER):
        _described(_read_folder(model))  # raises where the architecture is to blame
        if is_without:
            return MissingFileError(
                f"{model} has no weights. Put them there as open_clip_model.safetensors."
            )
    elif is_without or isinstance(error, OSError) or str(error).startswith("Failed"):
        return not_at_hand(f"open_clip's {model!r} with weights {tag!r}", error)
    return foreign(f"{model} with weights {tag!r}" if tag else model, "its architecture", error)


def agreed_preprocessing(model: str) -> Config:
    """The preprocessing on which all published weights of an architecture agree.

    open_clip knows it by the tag alone; of weights in a file it would take that of OpenAI's
    models for granted.
    """
    import open_clip

    found = [open_clip.get_pretrained_cfg(_plain(model), tag) for tag in _tags(model)]
    keys = ("mean", "std", "interpolation", "resize_mode")
    return {
        k: found[0][k]
        for k in keys
        if found and k in found[0] and all(other.get(k) == found[0][k] for other in found)
    }


def _read_folder(model: str) -> Config:
    return _read(str(Path(model.removeprefix(FOLDER)) / "open_clip_config.json"))


def _read(path: str) -> Config:
    """A JSON file with an architecture, alone or beside its preprocessing."""
    if not Path(path).is_file():
        raise MissingFileError(f"There is no description of a model at {path}. Check `model`.")
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        config: Config = content if "model_cfg" in content else {"model_cfg": content}
        if {"embed_dim", "vision_cfg", "text_cfg"} <= set(config["model_cfg"]):
            return config
    except (ValueError, TypeError, UnicodeDecodeError):
        pass
    raise ConfigError(
        f"{path} is no description of an open_clip model: it must be JSON with embed_dim, "
        "vision_cfg and text_cfg, alone or under model_cfg."
    )


def _only(config: Mapping[str, Any], tower: str) -> Config:
    """The description with one tower, and as little as may be in the other's place."""
    other, stub = ("text_cfg", NO_TEXT) if tower == "vision_cfg" else ("vision_cfg", NO_IMAGE)
    model = {k: v for k, v in config["model_cfg"].items() if k != "multimodal_cfg"}
    return {**config, "model_cfg": {**model, other: stub}}


def _described(config: Mapping[str, Any]) -> nn.Module:
    """The model of a description, with random weights."""
    import open_clip

    with folder_of(config) as folder:
        try:
            return open_clip.create_model(
                f"{FOLDER}{folder}",
                load_weights=False,
                force_custom_text=True,
                pretrained_text=False,
            )
        except (TypeError, ValueError, KeyError, AssertionError, RuntimeError) as error:
            raise ConfigError(f"open_clip cannot build the model described: {error}") from error


def _load(model: nn.Module, path: str) -> None:
    import open_clip

    file = existing(path)
    try:
        open_clip.load_checkpoint(model, str(file))
    except Exception as error:  # damaged bytes raise whatever their reader trips over
        raise foreign(path, "this open_clip model", error) from error


@contextmanager
def folder_of(config: Mapping[str, Any]) -> Iterator[Path]:
    """A folder as open_clip saves a model, without weights."""
    with TemporaryDirectory() as name:
        folder, model = Path(name), dict(config["model_cfg"])
        files = config.get("files", {})
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8")
        if "config.json" in files:  # the text tower is one of transformers
            model["text_cfg"] = {**model["text_cfg"], "hf_model_name": name}
        content = {"model_cfg": model, "preprocess_cfg": config.get("preprocess_cfg", {})}
        (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")
        yield folder


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, what open_clip says of each model it builds is not logged; errors are raised."""
    root, silent = logging.getLogger(), logging.NullHandler()

    def is_not_theirs(record: logging.LogRecord) -> bool:
        return Path(record.pathname).parent.name != "open_clip"

    root.addFilter(is_not_theirs)
    root.addHandler(silent)  # or the first message would set up logging for the whole process
    try:
        yield
    finally:
        root.removeHandler(silent)
        root.removeFilter(is_not_theirs)
