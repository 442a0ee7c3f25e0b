"""The report on a terminal, for 80 columns."""
