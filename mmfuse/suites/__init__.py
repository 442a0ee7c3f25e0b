"""Suites: the parts of a robustness study besides absence, as `mmfuse robustness` runs them."""

from typing import TYPE_CHECKING

from mmfuse.lazy import lazy
from mmfuse.suites.base import Saved, Setting, Suite

if TYPE_CHECKING:
    from mmfuse.suites.attacks import Attacks
    from mmfuse.suites.corruptions import Corruptions
    from mmfuse.suites.interactions import Interactions
    from mmfuse.suites.leak import LeakCheck
    from mmfuse.suites.ood import OOD
    from mmfuse.suites.set_guided import SetGuided
    from mmfuse.suites.worst import Worst

__all__ = [
    "OOD",
    "Attacks",
    "Corruptions",
    "Interactions",
    "LeakCheck",
    "Saved",
    "SetGuided",
    "Setting",
    "Suite",
    "Worst",
]

# A training run needs none of them, and their imports take their time.
__getattr__ = lazy(
    __name__,
    {
        "Attacks": "mmfuse.suites.attacks",
        "Corruptions": "mmfuse.suites.corruptions",
        "Interactions": "mmfuse.suites.interactions",
        "LeakCheck": "mmfuse.suites.leak",
        "OOD": "mmfuse.suites.ood",
        "SetGuided": "mmfuse.suites.set_guided",
        "Worst": "mmfuse.suites.worst",
    },
)
