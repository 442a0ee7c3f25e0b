"""MM-Lego's claims: merged without training, or tuned a few epochs, beside trained fusions.

Of each data set and seed: every modality's block is trained alone, blocks are merged, stacked
and woven, and other fusions are trained from scratch. A line for each model and metric goes to
scores.csv when the seed is done; what is there already is not run again.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tables import rows_of_table, table

from mmfuse import Batch, CatalogueData, FusionModel, build_model
from mmfuse.baselines import BASELINES, baseline_scores
from mmfuse.merging import merge_blocks, start_alike
from mmfuse.objectives import SupervisedLoss
from mmfuse.robustness import Condition
from mmfuse.robustness.metrics import score

HERE = Path(__file__).parent
SIZE = {"out_dim": 64, "latents": 8, "heads": 4, "head_dim": 16, "hidden": 128}
TRAINED = {
    "concatenation": {"class_path": "ConcatFusion", "init_args": {"out_dim": 64, "hidden": 128}},
    "sequential": "SequentialFusion",
    "bottleneck": {"class_path": "BottleneckFusion", "init_args": {"out_dim": 64, "hidden": 128}},
    "stack": {"class_path": "LegoStackFusion", "init_args": SIZE},
}
TUNED = (1, 2, 3, 5, 10)
FOLDS = 5
COMPLETE = Condition("complete", family="complete", rate=float("nan"), missing=None)
_OMICS = {"decay": 0.05, "dropout": 0.5, "hidden": [128]}
SETTINGS: dict[str, dict[str, Any]] = {
    "rosmap": _OMICS | {"epochs": 40, "batch": 32, "lr": 5e-4, "metrics": ["accuracy", "auroc"]},
    "handwritten": {
        "epochs": 20,
        "batch": 128,
        "lr": 1e-3,
        "decay": 0.01,
        "dropout": 0.2,
        "hidden": [128],
        "metrics": ["accuracy", "macro_f1"],
    },
    **{
        f"tcga_{cancer}": _OMICS | {"epochs": 20, "batch": 64, "lr": 1e-3, "metrics": ["c_index"]}
        for cancer in ("blca", "brca", "gbmlgg", "kirc")
    },
}


def data_of(name: str, seed: int, only: list[str] | None = None) -> CatalogueData:
    """The data set; of those with given folds the seed is the fold that tests."""
    fold = f"_fold{seed}" if name.startswith("tcga") and seed else ""
    return CatalogueData(name + fold, seed=seed, only=only, eval_batch_size=4096)


def rows_of(data: CatalogueData, split: Any) -> Batch:
    """All rows of a split in one batch."""
    (batch,) = data.loader(split)
    return batch


def encoder_of(data: CatalogueData, modality: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A perceptron, the same for every fusion."""
    is_table = data.spec.modalities[modality].kind == "table"
    options = {k: settings[k] for k in ("hidden", "dropout")} | {"out_dim": 64}
    return {"class_path": "TableMLPEncoder" if is_table else "MLPEncoder", "init_args": options}


def loss_of(objective: SupervisedLoss, model: FusionModel, batch: Batch) -> torch.Tensor:
    """The supervised loss of one batch."""
    present = model.present(batch)
    tokens = model.encode(batch)
    output = model.read(model.fuse(tokens, present), present)
    return torch.stack(list(objective(model, batch, tokens, output).values())).sum()


def train(
    model: FusionModel,
    data: CatalogueData,
    settings: dict[str, Any],
    epochs: int,
    after: Callable[[int], None] = lambda epoch: None,
) -> FusionModel:
    """Trains in place; at the end the model is that of the epoch that validated best.

    Args:
        model: what to train.
        data: its training and validation rows are read.
        settings: batch size, learning rate and weight decay.
        epochs: passes over the training rows.
        after: called at the end of every epoch with its number.
    """
    objective = SupervisedLoss()
    objective.build(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings["lr"], weight_decay=settings["decay"], fused=True
    )
    rows, held_out = rows_of(data, "train"), rows_of(data, "val")
    lowest, best = float("inf"), model.state_dict()
    for epoch in range(1, epochs + 1):
        model.train()
        for part in torch.randperm(len(rows)).split(settings["batch"]):
            optimizer.zero_grad()
            loss_of(objective, model, rows.rows(part)).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            value = loss_of(objective, model, held_out).item()
        if value < lowest:
            lowest, best = value, copy.deepcopy(model.state_dict())
        after(epoch)
    model.load_state_dict(best)
    return model.eval()


