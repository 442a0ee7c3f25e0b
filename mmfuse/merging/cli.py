"""mmfuse merge: checkpoints become one, without training."""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path

import yaml
from jsonargparse import ArgumentParser, Namespace

from mmfuse.arguments import ours, readable
from mmfuse.data import FusionDataModule
from mmfuse.errors import ConfigError
from mmfuse.merging.blocks_run import blocks_run
from mmfuse.merging.choice import SHARES
from mmfuse.merging.run import METHODS, Options, merge_run
from mmfuse.merging.sphere import MEANS
from mmfuse.registry import import_all
from mmfuse.runs import hush

_DESCRIPTION = """\
Merges checkpoints of one architecture into one. With --config its validation rows score every
model and choose; without, the given weights are taken. Models must come from one start.
Blocks of different modalities are joined by --method lego."""
_LEGO = "lego"


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="mmfuse merge", description=_DESCRIPTION, exit_on_error=False)
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="CHECKPOINT",
        help="two or more, of one architecture; with lego, blocks of one modality each",
    )
    parser.add_argument(
        "--method",
        choices=(*METHODS, _LEGO),
        default="uniform",
        help="uniform: the (weighted) average; interpolate, slerp: between two, straight or on a "
        "sphere; greedy: from the best down, whoever does not hurt the validation score; lego: "
        "blocks that were trained alone, side by side",
    )
    parser.add_argument(
        "--weights", nargs="+", type=float, help="of uniform, where they sum to 1, and of lego"
    )
    parser.add_argument(
        "--lambdas",
        nargs="+",
        type=float,
        help="shares of the second model to try in interpolate and slerp; "
        f"{SHARES[0]:g} to {SHARES[-1]:g} in steps of {SHARES[1]:g} by default",
    )
    parser.add_argument(
        "--skip",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="tensors that stay the first model's, such as 'heads.*'",
    )
    parser.add_argument(
        "--fusion",
        type=str | None,
        default=None,
        help="of lego: LegoMergeFusion (by default), LegoStackFusion or LegoWeaveFusion",
    )
    parser.add_argument(
        "--heads",
        type=str | None,
        default=None,
        help=f"of lego, how heads become one: {', '.join(MEANS)}",
    )
    parser.add_argument("--metric", type=str | None, default=None, help="what chooses")
    parser.add_argument("--target", type=str | None, default=None, help="whose metric it is")
    parser.add_argument(
        "--out", default="merged.ckpt", metavar="FILE", help="the merged checkpoint"
    )
    parser.add_argument("--device", default="cpu", help="where models are scored")
    parser.add_argument(
        "--config", action="config", help="a configuration, of which the data count"
    )
    parser.add_subclass_arguments(FusionDataModule, "data", required=False)
    return parser


def run(words: Sequence[str]) -> int:
    """Runs ``mmfuse merge``.

    Args:
        words: after the command's name.

    Raises:
        MmfuseError: a mistake, in one sentence.
    """
    hush()
    import_all()  # so that the short names of data classes are known
    parser = _parser()
    try:
        given = parser.parse_args(_with_data_alone(words))
        data = parser.instantiate(given).data
    except ArgumentError as error:
        if "required: checkpoints" in str(error):
            raise ConfigError("Give two or more checkpoints: mmfuse merge a.ckpt b.ckpt") from error
        raise ConfigError(readable(str(error))) from error
    except ValueError as error:
        raise ours(error) or error from error
    if given.method == _LEGO:
        _refuse(
            given, ("lambdas", "skip", "metric", "target", "data"), "to other methods, not to lego"
        )
        blocks_run(given.checkpoints, Path(given.out), given.fusion, given.heads, given.weights)
        return 0
    _refuse(given, ("fusion", "heads"), f"to lego, not to {given.method}")
    options = Options(
        given.method,
        None if given.weights is None else tuple(given.weights),
        None if given.lambdas is None else tuple(given.lambdas),
        tuple(given.skip),
        given.metric,
        given.target,
        Path(given.out),
        given.device,
    )
    merge_run(given.checkpoints, options, data)
    return 0


def _refuse(given: Namespace, options: Sequence[str], whose: str) -> None:
    if useless := [f"--{name}" for name in options if given.get(name)]:
        verb = "belong" if len(useless) > 1 else "belongs"
        raise ConfigError(f"{' and '.join(useless)} {verb} {whose}. Leave out what is of no use.")


def _with_data_alone(words: Sequence[str]) -> list[str]:
    """The words with each ``--config`` cut down to its data: one file serves every command."""
    found, rest = [], iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option != "--config":
            found.append(word)
            continue
        path = Path(value if equals else next(rest, ""))
        content = yaml.safe_load(path.read_text()) if path.is_file() else None
        if not isinstance(content, dict):
            found += [option, str(path)]
        elif "data" not in content:
            raise ConfigError(f"{path} has no section data, which names the rows to choose by.")
        else:
            found += [option, yaml.safe_dump({"data": content["data"]}, sort_keys=False)]
    return found
