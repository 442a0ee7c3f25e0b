"""Who is absent: simulators of missing modalities, and modality dropout.

Rubin's three kinds: absence that depends on nothing (``MCAR``), on what is observed
(``MAR``), or on what is not (``LabelMNAR``, ``ValueMNAR``). A simulator says what is taken
away; whoever uses it joins that with what was there: ``present & simulator.keep(facts)``,
so that a modality a row never had stays absent.
"""

from mmfuse.missing.base import Missingness, RowFacts
from mmfuse.missing.fixed import FixedPattern, subsets
from mmfuse.missing.mar import MAR
from mmfuse.missing.mcar import MCAR, ModalityDropout
from mmfuse.missing.mnar import LabelMNAR, ValueMNAR

__all__ = [
    "MAR",
    "MCAR",
    "FixedPattern",
    "LabelMNAR",
    "Missingness",
    "ModalityDropout",
    "RowFacts",
    "ValueMNAR",
    "subsets",
]
