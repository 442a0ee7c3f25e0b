"""The report of a robustness evaluation: a page, pictures, and tables on the terminal."""

from mmfuse.robustness.report.study import BASELINE_COLUMNS
from mmfuse.robustness.report.terminal import print_report
from mmfuse.robustness.report.write import write_report

__all__ = ["BASELINE_COLUMNS", "print_report", "write_report"]