class Cell:
    """One data set and seed: data, scores, and what was trained.

    Args:
        name: of the data set.
        seed: of weights, batches and validation rows, or the fold that tests.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.seed, self.settings = name, seed, SETTINGS[name]
        self.data = data_of(name, seed)
        self.test = rows_of(self.data, "test")
        ((self.target, self.spec),) = self.data.spec.targets.items()
        self.modalities = list(self.data.spec.modalities)
        self.lines: list[dict[str, Any]] = []

    def predicted(self, model: FusionModel) -> np.ndarray:
        """What a model says of the test rows; of a block alone, of its own modality."""
        names = model.modalities
        present = torch.stack(
            [self.test.present[:, self.test.modalities.index(m)] for m in names], dim=1
        )
        batch = Batch(names, {m: self.test.inputs[m] for m in names}, present, self.test.target)
        model.eval()
        with torch.no_grad():
            return self.spec.predict(model(batch).logits[self.target]).numpy()

    def add(self, model: str, predicted: np.ndarray, parameters: float = np.nan) -> None:
        """Scores predictions under a name."""
        target = self.test.target
        label = target if isinstance(target, torch.Tensor) else target[self.target]
        found = score(self.spec, predicted[None].astype(np.float32), label.double().numpy(), 0)
        values = {s.metric: float(s.value[0]) for s in found}
        self.lines += [
            {
                "data": self.name,
                "seed": self.seed,
                "model": model,
                "metric": metric,
                "value": values[metric],
                "parameters": parameters,
            }
            for metric in self.settings["metrics"]
        ]

    def add_model(self, name: str, model: FusionModel) -> None:
        """Scores a model under a name."""
        self.add(name, self.predicted(model), sum(p.numel() for p in model.parameters()))

    def encoders(self, names: list[str]) -> dict[str, Any]:
        """Encoders of these modalities."""
        return {m: encoder_of(self.data, m, self.settings) for m in names}

    def blocks(self, alike: bool) -> list[FusionModel]:
        """Every modality's block, trained alone."""
        parts = {m: data_of(self.name, self.seed, [m]) for m in self.modalities}
        fusion = {"class_path": "LegoMergeFusion", "init_args": SIZE}
        made = [build_model(d.spec, self.encoders([m]), fusion) for m, d in parts.items()]
        if alike:
            start_alike(made)
        epochs = self.settings["epochs"]
        return [
            train(model, data, self.settings, epochs)
            for model, data in zip(made, parts.values(), strict=True)
        ]

    def untrained(self, blocks: list[FusionModel], start: str) -> None:
        """What needs no training together: the mean of predictions, and the merge rules."""
        mean = np.mean([self.predicted(b) for b in blocks], axis=0)
        self.add(f"mean of the blocks' predictions, {start}", mean)
        for rule in ("harmonic", "mean", "product"):
            fusion = {"class_path": "LegoMergeFusion", "init_args": {"rule": rule}}
            self.add_model(f"merge {rule}, {start}", merge_blocks(blocks, fusion))
        for heads in ("karcher", "linear"):
            model = merge_blocks(blocks, heads=heads)  # type: ignore[arg-type]
            self.add_model(f"merge harmonic, heads {heads}, {start}", model)

    def tuned(self, blocks: list[FusionModel]) -> None:
        """Stacked and woven blocks after a few epochs, given or chosen on validation rows."""
        for kind in ("stack", "weave"):
            model = merge_blocks(blocks, f"Lego{kind.title()}Fusion")
            self.add_model(f"fuse {kind}, after 0", model)

            def told(epoch: int, kind: str = kind, model: FusionModel = model) -> None:
                if epoch in TUNED:
                    self.add_model(f"fuse {kind}, after {epoch}", model)

            train(model, self.data, self.settings, max(TUNED), told)
            self.add_model(f"fuse {kind}, epoch chosen on validation rows", model)

    def trained(self) -> None:
        """Fusions trained from scratch, and classical models."""
        for name, fusion in TRAINED.items():
            model = build_model(self.data.spec, self.encoders(self.modalities), fusion)

            def told(epoch: int, name: str = name, model: FusionModel = model) -> None:
                if name == "stack" and epoch in TUNED:
                    self.add_model(f"stack from scratch, after {epoch}", model)

            train(model, self.data, self.settings, self.settings["epochs"], told)
            self.add_model(f"trained {name}", model)
        for name in BASELINES:
            found = baseline_scores(name, self.data, [COMPLETE], self.seed)
            found = found.set_index("metric")["value"]
            self.lines += [
                {"data": self.name, "seed": self.seed, "model": f"{name} (scikit-learn)"}
                | {"metric": metric, "value": found[metric], "parameters": np.nan}
                for metric in self.settings["metrics"]
            ]

    def run(self) -> pd.DataFrame:
        """Everything; a line for each model and metric."""
        torch.manual_seed(self.seed)
        blocks = self.blocks(alike=False)
        for m, model in zip(self.modalities, blocks, strict=True):
            self.add_model(f"block {m}", model)
        self.untrained(blocks, "own starts")
        self.tuned(blocks)
        self.untrained(self.blocks(alike=True), "one start")
        self.trained()
        return pd.DataFrame(self.lines)


def main() -> None:
    """Runs what is not done, and writes scores.csv, table.csv and table.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(FOLDS)))
    parser.add_argument("--epochs", type=int, help="other than those of the settings")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the tables")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "scores.csv"
    for name in given.data:
        if given.epochs:
            SETTINGS[name] = SETTINGS[name] | {"epochs": given.epochs}
        for seed in given.seeds:
            known = pd.read_csv(path) if path.exists() else pd.DataFrame({"data": [], "seed": []})
            if ((known["data"] == name) & (known["seed"] == seed)).any():
                continue
            started = time.process_time()
            found = Cell(name, seed).run()
            found.to_csv(path, mode="a", header=not path.exists(), index=False)
            seconds = time.process_time() - started
            print(f"{name}, seed {seed}: {seconds:.0f} s of processor time", flush=True)
    summary = pd.DataFrame(rows_of_table(pd.read_csv(path)))
    summary.to_csv(given.out / "table.csv", index=False, float_format="%.5f")
    (given.out / "table.md").write_text(table(summary))
    print(f"Tables: {given.out / 'table.md'}")


if __name__ == "__main__":
    main()
