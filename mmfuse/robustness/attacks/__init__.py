"""Attacks: small changes of some modalities' inputs or tokens that make a model err.

torchattacks, ART and Foolbox attack a function of one tensor. A model here reads a mapping of
inputs, some of them ragged, some absent in some rows; a budget may be shared by several of them;
and an absent modality must neither be read nor spend any of it. None of those libraries has a
ball over several inputs or a row-wise mask of what may be moved, so that the steps are our own.
They follow the papers that each class names.
"""

from mmfuse.robustness.attacks.auto_pgd import AutoPGD
from mmfuse.robustness.attacks.base import Attack
from mmfuse.robustness.attacks.curve_result import AttackCurves
from mmfuse.robustness.attacks.curves import attack_curves
from mmfuse.robustness.attacks.one_step import FGM, Noise
from mmfuse.robustness.attacks.pgd import PGD
from mmfuse.robustness.attacks.search_curves import search_curves
from mmfuse.robustness.attacks.search_result import SearchCurves
from mmfuse.robustness.attacks.set_guided import SetGuidedAttack
from mmfuse.robustness.attacks.strike import Struck, strike
from mmfuse.robustness.attacks.threat import Threat
from mmfuse.robustness.attacks.transfer import transfer_table

__all__ = [
    "FGM",
    "PGD",
    "Attack",
    "AttackCurves",
    "AutoPGD",
    "Noise",
    "SearchCurves",
    "SetGuidedAttack",
    "Struck",
    "Threat",
    "attack_curves",
    "search_curves",
    "strike",
    "transfer_table",
]
