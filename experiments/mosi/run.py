"""M3CoL and ITHP on the utterances of MOSI beside plain fusions; goes on where it stopped.

Validation rows are whole videos of the training rows and choose the epoch; test rows, other
speakers', are read once.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from shuffled import ShuffledITHP, ShuffledITHPResidual

from mmfuse import CatalogueData, SupervisedTask, Trainer
from mmfuse.fusion import ITHPFusion, ITHPResidualFusion
from mmfuse.missing import FixedPattern
from mmfuse.objectives import M3CoLoss, MultiSClipLoss, UnimodalLoss

HERE = Path(__file__).parent
MODALITIES = ("text", "audio", "video")
PERCEPTRON = {
    "class_path": "MLPEncoder",
    "init_args": {"hidden": [128], "out_dim": 64, "dropout": 0.5},
}


def plain(fusion: str, objectives: list[Any] | None = None) -> SupervisedTask:
    """A perceptron for each modality, then a fusion."""
    return SupervisedTask(dict.fromkeys(MODALITIES, PERCEPTRON), fusion, objectives)


def chain(fusion: type, **options: Any) -> SupervisedTask:
    """ITHP on the features as they are."""
    dropout = options.pop("modality_dropout", 0.0)
    given = {"class_path": f"{fusion.__module__}.{fusion.__name__}", "init_args": options}
    return SupervisedTask(
        dict.fromkeys(MODALITIES, "IdentityEncoder"), given, modality_dropout=dropout
    )


def lines() -> dict[str, SupervisedTask]:
    """The table's lines."""
    return {
        "concatenation": plain("ConcatFusion"),
        "sequential": plain("SequentialFusion"),
        "cross-modal attention": plain("CrossModalAttentionFusion"),
        "concatenation, a head for each": plain("ConcatFusion", [UnimodalLoss()]),
        "M3CoL": plain("ConcatFusion", [UnimodalLoss(), M3CoLoss(), MultiSClipLoss()]),
        "M3CoL, inputs mixed": plain(
            "ConcatFusion", [UnimodalLoss(), M3CoLoss(mix="input"), MultiSClipLoss()]
        ),
        "ITHP": chain(ITHPFusion),
        "ITHP, detectors shuffled": chain(ShuffledITHP),
        "ITHP, no bottleneck losses": chain(ITHPFusion, weight=0.0),
        "ITHP, modality dropout": chain(ITHPFusion, modality_dropout=0.3),
        "ITHP residual": chain(ITHPResidualFusion),
        "ITHP residual, detectors shuffled": chain(ShuffledITHPResidual),
        "ITHP residual, no bottleneck losses": chain(ITHPResidualFusion, weight=0.0),
    }


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "comparison", help="of the table")
    given = parser.parse_args()
    trainer = Trainer(
        max_epochs=given.epochs,
        default_root_dir=str(given.out),
        logger=False,
        monitor="val/auroc",
        monitor_mode="max",
    )
    tasks = lines()
    trainer.compare(
        next(iter(tasks.values())),
        CatalogueData("mosi_utterance", batch_size=64),
        tasks,
        seeds=list(range(given.seeds)),
        conditions={
            "text alone": FixedPattern(["text"]),
            "no text": FixedPattern(["audio", "video"]),
        },
        out=str(given.out),
        metrics=["accuracy", "macro_f1", "auroc"],
    )


if __name__ == "__main__":
    main()
