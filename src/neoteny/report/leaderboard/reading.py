"""The leaderboard's table, read back from its file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from neoteny.errors import RunFolderError
from neoteny.report.leaderboard.board import COLUMNS, Board

__all__ = ["read"]


def read(path: Path) -> Board:
    """The table of a `leaderboard.parquet`.

    Raises:
        RunFolderError: there is none, or it cannot be used.
    """
    cure = "write it anew by `neoteny leaderboard`"
    try:
        frame = pl.read_parquet(path.read_bytes())
        missing = [name for name in COLUMNS if name not in frame.columns]
        if missing:
            raise RunFolderError(f"{path} lacks {', '.join(missing)}, it is no table of the leaderboard: {cure}.")
        frame = frame.select(pl.col(name).cast(kind) for name, kind in COLUMNS.items())
        if (mixed := _mixed(frame)) is not None:
            raise RunFolderError(f"{path} {mixed}, so it is several tables in one: {cure}.")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunFolderError(f"{path} cannot be read, it is missing or no Parquet ({error}): {cure}.") from error
    return Board(frame)


def _mixed(frame: pl.DataFrame) -> str | None:
    """What cannot be in one table, in words: a benchmark at two scales or by two metrics, and a run twice."""
    runs = frame.filter(pl.col("phase") != "left out")
    for name in ("scale", "metric"):
        several = runs.group_by("benchmark").agg(pl.col(name).unique().sort()).filter(pl.col(name).list.len() > 1)
        for benchmark, values in several.sort("benchmark").iter_rows():
            return f"has {benchmark} with the {name}s {' and '.join(values)}"
    twice = runs.filter(runs.select("benchmark", "row", "phase", "settings", "seed", "quantity").is_duplicated())
    for benchmark, row, seed in twice.select("benchmark", "row", "seed").iter_rows():
        return f"has the run of {row} on {benchmark} with the seed {seed} twice"
    return None
