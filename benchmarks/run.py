"""Runs benchmarks, and writes what they print to RESULTS.md beside this file.

The one beside fusilli needs the Python of another environment; see beside_fusilli.py. It runs when
FUSILLI_PYTHON names one, and those beside Cornac and cvxpy where these are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
SCRIPTS = (
    "training_step.py",
    "absent_encoders.py",
    "robustness_subsets.py",
    "absence_suite.py",
    "absence_memory.py",
    "robustness_memory.py",
    "attack_budgets.py",
    "sequential_steps.py",
    "startup.py",
    "extraction.py",
    "cached_epoch.py",
    "extraction_memory.py",
    "contrastive.py",
    "retrieval.py",
    "binding.py",
    "m3col_epoch.py",
    "lego_cost.py",
    "recommend_topk.py",
    "recommend_graphs.py",
    "recommend_epoch.py",
    "recommend_growth.py",
    "recommend_processes.py",
)
#: Those that run only beside a package that the project does without.
BESIDE = {"recommend_cornac.py": "cornac", "pid.py": "cvxpy"}
#: Of the sections.
ORDER = (*SCRIPTS, *BESIDE, "beside_fusilli.py")
HEAD = """# Benchmarks

Printed by `make bench`, or one by one by `python benchmarks/run.py SCRIPT`. Each compares two sides
in alternation on one machine; ratios travel, times do not."""


def measured(script: str, *rest: str) -> str:
    """The section of one script, which tells when and where it was measured."""
    print(f"running {script}", flush=True)
    done = subprocess.run(
        [sys.executable, str(HERE / script), *rest],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    print(done.stdout, flush=True)
    versions = ", ".join(f"{name} {version(name)}" for name in ("mmfuse", "torch", "lightning"))
    where = (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}."
    )
    lines = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    return f"{where}\n\n```text\n{lines}\n```"


def main() -> None:
    """Runs those that are named, or all; a section whose script is not run stays as it was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", nargs="*", help="such as training_step.py; all by default")
    named = parser.parse_args().scripts
    options: dict[str, list[str]] = {script: [] for script in SCRIPTS}
    if python := os.environ.get("FUSILLI_PYTHON"):
        options["beside_fusilli.py"] = ["--python", python]
    for script, package in BESIDE.items():
        if importlib.util.find_spec(package) is not None:
            options[script] = []
    if unknown := [script for script in named if script not in options]:
        parser.error(f"there is no {unknown[0]}, or it lacks what it runs beside")
    results = HERE / "RESULTS.md"
    known = results.read_text().split("\n## ")[1:] if results.is_file() else []
    sections = dict(part.rstrip().split("\n\n", 1) for part in known)
    for script, rest in options.items():
        if not named or script in named:
            sections[script] = measured(script, *rest)
            ordered = sorted(sections.items(), key=lambda s: ORDER.index(s[0]))
            parts = [HEAD, *(f"## {script}\n\n{found}" for script, found in ordered)]
            results.write_text("\n\n".join(parts) + "\n")
    print(f"Results: {results}")


if __name__ == "__main__":
    main()
