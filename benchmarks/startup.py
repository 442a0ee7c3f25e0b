"""How long `mmfuse --help` takes, beside `python -c "import torch"`."""

from __future__ import annotations

import subprocess
import sys

from ratio import compare, seconds


def main() -> None:
    def run(*command: str) -> float:
        return seconds(lambda: subprocess.run(command, check=True, capture_output=True))

    compare(
        "Start of the command",
        {
            "mmfuse --help": lambda: run(sys.executable, "-m", "mmfuse.cli", "--help"),
            "mmfuse fit --help": lambda: run(sys.executable, "-m", "mmfuse.cli", "fit", "--help"),
            "import torch": lambda: run(sys.executable, "-c", "import torch"),
        },
        target="mmfuse --help under two seconds",
    )


if __name__ == "__main__":
    main()
