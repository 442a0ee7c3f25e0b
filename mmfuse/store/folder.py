"""FeatureFolder: the plan, the shards and the manifest of one extraction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmfuse.errors import ConfigError, DataError, MissingFileError
from mmfuse.files import sha256, write_json

FORMAT = 1
#: Names of the splits, in the order of their codes.
SPLITS = ("train", "val", "test")


class FeatureFolder:
    """Where features are, or will be.

    ``plan.json`` says what is to be computed and is written first; every shard
    ``data/part-<k>-of-<n>`` has a note in ``notes/`` with its digest, written after it; and
    ``manifest.json`` joins them when all are there. So a folder with a manifest is whole.

    Args:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    # Writing.

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Takes the plan, or makes sure that it is the one that was begun.

        Raises:
            ConfigError: the folder holds something else, or features of another plan.
            OutputError: the folder cannot be written.
        """
        file = self.path / "plan.json"
        plan = json.loads(json.dumps(plan))
        if file.is_file():
            differing = _differences(_read(file), plan)
            if differing:
                raise ConfigError(
                    f"{self.path} was begun with another plan: {'; '.join(differing[:5])}. Give "
                    "another folder, or remove this one."
                )
            return
        if self.path.exists() and any(not p.name.startswith(".") for p in self.path.iterdir()):
            raise ConfigError(
                f"{self.path} exists and holds no features. Give a new or an empty folder."
            )
        write_json(plan, file)

    def shard(self, k: int, count: int, kind: str) -> Path:
        """Where shard ``k`` of ``count`` is."""
        return self.path / "data" / f"part-{k:05d}-of-{count:05d}.{kind}"

    def _note(self, shard: str | Path) -> Path:
        return self.path / "notes" / f"{Path(shard).stem}.json"

    def is_done(self, shard: Path) -> bool:
        """Whether the shard is whole: its file has the digest that was noted."""
        note = self._note(shard)
        if not (note.is_file() and shard.is_file()):
            return False
        return bool(_read(note)["sha256"] == sha256(shard))

    def sweep(self, shard: Path) -> None:
        """Removes what a killed process left of a shard."""
        for left in shard.parent.glob(f".{shard.name}.*"):
            left.unlink()

    def note(self, shard: Path, facts: Mapping[str, Any]) -> None:
        """Writes what is known of a shard that is on the disk."""
        told = {"file": f"data/{shard.name}", "sha256": sha256(shard), **facts}
        write_json(told, self._note(shard))

    def finish(self) -> dict[str, Any] | None:
        """Writes the manifest if every shard has been noted, and gives it; else None."""
        plan = _read(self.path / "plan.json")
        count = plan["shards"]
        notes = [self._note(self.shard(k, count, plan["kind"])) for k in range(count)]
        if not all(note.is_file() for note in notes):
            return None
        shards = [_read(note) for note in notes]
        problems = [p for s in shards for p in s.pop("problems")]
        skipped = [row for s in shards for row in s.pop("skipped")]
        columns = [s.pop("columns") for s in shards]
        counts: dict[str, int] = {}
        for problem in problems:
            counts[problem["modality"]] = counts.get(problem["modality"], 0) + 1
        manifest = {
            **plan,
            "columns": _joined(columns),
            "rows_written": sum(s["rows"] for s in shards),
            "shards": shards,
            "problem_counts": counts,
            "problems": problems,
            "skipped": skipped,
        }
        write_json(manifest, self.path / "manifest.json")
        return manifest

    # Reading.

    def manifest(self) -> dict[str, Any]:
        """What made the features.

        Raises:
            MissingFileError: there is no such folder, or its extraction has not ended.
            DataError: the manifest cannot be read, or is of a later format.
        """
        file = self.path / "manifest.json"
        if not self.path.is_dir():
            raise MissingFileError(f"There is no folder of features at {self.path}.")
        if not file.is_file():
            begun = (self.path / "plan.json").is_file()
            raise MissingFileError(
                f"{self.path} has no manifest.json: "
                + (
                    "its extraction has not ended. Give the same extract command to go on."
                    if begun
                    else "mmfuse extract did not write it."
                )
            )
        found = _read(file)
        if not isinstance(found, dict) or not {"format", "shards", "columns"} <= set(found):
            raise DataError(f"{file} is not a manifest of features. Extract them again.")
        if found["format"] > FORMAT:
            raise DataError(
                f"{file} has format {found['format']}, this mmfuse reads up to {FORMAT}. Install "
                f"mmfuse {found['libraries']['mmfuse']} or later."
            )
        return found

    def verified(self) -> dict[str, Any]:
        """The manifest, after every shard has been compared with its digest.

        Raises:
            MissingFileError, DataError: as ``manifest``; a shard is gone or was changed; or the
                manifest does not agree with the plan and the shards' own notes.
        """
        found = self.manifest()
        plan = _read(self.path / "plan.json")
        changed = _differences({k: v for k, v in found.items() if k != "shards"}, plan, ("shards",))
        notes = [_read(self._note(s["file"])) for s in found["shards"]]
        told = [{k: n[k] for k in ("file", "sha256", "rows")} for n in notes]
        if changed or told != [
            {k: s[k] for k in ("file", "sha256", "rows")} for s in found["shards"]
        ]:
            raise DataError(
                f"{self.path / 'manifest.json'} does not agree with the plan and the shards' notes"
                f"{': ' + '; '.join(changed[:3]) if changed else ''}. It was changed by hand; "
                "extract the features again."
            )
        for shard in found["shards"]:
            if sha256(self.path / shard["file"]) != shard["sha256"]:
                raise DataError(
                    f"{self.path / shard['file']} is damaged: its digest is not the one that the "
                    "manifest has. Remove it and manifest.json, and give the same extract command "
                    "to compute it again."
                )
        return found


def _joined(columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is told of each column; a mean of tokens in one shard is one in all."""
    found: dict[str, Any] = {}
    for name in columns[0] if columns else ():
        of = [c[name] for c in columns]
        found[name] = dict(of[0])
        if "is_mean" in of[0]:
            found[name]["is_mean"] = any(c["is_mean"] for c in of)
    return found


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError as error:
        raise MissingFileError(f"There is no {file}. Extract the features again.") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {error}. Extract the features again.") from error


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any], free: Any = ()) -> list[str]:
    """Where two plans differ, in words; long parts are named only."""
    told = []
    for key, value in wanted.items():
        here = found.get(key)
        if here == value or key in free:
            continue
        if isinstance(value, dict) and isinstance(here, dict):
            keys = sorted(k for k in {**here, **value} if here.get(k) != value.get(k))
            shown = ", ".join(
                f"{k} {_short(here.get(k))} is now {_short(value.get(k))}" for k in keys[:3]
            )
            told.append(f"{key}: {shown}")
        else:
            told.append(f"{key} {_short(here)} is now {_short(value)}")
    return told


def _short(value: Any) -> str:
    words = repr(value)
    return words if len(words) <= 40 else f"{words[:24]}..."
