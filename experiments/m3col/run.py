"""M3CoL on ROSMAP, an ablation of its losses, under two protocols; goes on where it stopped.

validation: 49 of the 245 training rows choose the epoch, the test rows are read once.
published:  all 245 rows train; the last epoch, and beside it the epoch that was best on the
            test rows, as the authors' code prints.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from setting import PAPER, contrast, data, task, trainer

HERE = Path(__file__).parent


def main() -> None:
    """The table of one protocol."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=["validation", "published"])
    parser.add_argument("--epochs", type=int, default=100, help="500 in the paper")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", nargs="+", help="names of the lines to run; all by default")
    parser.add_argument("--width", type=int, default=256, help="of all layers; 1000 in the paper")
    parser.add_argument("--setting", type=Path, help="such as tune.py writes; the paper's else")
    parser.add_argument("--monitor", default="val/auroc", help="what chooses the epoch")
    parser.add_argument("--out", type=Path, help="folder of the table")
    given = parser.parse_args()
    setting = PAPER | {"width": given.width}
    if given.setting:
        setting |= json.loads(given.setting.read_text())
    is_published = given.protocol == "published"
    lines = {
        name: task(losses, setting)
        for name, losses in contrast(setting["weight"], setting["phase"]).items()
        if given.only is None or name in given.only
    }
    out = given.out or HERE / given.protocol
    trainer(given.epochs, out, given.monitor).compare(
        next(iter(lines.values())),
        data(setting, val=0.0 if is_published else 0.2),
        lines,
        seeds=list(range(given.seeds)),
        out=str(out),
        baselines=not is_published,
        best_test_epoch=is_published,
        metrics=["accuracy", "macro_f1", "auroc"],
    )


if __name__ == "__main__":
    main()
