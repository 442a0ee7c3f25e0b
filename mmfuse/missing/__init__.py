"""Who is absent: simulators of missing modalities, and modality dropout.

Rubin's three kinds: absence that depends on nothing (``MCAR`` and, with a structure of its own,
``OneLost``, ``BlockMCAR``, ``ClusterMCAR`` and ``Bursts``), on what is observed (``MAR``), or on
what is not (``LabelMNAR``, ``ValueMNAR``). A simulator says what is taken away; whoever uses it
joins that with what was there: ``present & simulator.keep(facts)``, so that a modality a row
never had stays absent.
"""

from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.block import BlockMCAR
from mmfuse.missing.bursts import Bursts
from mmfuse.missing.cluster import ClusterMCAR
from mmfuse.missing.fixed import FixedPattern, subsets
from mmfuse.missing.mar import MAR
from mmfuse.missing.mcar import MCAR, ModalityDropout
from mmfuse.missing.mnar import LabelMNAR, ValueMNAR
from mmfuse.missing.one_lost import OneLost
from mmfuse.missing.rates import (
    imbalanced_rates,
    nominal_rate,
    put_back_rate,
    redrawn_rate,
)

__all__ = [
    "MAR",
    "MCAR",
    "BlockMCAR",
    "Bursts",
    "ClusterMCAR",
    "FixedPattern",
    "LabelMNAR",
    "Missingness",
    "ModalityDropout",
    "OneLost",
    "RowFacts",
    "ValueMNAR",
    "imbalanced_rates",
    "nominal_rate",
    "put_back_rate",
    "redrawn_rate",
    "subsets",
]
