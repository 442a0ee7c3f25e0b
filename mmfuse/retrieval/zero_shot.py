"""Zero-shot: classes told by their names, which a text encoder puts into the shared space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmfuse.batch import Batch
from mmfuse.errors import ConfigError
from mmfuse.model import Towers
from mmfuse.spec import TargetSpec

#: The name as it is.
PLAIN = ("{}",)


def class_words(
    target: TargetSpec, names: Mapping[str, str] | None, templates: Sequence[str]
) -> list[list[str]]:
    """For each class the texts that stand for it: its name in every template.

    Args:
        target: whose classes.
        names: what to call a class; by default its own name, with spaces for underscores.
        templates: texts with ``{}`` in the place of the name.

    Raises:
        ConfigError: a template without ``{}``, or a name for a class that there is not.

    Example:
        >>> target = TargetSpec("multiclass", ("dog", "sea_waves"))
        >>> class_words(target, None, ["the sound of {}"])
        [['the sound of dog'], ['the sound of sea waves']]
    """
    if not templates or any(t.count("{}") != 1 for t in templates):
        raise ConfigError(
            f"templates are {list(templates)}; expected texts with {{}} in the place of a "
            "class's name, such as 'a photo of a {}'."
        )
    if strange := [c for c in names or {} if c not in target.classes]:
        raise ConfigError(f"class_names names {strange}; the classes are {list(target.classes)}.")
    called = [(names or {}).get(c, c.replace("_", " ")) for c in target.classes]
    return [[t.replace("{}", name) for t in templates] for name in called]


def class_vectors(model: Towers, modality: str, words: Sequence[Sequence[str]]) -> Tensor:
    """Each class's vector: the mean direction of its texts, as ``modality``'s encoder has them.

    Shape:
        C classes -> (C, D) of unit length, on the model's device
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    texts = [text for each in words for text in each]
    inputs = {modality: model.preprocess[modality](texts)}
    batch = Batch((modality,), inputs, torch.ones(len(texts), 1, dtype=torch.bool)).to(device)
    with torch.no_grad():
        found = F.normalize(model.encode(batch)[modality].pooled(), dim=-1)
    return F.normalize(found.unflatten(0, (len(words), -1)).mean(dim=1), dim=-1)
