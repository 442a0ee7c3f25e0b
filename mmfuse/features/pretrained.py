"""Pretrained models by one name: ``library:model`` -> the encoders that it has."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from mmfuse.encoder import Encoder
from mmfuse.errors import ConfigError
from mmfuse.registry import resolve
from mmfuse.spec import Kind, ModalitySpec


def _model_and_weights(name: str, weights: str) -> dict[str, Any]:
    if name.startswith(("hf-hub:", "local-dir:")):
        return {"model": name}
    model, _, rest = name.partition("/")
    if not rest:
        raise ConfigError(f"{name!r} names no weights. Write {name}/<weights>, a tag or a file.")
    return {"model": model, weights: rest}


#: For each library its encoders, by modality, and what a name says to them.
_LIBRARIES: Mapping[str, tuple[dict[Kind, str], Callable[[str], dict[str, Any]]]] = {
    "open_clip": (
        {"image": "OpenClipImageEncoder", "text": "OpenClipTextEncoder"},
        lambda name: _model_and_weights(name, "pretrained"),
    ),
    "torchvision": (
        {"image": "TorchvisionEncoder"},
        lambda name: _model_and_weights(name, "weights"),
    ),
    "timm": ({"image": "TimmEncoder"}, lambda name: {"model": name, "pretrained": True}),
    "transformers": ({"text": "TransformersTextEncoder"}, lambda name: {"model": name}),
    "torchaudio": ({"audio": "Wav2Vec2Encoder"}, lambda name: {"bundle": name}),
    "clap": (
        {"audio": "ClapAudioEncoder", "text": "ClapTextEncoder"},
        lambda name: {"model": name},
    ),
}


def encoders_of(name: str) -> dict[str, Encoder]:
    """The frozen encoders of a pretrained model, by kind of input.

    Args:
        name: see ``Extractor.from_pretrained``.

    Raises:
        ConfigError: an unknown library or model, or weights that are not at hand.
    """
    library, _, rest = name.partition(":")
    if library not in _LIBRARIES or not rest:
        nearest = difflib.get_close_matches(library, _LIBRARIES, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(
            f"{name!r} names no pretrained model.{hint} Write library:model, with a library of "
            f"{', '.join(_LIBRARIES)}."
        )
    classes, arguments = _LIBRARIES[library]
    options = arguments(rest)
    return {
        kind: resolve(Encoder, cls)(ModalitySpec(kind), **options) for kind, cls in classes.items()
    }


def space_of(description: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The pretrained model in whose shared space an encoder's vectors lie.

    Args:
        description: of the encoder, as ``describe`` gives it.

    Returns:
        library, model and weights; None for an encoder of another sort, or one that reads
        other layers or whose backbone or readout learns.
    """
    name, options = description["class_path"].rpartition(".")[2], description["init_args"]
    adapter = options.get("adapter") or {"class_path": "Frozen"}
    own = any(options.get(o) for o in ("out_dim", "tokens", "layers"))
    if own or adapter["class_path"].rpartition(".")[2] != "Frozen":
        return None
    for library, (classes, _) in _LIBRARIES.items():
        if len(classes) > 1 and name in classes.values():
            return library, options.get("model"), options.get("pretrained")
    return None


def share_a_space(manifest: Mapping[str, Any], one: str, other: str) -> bool:
    """Whether two columns are known to lie in one space.

    It is that of one pretrained model, or who wrote the folder said so. Encoders that were
    trained together may share one too, which no manifest tells.
    """
    if one == other or manifest["data"]["content"].get("one_space"):
        return True
    described = manifest["model"]["description"]["encoders"]
    spaces = [space_of(described[m]) if m in described else None for m in (one, other)]
    return spaces[0] is not None and spaces[0] == spaces[1]


def partner(description: Mapping[str, Any], kind: str) -> Encoder | None:
    """The encoder for another kind of input in the space of the described one, if it has one.

    Args:
        description: of an encoder, as ``describe`` gives it.
        kind: of the input.
    """
    space = space_of(description)
    classes = _LIBRARIES[space[0]][0] if space else {}
    if kind not in classes:
        return None
    named = {o: v for o, v in description["init_args"].items() if o in ("model", "pretrained")}
    return resolve(Encoder, classes[kind])(ModalitySpec(kind), **named)
