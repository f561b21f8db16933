"""The table of methods as `neoteny leaderboard` writes it: how each row did, and the ranking over all benchmarks.

A benchmark's table is sorted by the last tenth of the stream. Rows with a run that turned non-finite come after rows
whose runs all came to the end, however well their other runs did. All rows have the same seeds, that is the same
problems, so rows are compared seed by seed. For the overall ranking, the rows of each benchmark and seed are ranked by
the last tenth, from 0 for the best to 1 for the worst: equal ones share the mean of their ranks, and a run that turned
non-finite comes after all that did not. A row's rank is the mean of these over seeds and benchmarks. Whether a row is
better or worse than backpropagation is a paired t test, with Holm's correction for the number of rows on the benchmark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neoteny.errors import RunFolderError
from neoteny.report.runs.metrics import direction
from neoteny.report.statistics.intervals import Interval, iqm_interval, mean_interval, stratified_interval
from neoteny.report.statistics.paired import paired_differences
from neoteny.report.statistics.profiles import probability_of_improvement
from neoteny.report.statistics.sample import Sample

__all__ = ["BASE", "COLUMNS", "MEASURED", "SORT", "Board", "Ranked", "Standing", "read"]

COLUMNS: dict[str, Any] = {
    "benchmark": pl.String,
    "scale": pl.String,
    "metric": pl.String,
    "row": pl.String,
    "kind": pl.String,
    "phase": pl.String,
    "point": pl.Int32,
    "settings": pl.String,
    "chosen": pl.Boolean,
    "seed": pl.Int64,
    "quantity": pl.String,
    "value": pl.Float64,
    "made_with": pl.String,
}
"""The columns of `leaderboard.parquet`; `neoteny.leaderboard.collecting` says what they are."""
SORT = ("benchmark", "row", "phase", "point", "seed", "quantity")
"""Its order."""
BASE = "backprop"
"""The row that others are compared with."""
MEASURED = {"dead_units": "dead units", "srank_99": "`srank_99`", "weight_magnitude": "mean abs. weight"}
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Standing:
    """How a row did on a benchmark.

    Attributes:
        row: its name.
        kind: of method, such as "regulariser".
        runs: that were started.
        last: mean over the last tenth of the stream, with a 95% bootstrap interval over the runs.
        iqm: interquartile mean of the same, with a stratified bootstrap interval.
        first: as `last`, of the first tenth.
        change: as `last`, from the first to the last tenth, run by run.
        whole: as `last`, of the whole stream.
        measures: means of what was measured at the end, by name.
        chosen: the settings that were chosen for it; empty where there was nothing to choose.
    """

    row: str
    kind: str
    runs: int
    last: Interval
    iqm: Interval
    first: Interval
    change: Interval
    whole: Interval
    measures: Mapping[str, float]
    chosen: str

    @property
    def ended(self) -> int:
        """How many of its runs turned non-finite."""
        return self.runs - int(self.last.n)


@dataclass(frozen=True, eq=False)
class Ranked:
    """A row over all benchmarks.

    Attributes:
        row: its name.
        kind: of method, such as "regulariser".
        rank: mean normalised rank, 0 for a row that was best everywhere, with a 95% bootstrap interval.
        places: its place on each benchmark, from 1.
        against: on how many benchmarks it was better than backpropagation, worse, or neither.
        improves: how likely one of its runs is better than one of backpropagation's, with a bootstrap interval; None
            where that was not run on all of them.
    """

    row: str
    kind: str
    rank: Interval
    places: tuple[int, ...]
    against: tuple[int, int, int]
    improves: Interval | None = None


class Board:
    """The tidy table, and what can be asked of it.

    Args:
        frame: with the columns `COLUMNS`.
    """

    def __init__(self, frame: pl.DataFrame):
        self.frame = frame
        self._reported = frame.filter(pl.col("phase") == "reporting")
        self._standings: dict[str, list[Standing]] = {}
        self._samples: dict[tuple[str, str, str], Sample] = {}
        for keys, part in self._reported.sort("seed").group_by("benchmark", "row", "quantity", maintain_order=True):
            values = part["value"].to_numpy().astype(np.float64)
            self._samples[tuple(map(str, keys))] = Sample(values, tuple(part["seed"]))  # type: ignore[index]

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """Ids of the benchmarks with reported runs, in the order of the table."""
        return tuple(self._reported["benchmark"].unique(maintain_order=True).sort())

    def metric(self, benchmark: str) -> str:
        """What rows are judged by there."""
        return str(self._of(benchmark)["metric"][0])

    def scale(self, benchmark: str) -> str:
        """At which scale it was run."""
        return str(self._of(benchmark)["scale"][0])

    def better(self, benchmark: str) -> int:
        """1 where more of the metric is better, -1 where less is."""
        return direction(self.metric(benchmark))

    def rows(self, benchmark: str) -> tuple[str, ...]:
        """Names of the rows that were reported there."""
        return tuple(self._of(benchmark)["row"].unique(maintain_order=True))

    def sample(self, benchmark: str, row: str, quantity: str) -> Sample | None:
        """One value a reported run; None where there is none."""
        return self._samples.get((benchmark, row, quantity))

    def tuning(self, benchmark: str, row: str, quantity: str = "mean") -> dict[str, Sample]:
        """One value a tuning run, by the settings of the point, in the grid's order."""
        part = self.frame.filter(
            (pl.col("phase") == "tuning")
            & (pl.col("benchmark") == benchmark)
            & (pl.col("row") == row)
            & (pl.col("quantity") == quantity)
        ).sort("point", "seed")
        return {
            str(settings): Sample(one["value"].to_numpy().astype(np.float64), tuple(one["seed"]))
            for (settings,), one in part.group_by("settings", maintain_order=True)
        }

    def chosen(self, benchmark: str, row: str) -> str:
        """The settings that a reported row has, as `name=value, ...`; empty where nothing was chosen."""
        part = self._of(benchmark).filter(pl.col("row") == row)
        return "" if part.is_empty() else str(part["settings"][0])

    def left_out(self) -> list[tuple[str, str, str]]:
        """Benchmark, row and reason of what could not be run."""
        part = self.frame.filter(pl.col("phase") == "left out")
        return list(part.select("benchmark", "row", "settings").sort("benchmark", "row").iter_rows())

    def made_with(self) -> list[str]:
        """Versions, processors and commits that the runs were made with."""
        return sorted(self.frame["made_with"].drop_nulls().unique())

    def commits(self, benchmark: str, rows: Sequence[str]) -> list[str | None]:
        """The commits that rows were made at, each once: with a `+` if files were changed, None if it is not known."""
        made = self.frame.filter((pl.col("benchmark") == benchmark) & pl.col("row").is_in(list(rows)))["made_with"]
        found = (re.search(r"; commit (\S+);", one) for one in made.drop_nulls().unique().sort())
        return list(dict.fromkeys(None if one is None or one[1] == "unknown" else one[1] for one in found))

    def standings(self, benchmark: str) -> list[Standing]:
        """The rows of a benchmark, the best first."""
        if benchmark not in self._standings:
            self._standings[benchmark] = self._sorted(benchmark)
        return self._standings[benchmark]

    def _sorted(self, benchmark: str) -> list[Standing]:
        found = [self._standing(benchmark, row) for row in self.rows(benchmark)]
        better = self.better(benchmark)

        def order(one: Standing) -> tuple[int, bool, float, str]:
            mean = float(one.last.mean)
            return one.ended, math.isnan(mean), -better * mean if math.isfinite(mean) else 0.0, one.row

        return sorted(found, key=order)

    @property
    def compared(self) -> tuple[str, ...]:
        """The benchmarks on which at least half of all rows were run: those of the ranking."""
        rows = {name: set(self.rows(name)) for name in self.benchmarks}
        every = set().union(*rows.values())
        return tuple(name for name in self.benchmarks if 2 * len(rows[name]) >= len(every))

    def ranking(self) -> list[Ranked]:
        """The rows that were run on every benchmark of the ranking, the best first."""
        ranks = {name: self._ranks(name) for name in self.compared}
        shared = set.intersection(*(set(rows) for rows, _ in ranks.values())) if ranks else set()
        places = {name: {one.row: place for place, one in enumerate(self.standings(name), 1)} for name in ranks}
        signs_of = {name: self._signs(name) for name in ranks}
        kinds = dict(self._reported.select("row", "kind").unique().iter_rows())
        found = []
        for row in sorted(shared):
            tables = [table[rows.index(row)] for rows, table in ranks.values()]
            signs = [signs_of[name].get(row, 0) for name in ranks]
            against = (signs.count(1), signs.count(-1), signs.count(0))
            where = tuple(places[name][row] for name in ranks)
            improves = self._improves(row) if row != BASE else None
            found.append(Ranked(row, str(kinds[row]), stratified_mean(tables), where, against, improves))
        return sorted(found, key=lambda one: (float(one.rank.mean), one.row))

    def _of(self, benchmark: str) -> pl.DataFrame:
        return self._reported.filter(pl.col("benchmark") == benchmark)

    def _standing(self, benchmark: str, row: str) -> Standing:
        part = self._of(benchmark).filter(pl.col("row") == row)
        values = {name: self._samples[benchmark, row, name].values for name in part["quantity"].unique()}

        def mean(name: str) -> Interval:
            return mean_interval(values[name], kind="percentile", resamples=RESAMPLES)

        with np.errstate(invalid="ignore"):
            measures = {name: _finite_mean(values[name]) for name in MEASURED if name in values}
        return Standing(
            row=row,
            kind=str(part["kind"][0]),
            runs=len(values["last"]),
            last=mean("last"),
            iqm=iqm_interval(values["last"], resamples=RESAMPLES),
            first=mean("first"),
            change=mean("change"),
            whole=mean("mean"),
            measures=measures,
            chosen=str(part["settings"][0]),
        )

    def _ranks(self, benchmark: str) -> tuple[list[str], NDArray[np.float64]]:
        """Names of the rows, and their normalised ranks [rows, seeds], over the seeds that all of them have."""
        samples = {row: self._samples[benchmark, row, "last"] for row in self.rows(benchmark)}
        seeds = sorted(set.intersection(*(set(sample.seeds) for sample in samples.values())))
        table = np.stack([[one.values[one.seeds.index(seed)] for seed in seeds] for one in samples.values()])
        table = np.where(np.isfinite(table), -self.better(benchmark) * table, np.inf)
        return list(samples), normalised_ranks(table)

    def _signs(self, benchmark: str, level: float = 0.05) -> dict[str, int]:
        """1 for rows whose last tenth is better than backpropagation's, -1 for worse ones, 0 if it cannot be told."""
        samples = {row: self._samples[benchmark, row, "last"] for row in self.rows(benchmark)}
        if BASE not in samples:
            return {}
        scores = {
            row: {seed: value for seed, value in zip(one.seeds, one.values, strict=True) if np.isfinite(value)}
            for row, one in samples.items()
        }
        found = paired_differences(scores, to=BASE)
        better = self.better(benchmark)
        return {row: int(np.sign(better * one.mean)) if one.p < level else 0 for row, one in found.items()}

    def _improves(self, row: str) -> Interval | None:
        """How likely one of its runs is better than one of backpropagation's, over the benchmarks of the ranking."""
        mine, theirs = [], []
        for name in self.compared:
            own, base = self.sample(name, row, "last"), self.sample(name, BASE, "last")
            if own is None or base is None:
                return None
            mine.append(self.better(name) * own.values)
            theirs.append(self.better(name) * base.values)
        return probability_of_improvement(mine, theirs, resamples=RESAMPLES)

    @property
    def all_tuned(self) -> bool:
        """Whether every row chose its settings, backpropagation as well."""
        tuned = self.frame.filter((pl.col("phase") == "tuning") & (pl.col("row") == BASE))
        return not tuned.is_empty()

    def at_an_end(self, benchmark: str, row: str) -> list[str]:
        """The settings of a row whose chosen value lies at an end of what was tried."""
        chosen = settings_of(self.chosen(benchmark, row))
        tried: dict[str, set[float]] = {}
        for text in self.tuning(benchmark, row):
            for name, value in settings_of(text).items():
                if (number := _number(value)) is not None:
                    tried.setdefault(name, set()).add(number)
        return [
            name
            for name, values in tried.items()
            if len(values) > 1 and name in chosen and _number(chosen[name]) in (min(values), max(values))
        ]

    def did_nothing(self, benchmark: str, row: str) -> bool:
        """Whether a row had the scores of backpropagation to the bit at every step size that both tried."""
        base = self._by_step_size(benchmark, BASE)
        mine = self._by_step_size(benchmark, row)
        shared = [step for step in mine if step in base]
        same = (np.array_equal(mine[step].values, base[step].values, equal_nan=True) for step in shared)
        return row != BASE and bool(shared) and all(same)

    def _by_step_size(self, benchmark: str, row: str) -> dict[str, Sample]:
        found = {}
        for text, sample in self.tuning(benchmark, row).items():
            if step := settings_of(text).get("step_size"):
                found[step] = sample
        return found


