"""Sections of the page beside absence, a file for each part of a study."""
