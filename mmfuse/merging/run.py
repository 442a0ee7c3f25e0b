"""What `mmfuse merge` does: checkpoints, and data to choose by -> one checkpoint and its curve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mmfuse.batch import Batch
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError, DataError
from mmfuse.files import replacing, require_writable
from mmfuse.merging.arithmetic import check_weights
from mmfuse.merging.choice import SHARES, Choice, curve, greedy_soup
from mmfuse.merging.ingredient import Ingredient, blend, gather
from mmfuse.merging.merge import on_path
from mmfuse.merging.picture import draw
from mmfuse.merging.running import reestimate, running
from mmfuse.merging.scoring import ValidationScore
from mmfuse.merging.terminal import print_choice
from mmfuse.merging.unseen import require_unseen

METHODS = ("uniform", "interpolate", "slerp", "greedy")


@dataclass(frozen=True)
class Options:
    """How to merge; see ``mmfuse merge --help``."""

    method: str = "uniform"
    weights: tuple[float, ...] | None = None
    lambdas: tuple[float, ...] | None = None
    skip: tuple[str, ...] = ()
    metric: str | None = None
    target: str | None = None
    out: Path = Path("merged.ckpt")
    device: str = "cpu"


def merge_run(
    paths: Sequence[str | Path], options: Options, data: FusionDataModule | None = None
) -> Path:
    """Merges checkpoints into one, and tells on the terminal what was chosen and where it is.

    With data, the validation rows choose (the point of a path, the members of a soup) and
    score; ``<out>.csv`` and ``<out>.png`` beside the checkpoint hold the curve. Without, the
    given weights are taken.

    Args:
        paths: checkpoints of one architecture.
        options: how.
        data: with validation rows that trained none of the models.

    Raises:
        ConfigError: options that do not go together, or validation rows that trained a model.
        MissingFileError, CheckpointError, DataError: as the functions of ``mmfuse.merging``.
        OutputError: the folder cannot be written.
    """
    _check(paths, options, data)
    require_writable(options.out.parent)
    ingredients = gather(list(paths))
    if data is None:
        merged = _given(ingredients, options)
        _warn_of_running(merged)
        merged.save(options.out)
    else:
        require_unseen(paths, data)
        score = _score(ingredients[0], options, data)
        choice = _chosen(ingredients, options, score)
        _record(ingredients, choice, options).save(options.out)
        with replacing(options.out.with_suffix(".csv")) as part:
            choice.table.assign(metric=score.metric).to_csv(part, index=False)
        picture = draw(choice.table, score.metric, options.out.with_suffix(".png"))
        print_choice(choice.table, score.metric, score.higher_is_better)
        print(f"Curve: {options.out.with_suffix('.csv')}, {picture}")
    print(f"Merged: {options.out}")
    return options.out


def _check(paths: Sequence[str | Path], options: Options, data: FusionDataModule | None) -> None:
    pairwise = options.method in ("interpolate", "slerp")
    if options.method not in METHODS:
        raise ConfigError(f"method is {options.method!r}; expected {', '.join(METHODS)}.")
    if options.weights is not None and options.method != "uniform":
        raise ConfigError(f"weights belong to uniform; {options.method} finds its own.")
    if options.lambdas is not None and not pairwise:
        raise ConfigError(f"lambdas belong to interpolate and slerp, not to {options.method}.")
    if options.method == "greedy" and data is None:
        raise ConfigError("A greedy soup needs data to choose by: give --config with its data.")
    if pairwise and data is None and len(options.lambdas or ()) != 1:
        raise ConfigError(
            f"{options.method} without data needs one lambda, the second model's share, such as "
            "--lambdas 0.5; to choose among several give --config with data."
        )
    if pairwise and len(paths) != 2:
        raise ConfigError(
            f"{options.method} goes from one model to another; found {len(paths)} checkpoint(s). "
            "Give two, or choose uniform or greedy."
        )
    if data is None and (options.metric or options.target):
        raise ConfigError("A metric and a target need data to score: give --config.")
    if options.out.resolve() in {Path(p).resolve() for p in paths}:
        raise ConfigError(f"{options.out} is one of the models to merge. Give another --out.")


def _given(ingredients: Sequence[Ingredient], options: Options) -> Ingredient:
    if options.method == "uniform":
        return blend(ingredients, options.weights, options.skip)
    assert options.lambdas is not None
    return on_path(ingredients, options.lambdas[0], options.method, options.skip)


def _warn_of_running(merged: Ingredient) -> None:
    if found := running(merged.model()):
        kinds = ", ".join(sorted({type(m).__name__ for m in found}))
        print(
            f"The running statistics ({kinds}) are averages. Give --config with data to have "
            "them estimated anew on training rows."
        )


class TrainingRows:
    """The training batches, from their first one at each pass, read when they are needed."""

    def __init__(self, data: FusionDataModule) -> None:
        self.data = data

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.data.loader("train"))


def _score(first: Ingredient, options: Options, data: FusionDataModule) -> ValidationScore:
    model = first.model()
    data.adopt(model.spec)
    data.attach(model.preprocess)
    return ValidationScore(data, options.metric, options.target, options.device)


def _chosen(ingredients: Sequence[Ingredient], options: Options, score: ValidationScore) -> Choice:
    data = score.data
    batches = TrainingRows(data) if running(ingredients[0].model()) else None
    if batches is not None and not len(data.rows("train")):
        raise DataError("The data have no training rows to estimate running statistics on.")
    shares = SHARES if options.lambdas is None else options.lambdas
    steps = {"uniform": len(ingredients) + 1, "greedy": 2 * len(ingredients) - 1}
    with _progress(steps.get(options.method, len(shares))) as tell:
        if options.method == "uniform":
            return _uniform(ingredients, options, score, batches, tell)
        if options.method == "greedy":
            return greedy_soup(
                ingredients,
                score,
                skip=options.skip,
                batches=batches,
                higher_is_better=score.higher_is_better,
                progress=tell,
            )
        return curve(
            ingredients[0],
            ingredients[1],
            score,
            shares,
            method=options.method,
            skip=options.skip,
            batches=batches,
            higher_is_better=score.higher_is_better,
            progress=tell,
        )


def _uniform(
    ingredients: Sequence[Ingredient],
    options: Options,
    score: ValidationScore,
    batches: TrainingRows | None,
    tell: Callable[[str], None],
) -> Choice:
    weights = check_weights(options.weights, len(ingredients))
    model = blend(ingredients, weights, options.skip).model()
    if batches is not None and max(weights) < 1:
        reestimate(model, batches)
    lines = []
    for each, weight in zip(ingredients, weights, strict=True):
        tell(each.name)
        lines.append((each.name, weight, score(each.model())))
    tell("merged")
    lines.append(("merged", 1.0, score(model)))
    return Choice(model, tuple(weights), pd.DataFrame(lines, columns=["model", "weight", "score"]))


def _record(ingredients: Sequence[Ingredient], choice: Choice, options: Options) -> Ingredient:
    """The chosen model as an ingredient, with what objectives learned averaged alike."""
    if options.method in ("interpolate", "slerp"):
        mixed = on_path(ingredients, choice.weights[1], options.method, options.skip)
    else:
        # The best member of a soup gives what is skipped.
        best = choice.table["model"].iloc[0] if options.method == "greedy" else ingredients[0].name
        order = sorted(range(len(ingredients)), key=lambda i: ingredients[i].name != best)
        kept = [i for i in order if choice.weights[i] > 0 or options.method == "uniform"]
        weights = [choice.weights[i] for i in kept]
        mixed = blend([ingredients[i] for i in kept], weights, options.skip, method=options.method)
    return mixed.holding(choice.model)


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[str], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("merging", total=steps, completed=-1)

        def tell(name: str) -> None:
            bar.update(task, description=name, advance=1)

        yield tell
        bar.update(task, completed=steps)
