"""Comparing fusions: the same data and encoders, several fusions and seeds, one table."""

from mmfuse.compare.study import Study
from mmfuse.compare.table import summarise, write_tables

__all__ = ["Study", "summarise", "write_tables"]
