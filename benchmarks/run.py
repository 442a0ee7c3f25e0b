"""Runs every benchmark, and writes what they print to RESULTS.md beside this file.

The one beside fusilli needs the Python of another environment; see beside_fusilli.py. It runs when
FUSILLI_PYTHON names one.
"""

from __future__ import annotations

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


def main() -> None:
    commands = [[script] for script in SCRIPTS]
    if python := os.environ.get("FUSILLI_PYTHON"):
        commands.append(["beside_fusilli.py", "--python", python])
    versions = ", ".join(f"{name} {version(name)}" for name in ("mmfuse", "torch", "lightning"))
    parts = [
        "# Benchmarks",
        "Printed by `make bench`. Each compares two sides in alternation on one machine; "
        "ratios travel, times do not.",
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}.",
    ]
    for script, *rest in commands:
        print(f"running {script}", flush=True)
        done = subprocess.run(
            [sys.executable, str(HERE / script), *rest],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "COLUMNS": "100"},
        )
        print(done.stdout, flush=True)
        lines = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
        parts.append(f"## {script}\n\n```text\n{lines}\n```")
    results = HERE / "RESULTS.md"
    results.write_text("\n\n".join(parts) + "\n")
    print(f"Results: {results}")


if __name__ == "__main__":
    main()
