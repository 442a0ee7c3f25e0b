"""The report's pictures, in matplotlib."""
