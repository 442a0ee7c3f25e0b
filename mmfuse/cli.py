"""The mmfuse command. Heavy imports wait until a subcommand needs them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import mmfuse
from mmfuse.errors import MmfuseError

_OVERVIEW = f"""\
mmfuse {mmfuse.__version__}: multimodal representation and fusion, honest about absent modalities

Usage: mmfuse COMMAND [--config FILE.yaml] [options]

Commands:
  fit         train a model, or stage after stage; keep the best checkpoint
  validate    score a checkpoint on the validation rows
  test        score a checkpoint on the test rows
  predict     write a checkpoint's predictions to a Parquet file
  extract     write features to files that other tools read
  search      find the rows of features that are nearest to a text, a file or a row
  recommend   rank items for users with a trained recommender
  bind        bring several frozen embedding spaces into one
  robustness  report what happens when modalities are absent, and more
  report      show the reports of several models side by side
  retrieve    measure how modalities in one space find each other
  compare     train several fusions over several seeds into one table
  merge       average checkpoints of one architecture, or join blocks of several modalities
  list        list known components; alone, it says of what there are lists

All but search, recommend, bind, report and list take the same configuration; merge reads its data
alone.
For a command's options: mmfuse COMMAND --help
To swap the fusion: --model.fusion=GatedFusion
"""

_COMMANDS = ("fit", "validate", "test", "predict", "extract", "robustness", "retrieve", "compare")
#: Commands that are not the Trainer's, and where they are.
_APART = {
    "search": "mmfuse.features.search_cli",
    "recommend": "mmfuse.recommend.cli",
    "bind": "mmfuse.binding.cli",
    "merge": "mmfuse.merging.cli",
    "report": "mmfuse.robustness.report.cli",
}
_GO_ON = {
    "fit": "To go on, give the same command with --ckpt_path last",
    "extract": "The same command goes on where it stopped.",
    "compare": "The same command goes on where it stopped.",
    "bind": "The same command goes on at the stage where it stopped.",
}
_LISTS = {
    "encoders": ("mmfuse.encoder", "Encoder", "what reads one modality"),
    "fusion": ("mmfuse.fusion", "Fusion", "what joins modalities"),
    "objectives": ("mmfuse.objectives", "Objective", "what training may lower besides the task"),
    "imputers": ("mmfuse.fusion.imputers", "Imputer", "what fills in an absent modality"),
    "missing": ("mmfuse.missing", "Missingness", "how modalities go missing, in simulation"),
    "distillation": ("mmfuse.distillation", "Distillation", "what a student learns from a teacher"),
    "suites": ("mmfuse.suites", "Suite", "what a robustness study may hold besides absence"),
    "corruptions": (
        "mmfuse.robustness.corruptions",
        "Corruption",
        "how inputs are spoilt in an evaluation",
    ),
    "data": ("mmfuse.data", "FusionDataModule", "where rows come from"),
    "binding": ("mmfuse.binding", "BindingMethod", "what brings frozen spaces into one"),
    "interactions": (
        "mmfuse.recommend.sources",
        "InteractionSource",
        "of recommenders: where it says who took what",
    ),
    "splits": ("mmfuse.recommend.splits", "SplitRule", "of recommenders: what is held out"),
    "users": ("mmfuse.recommend.users", "Users", "of recommenders: what stands for a user"),
    "backbones": ("mmfuse.recommend.propagation", "Propagation", "of recommenders: graphs"),
    "ranking": ("mmfuse.recommend.objectives", "RankingObjective", "of recommenders: objectives"),
}
_CATALOGUE = {"catalogue": "data sets that are known by name"}
_NOTHING_TO_RETRIEVE = (
    "There is nothing to retrieve from. Give a trained model's configuration and checkpoint, "
    "--config FILE.yaml --ckpt_path best; or extracted features, --features FOLDER."
)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command; the exit status is 0, or 2 for a mistake, or 130 when interrupted."""
    words = list(sys.argv[1:] if args is None else args)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_OVERVIEW, end="")
        return 0
    if words[0] == "--version":
        print(mmfuse.__version__)
        return 0
    try:
        if words[0] == "list":
            return _list(words[1:])
        if words[0] in _APART:
            return _run(_APART[words[0]], words[1:])
        if words[0] == "retrieve" and _asks_for_features(words[1:]):
            return _run("mmfuse.retrieval.cli", words[1:])
        if words == ["retrieve"]:
            return _fail(_NOTHING_TO_RETRIEVE)
        if words[0] not in _COMMANDS:
            known = (*_COMMANDS, *_APART, "list")
            return _fail(_unknown("command", words[0], known))
        from mmfuse.configured import run

        run(words)
    except MmfuseError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_GO_ON.get(words[0], '')}".rstrip(), file=sys.stderr)
        return 130
    return 0


def _asks_for_features(words: Sequence[str]) -> bool:
    """Whether retrieval is of extracted features, and not of a configuration's model."""
    is_given = {word.partition("=")[0] for word in words}
    return "--features" in is_given or (
        bool({"-h", "--help"} & is_given) and not {"-c", "--config"} & is_given
    )


def _fail(message: str) -> int:
    print(f"mmfuse: {message}", file=sys.stderr)
    return 2


def _unknown(what: str, found: str, known: Sequence[str]) -> str:
    import difflib

    nearest = difflib.get_close_matches(found, known, n=1)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"Unknown {what} {found!r}.{hint} Known: {', '.join(known)}."


def _run(module: str, words: Sequence[str]) -> int:
    status: int = importlib.import_module(module).run(words)
    return status


def _list(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        lists = {name: what for name, (*_, what) in _LISTS.items()} | _CATALOGUE
        print("Lists:", *(f"  {name:<13} {what}" for name, what in lists.items()), sep="\n")
        print("For one of them: mmfuse list fusion")
        return 0
    kind = words[0]
    if kind == "catalogue":
        return _list_catalogue()
    if kind not in _LISTS:
        return _fail(_unknown("list", kind, (*_LISTS, *_CATALOGUE)))
    from rich.console import Console
    from rich.table import Table

    from mmfuse.lazy import import_names
    from mmfuse.registry import entries

    module, name, _ = _LISTS[kind]
    for lazy in ("mmfuse.recommend", "mmfuse.suites"):
        if module.startswith(lazy):
            import_names(lazy)
    base = getattr(importlib.import_module(module), name)
    table = Table(box=None, pad_edge=False)
    table.add_column(kind, no_wrap=True, style="bold")
    table.add_column("what it does")
    found = entries(base)
    has_papers = any(e.reference for e in found)
    if has_papers:
        table.add_column("paper", style="dim")
    for entry in found:
        cells = [entry.name, entry.summary]
        table.add_row(*cells, *([entry.reference] if has_papers else []))
    Console().print(table)
    return 0


def _list_catalogue() -> int:
    from rich.console import Console
    from rich.table import Table

    from mmfuse.data import CATALOGUE

    table = Table("catalogue", "what it has", box=None, pad_edge=False)
    for name, entry in CATALOGUE.items():
        table.add_row(name, entry.what)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
