"""Comparing fusions: the same data and encoders, several fusions and seeds, one table."""

from mmfuse.compare.ceiling import CEILING, subset_ceiling
from mmfuse.compare.study import Study
from mmfuse.compare.table import summarise, write_tables

__all__ = ["CEILING", "Study", "subset_ceiling", "summarise", "write_tables"]
