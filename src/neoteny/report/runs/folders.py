"""One run folder, read back.

A folder holds `config.yaml`, `metrics.parquet` and, usually, `provenance.json`. While the run is going, and after it
was killed, the metrics lie in parts (`metrics/part-*.parquet`). What can be read is used, and notes say what could not
be read. If nothing of a folder can be used there is a `RunFolderError` with its path, the cause and the cure.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from neoteny import registry
from neoteny.errors import RunFolderError
from neoteny.lab.folder import require_unchanged
from neoteny.lab.former_names import METRICS, SCHEMA, brought_up_to_date
from neoteny.lab.plain import read_yaml
from neoteny.lab.recorder import COLUMNS, SORT
from neoteny.progress import waiting
from neoteny.report.runs.metrics import EPISODES

__all__ = ["UNFINISHED", "RunFrame", "Unit", "find_folders", "read_folder"]

Unit = Literal["examples", "steps"]

UNFINISHED = "not finished"  # the beginning of the note on a run that has not come to its end


@dataclass(frozen=True, eq=False)
class RunFrame:
    """A stack of runs of one system, as it was recorded.

    Attributes:
        config: the resolved configuration.
        frame: run, step, task, metric, layer, value; sorted by step, metric, layer, run.
        path: the folder; None for runs that are still in memory.
        provenance: versions, hardware, command, git commit; empty where it was not recorded.
        notes: what the reader should know, such as that the run has not finished.
    """

    config: Mapping[str, Any]
    frame: pl.DataFrame
    path: Path | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def benchmark(self) -> str:
        """Id of the benchmark, with its version."""
        return str(self.config["benchmark"])

    @property
    def unit(self) -> Unit:
        """What `step` counts."""
        return _unit(self.config)

    @property
    def scale(self) -> str:
        """Name of the preset's scale; empty if there is none."""
        return str(self.config.get("scale") or "")

    @property
    def system(self) -> str:
        """Name of the system that learned."""
        return str(self.config["method"])

    @property
    def runs(self) -> int:
        """How many runs were started."""
        return int(self.config["runs"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed a run; counted up from `seed` where they are not listed."""
        first = int(self.config.get("seed") or 0)
        return tuple(int(seed) for seed in self.config.get("seeds") or range(first, first + self.runs))

    @property
    def varied(self) -> dict[str, tuple[Any, ...]]:
        """Settings in which the runs differ, one value a run: a grid."""
        return {key: tuple(values) for key, values in (self.config.get("varied") or {}).items()}


def find_folders(directory: Path) -> list[Path]:
    """All run folders at or below a directory, sorted; hidden directories are left out.

    Raises:
        RunFolderError: there is no such directory, or no run folder in it.
    """
    if not directory.is_dir():
        raise RunFolderError(f"{directory} is not a directory: give the one that `neoteny run --out` wrote to.")
    folders, looked = [], 0
    with waiting() as say:
        for place, inner, files in os.walk(directory):
            inner[:] = [name for name in inner if not name.startswith(".")]
            looked += 1
            if "config.yaml" in files:
                folders.append(Path(place))
            say(f"looking for run folders below {directory}: {len(folders):,} found in {looked:,} folders so far")
    folders.sort()
    if not folders:
        raise RunFolderError(
            f"{directory} holds no run folder (none with a config.yaml): give the directory that `neoteny run --out` "
            "wrote to, or run a benchmark first."
        )
    return folders


def read_folder(path: Path) -> RunFrame:
    """Read one run folder.

    Raises:
        RunFolderError: the configuration or the metrics cannot be used; names the path, the cause and the cure.
    """
    config = _read_config(path / "config.yaml")
    provenance: Mapping[str, Any] = {}
    remarks = []
    try:
        found = json.loads((path / "provenance.json").read_text(encoding="utf-8"))
        provenance = found if isinstance(found, dict) else {}
    except FileNotFoundError:
        remarks.append("no provenance.json: where it was run is not known")
    except (OSError, ValueError) as error:
        remarks.append(f"provenance.json cannot be read ({_brief(error)})")
    frame, notes = _read_metrics(path, provenance, _unit(config))
    notes += remarks
    frame = frame.filter(pl.col("run").is_between(0, int(config["runs"]) - 1))
    return RunFrame(config, frame, path, provenance, tuple(notes))


def _read_config(path: Path) -> dict[str, Any]:
    cure = "restore the file, or delete the folder and run it again"
    try:
        config = read_yaml(path.read_text(encoding="utf-8"), path.name)
    except (OSError, ValueError) as error:
        said = "it is not a mapping of settings" if "not settings" in str(error) else _brief(error)
        raise RunFolderError(f"{path} cannot be read ({said}): {cure}.") from error
    missing = [key for key in ("benchmark", "method", "runs") if config.get(key) is None]
    if missing:
        raise RunFolderError(f"{path} lacks {', '.join(missing)}, it is half-written or no run's: {cure}.")
    config = brought_up_to_date({"schema": SCHEMA, **config})
    schema = config["schema"]
    if schema != SCHEMA:
        raise RunFolderError(
            f"{path} has schema {schema!r}, this version reads up to {SCHEMA}: report with the version that ran it."
        )
    runs = config["runs"]
    if not isinstance(runs, int) or runs < 1:
        raise RunFolderError(f"{path} says runs: {runs!r}, not a number of runs: {cure}.")
    lists = {"seeds": config.get("seeds") or [], **(config.get("varied") or {})}
    for key, values in lists.items():
        if (values or key != "seeds") and (not isinstance(values, list) or len(values) != runs):
            raise RunFolderError(f"{path} should list one value of {key} for each of its {runs} runs: {cure}.")
    return config


def _unit(config: Mapping[str, Any]) -> Unit:
    entry = registry.BENCHMARKS.get(str(config.get("benchmark", "")))
    return "steps" if entry and entry.kind == "agents" else "examples"


def _read_metrics(path: Path, provenance: Mapping[str, Any], unit: Unit) -> tuple[pl.DataFrame, list[str]]:
    """The finished file if it can be read, else the parts of a run still going, and what there is to say."""
    notes: list[str] = []
    whole, parts = path / "metrics.parquet", sorted((path / "metrics").glob("part-*.parquet"))
    if whole.exists():
        try:
            require_unchanged(whole, provenance)
            return _tidy(_read_parquet(whole)), notes
        except RunFolderError as error:
            if not parts:
                raise
            notes.append(f"{error}; its parts are used instead")
    frames = []
    for part in parts:
        try:
            frames.append(_read_parquet(part))
        except RunFolderError as error:
            notes.append(f"left out: {error}")
    if not frames:
        raise RunFolderError(
            f"{path} has no metrics{' that can be read' if parts else ''}: the run has not recorded anything yet, or "
            f"was killed before it did. Wait for it, or `neoteny resume {path}`."
        )
    frame = _tidy(pl.concat(frames))
    end = f"up to {unit.removesuffix('s')} {frame['step'].max():,}"
    notes.append(f"{UNFINISHED}: {len(frames)} part{'s' * (len(frames) > 1)}, {end}")
    return frame, notes


def _read_parquet(path: Path) -> pl.DataFrame:
    cure = f"resume the run that wrote it (`neoteny resume {path.parent}`) or run it again"
    try:
        # Read as bytes: a memory map would break if the file were replaced while it is read.
        frame = pl.read_parquet(path.read_bytes())
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise RunFolderError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}: {cure}.")
        frame = frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunFolderError(
            f"{path} cannot be read, it is truncated or no Parquet ({_brief(error)}): {cure}."
        ) from error
    if frame.is_empty():
        raise RunFolderError(f"{path} has no rows: {cure}.")
    return frame


def _tidy(frame: pl.DataFrame) -> pl.DataFrame:
    frame = frame.with_columns(pl.col("layer").fill_null(""), pl.col("metric").replace(METRICS))
    # After a resume the last part may repeat rows of an earlier one: the later recording counts. Several episodes of an
    # agent may end at the same step, so that theirs are no repetition.
    where = ["run", "step", "metric", "layer"]
    several = pl.col("metric").is_in(EPISODES)
    rows = frame.filter(~several).unique(where, keep="last", maintain_order=True)
    return pl.concat([rows, frame.filter(several)]).sort(SORT, maintain_order=True)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:160]
