"""Stages: one configuration lists several fits, which run one after another.

A stage is a fit as any other. What it shares with the others stands beside ``stages``, what is its
own in the list; ``best:NAME`` stands for the best checkpoint of an earlier stage. Its runs are in
``<default_root_dir>/<name>/version_<n>``, each with a record of what it is of, so that a command
which was stopped goes on where it was.
"""

from __future__ import annotations
