"""Who is absent: simulators of missing modalities, and modality dropout."""

from mmfuse.missing.base import Missingness, RowFacts

__all__ = ["Missingness", "RowFacts"]
