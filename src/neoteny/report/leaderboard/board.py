"""The table of methods as `neoteny leaderboard` writes it: how each row did, and the ranking over all benchmarks.

A benchmark's table is sorted by the last tenth of the stream. Rows with a run that turned non-finite come after rows
whose runs all came to the end, however well their other runs did. All rows have the same seeds, that is the same
problems, so rows are compared seed by seed. For the overall ranking, the rows that are on all of its benchmarks are
ranked by the last tenth for each benchmark and seed, from 0 for the best to 1 for the worst: equal ones share the mean
of their ranks, and a run that turned non-finite comes after all that did not. A row's rank is the mean of these over
seeds and benchmarks. Whether a row is better or worse than backpropagation is a paired t test, with Holm's correction
for the number of rows on the benchmark. It compares the runs that came to the end, so a row that lost more of its runs
than backpropagation is never called better, and one that lost fewer never worse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from neoteny.report.runs.metrics import direction
from neoteny.report.statistics.intervals import Interval, iqm_interval, mean_interval, stratified_interval
from neoteny.report.statistics.paired import Difference, paired_differences
from neoteny.report.statistics.profiles import probability_of_improvement
from neoteny.report.statistics.sample import Sample

__all__ = ["BASE", "COLUMNS", "MEASURED", "SORT", "Board", "Ranked", "Standing", "finite_mean"]

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
        last: mean over the last tenth of the stream, with its 95% Student t interval.
        iqm: interquartile mean of the same, with a stratified bootstrap interval.
        first: as `last`, of the first tenth.
        change: as `last`, from the first to the last tenth, run by run.
        whole: as `last`, of the whole stream.
        measures: means of what was measured at the end, by name.
        chosen: the settings that were chosen for it; empty where there was nothing to choose.
        beside: its last tenth minus backpropagation's, seed by seed; None for backpropagation itself, and where fewer
            than two seeds are shared.
        sign: 1 where it is better than backpropagation, -1 where it is worse, 0 where that cannot be told.
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
    beside: Difference | None = None
    sign: int = 0

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

    def made_with(self) -> dict[str, list[str]]:
        """Versions, processors and commits that the runs were made with, and the rows that were made with each."""
        made = self.frame.filter(pl.col("made_with").is_not_null()).group_by("made_with").agg(pl.col("row").unique())
        return {text: sorted(rows) for text, rows in sorted(made.iter_rows())}

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
        found = self._beside_base(benchmark, [self._standing(benchmark, row) for row in self.rows(benchmark)])
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
        names = self.compared
        shared = sorted(set.intersection(*(set(self.rows(name)) for name in names))) if names else []
        ranks = [self._ranks(name, shared) for name in names] if shared else []
        listed = {name: [one.row for one in self.standings(name)] for name in names}
        kinds = dict(self._reported.select("row", "kind").unique().iter_rows())
        found = []
        for at, row in enumerate(shared):
            tables = [table[at] for table in ranks]
            places = tuple(listed[name].index(row) + 1 for name in names)
            signs = [self.standings(name)[place - 1].sign for name, place in zip(names, places, strict=True)]
            against = (signs.count(1), signs.count(-1), signs.count(0))
            improves = self._improves(row) if row != BASE else None
            found.append(Ranked(row, str(kinds[row]), stratified_mean(tables), places, against, improves))
        return sorted(found, key=lambda one: (float(one.rank.mean), one.row))

    def _of(self, benchmark: str) -> pl.DataFrame:
        return self._reported.filter(pl.col("benchmark") == benchmark)

    def _standing(self, benchmark: str, row: str) -> Standing:
        part = self._of(benchmark).filter(pl.col("row") == row)
        values = {name: self._samples[benchmark, row, name].values for name in part["quantity"].unique()}

        with np.errstate(invalid="ignore"):
            measures = {name: finite_mean(values[name]) for name in MEASURED if name in values}
        return Standing(
            row=row,
            kind=str(part["kind"][0]),
            runs=len(values["last"]),
            last=mean_interval(values["last"]),
            iqm=iqm_interval(values["last"], resamples=RESAMPLES),
            first=mean_interval(values["first"]),
            change=mean_interval(values["change"]),
            whole=mean_interval(values["mean"]),
            measures=measures,
            chosen=str(part["settings"][0]),
        )

    def _ranks(self, benchmark: str, rows: Sequence[str]) -> NDArray[np.float64]:
        """The normalised ranks of some rows among each other, [rows, seeds], over the seeds that all of them have."""
        samples = [self._samples[benchmark, row, "last"] for row in rows]
        seeds = sorted(set.intersection(*(set(sample.seeds) for sample in samples)))
        table = np.array([[one.values[one.seeds.index(seed)] for seed in seeds] for one in samples])
        table = np.where(np.isfinite(table), -self.better(benchmark) * table, np.inf)
        return normalised_ranks(table)

    def _beside_base(self, benchmark: str, standings: Sequence[Standing], level: float = 0.05) -> list[Standing]:
        """Standings with their differences to backpropagation."""
        samples = {one.row: self._samples[benchmark, one.row, "last"] for one in standings}
        if BASE not in samples:
            return list(standings)
        scores = {
            row: {seed: float(value) for seed, value in zip(one.seeds, one.values, strict=True) if np.isfinite(value)}
            for row, one in samples.items()
        }
        differences, better = paired_differences(scores, to=BASE), self.better(benchmark)
        lost = {one.row: one.ended / one.runs for one in standings}
        found = []
        for one in standings:
            beside = differences.get(one.row)
            sign = 0 if beside is None or beside.p >= level else int(np.sign(better * beside.mean))
            survivors = sign * (lost[one.row] - lost[BASE]) > 0  # what they say may be due to those that ended
            found.append(replace(one, beside=beside, sign=0 if survivors else sign))
        return found

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


def finite_mean(values: NDArray[np.float64]) -> float:
    """The mean of the runs that came to the end; NaN where none did."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