def settings_of(text: str) -> dict[str, str]:
    """Settings that are written as `name=value, ...`.

    >>> settings_of("step_size=0.1, l2.strength=1e-05")
    {'step_size': '0.1', 'l2.strength': '1e-05'}
    """
    return dict(part.split("=", 1) for part in text.split(", ") if part)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def normalised_ranks(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of [rows, columns] in each column, from 0 for the least to 1 for the largest; equals share their mean.

    >>> normalised_ranks(np.array([[0.1, 3.0], [0.2, np.inf], [0.3, 3.0]])).tolist()
    [[0.0, 0.25], [0.5, 1.0], [1.0, 0.25]]
    """
    from scipy.stats import rankdata

    return (rankdata(table, axis=0) - 1) / max(len(table) - 1, 1)


def stratified_mean(tables: Sequence[NDArray[np.float64]], level: float = 0.95, seed: int = 0) -> Interval:
    """Mean over benchmarks of the means over their runs; runs are drawn anew within each benchmark.

    Args:
        tables: the values [runs] of each benchmark, all finite.
        level: coverage.
        seed: of the bootstrap.
    """

    def mean(*drawn: NDArray[np.float64], axis: int = -1) -> NDArray[np.float64]:
        return np.mean([one.mean(axis=axis) for one in drawn], axis=0)

    return stratified_interval(tables, mean, level=level, resamples=RESAMPLES, seed=seed)


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
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunFolderError(f"{path} cannot be read, it is missing or no Parquet ({error}): {cure}.") from error
    return Board(frame)


def _finite_mean(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
