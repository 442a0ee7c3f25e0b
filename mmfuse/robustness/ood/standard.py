"""standard_scores: every score that a model allows, by name."""

from __future__ import annotations

from torch import nn

from mmfuse.errors import ConfigError
from mmfuse.fusion.base import LateFusion
from mmfuse.fusion.late import LateConfidenceFusion, LateProductFusion
from mmfuse.model import FusionModel
from mmfuse.objectives.supervised import UnimodalLoss
from mmfuse.robustness.ood.base import OODScore
from mmfuse.robustness.ood.from_features import KNN, Mahalanobis
from mmfuse.robustness.ood.from_logits import GEN, MSP, Energy, MaxLogit
from mmfuse.robustness.ood.head import class_head
from mmfuse.robustness.ood.odin import ODIN
from mmfuse.robustness.ood.product import ProductEnergy
from mmfuse.robustness.ood.shaping import ASH, ReAct
from mmfuse.robustness.ood.unimodal import UnimodalDisagreement
from mmfuse.robustness.ood.vim import ViM


def standard_scores(
    model: FusionModel,
    target: str | None = None,
    heads: UnimodalLoss | None = None,
    neighbours: int = 50,
) -> dict[str, OODScore]:
    """Every score that the model allows, with the options of its paper, not yet fitted.

    ReAct, ASH and ViM are left out for a late fusion, whose heads do not read the fused vector,
    and ViM for a head that is not linear. Energy is left out for ``LateConfidenceFusion``, which
    mixes probabilities: there are no scores whose energy is not 0, whatever the row. For
    ``LateProductFusion`` it is that of the product before it is normalised.

    Args:
        model: trained, with a head for classes.
        target: the target of classes; None where there is one only.
        heads: adds the disagreement of the modalities, as ``disagreement_l1`` and
            ``disagreement_hellinger``.
        neighbours: k of ``KNN``.

    Raises:
        ConfigError: no target of classes, several and none named, or one with a single class.
    """
    target = class_target_of(model, target)
    scores: dict[str, OODScore] = {
        "msp": MSP(),
        "max_logit": MaxLogit(),
        "gen": GEN(),
        "odin": ODIN(),
        "knn": KNN(neighbours),
        "mahalanobis": Mahalanobis(),
    }
    if isinstance(model.fusion, LateProductFusion):
        scores["energy"] = ProductEnergy()
    elif not isinstance(model.fusion, LateConfidenceFusion):
        scores["energy"] = Energy()
    if not isinstance(model.fusion, LateFusion):
        head = class_head(model, target)
        scores |= {"react": ReAct(head), "ash": ASH(head)}
        if isinstance(head, nn.Linear):
            scores["vim"] = ViM(head)
    if heads is not None:
        scores["disagreement_l1"] = UnimodalDisagreement(heads, "l1")
        scores["disagreement_hellinger"] = UnimodalDisagreement(heads, "hellinger")
    return scores


def class_target_of(model: FusionModel, target: str | None) -> str:
    """The target of classes that ``target`` means; see ``standard_scores`` for what it raises."""
    specs = model.spec.targets if model.heads else {}
    able = [t for t, s in specs.items() if s.kind in ("binary", "multiclass")]
    found = able if target is None else [t for t in able if t == target]
    if len(found) != 1:
        asked = "one target of classes" if target is None else f"the target of classes {target!r}"
        raise ConfigError(
            f"Out-of-distribution scores read the head of {asked}; those of the model are "
            f"{able or 'none'}. Name one as target, or train with one."
        )
    spec = specs[found[0]]
    if spec.kind == "multiclass" and spec.out_dim < 2:
        raise ConfigError(
            f"Target {found[0]!r} has the one class {list(spec.classes)}; out-of-distribution "
            "scores compare two or more. Train with more classes."
        )
    return found[0]
