"""The page of the leaderboard: its rules, its tables, from the tidy table and the files of costs alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from neoteny.registry import METHODS
from neoteny.report.leaderboard.board import BASE, MEASURED, Board, Standing, settings_of
from neoteny.report.leaderboard.costs import Costs, not_run
from neoteny.report.runs.metrics import is_share
from neoteny.report.statistics.cell import Cell, markdown_table
from neoteny.report.statistics.profiles import critical_difference

__all__ = ["markdown"]

COSTS = ("eager", "compiled", "memory")


def markdown(board: Board, costs: Costs, figure: str, remarks: str = "", profiles: str = "") -> str:
    """The page.

    Args:
        board: from `read`.
        costs: what methods cost; what is not known shows as `-`.
        figure: file name of the figure.
        remarks: Markdown to put before the tables.
        profiles: file name of the figure of performance profiles, if there is one.
    """
    parts = [
        "# The leaderboard",
        "Every method on several benchmarks. `neoteny leaderboard` makes this page, the figure and the tidy table "
        "`leaderboard.parquet` from run folders, and from that table alone it draws them anew.",
        _rules(board, bool(costs.eager)),
        f"![The last tenth of the stream, method by method]({figure})",
        *([remarks.strip()] if remarks.strip() else []),
        *_overall(board, costs, profiles),
        *(part for name in board.benchmarks for part in _of_one(board, name, costs)),
        *not_run(board, costs.runs),
        *_left_out(board),
        "## Made by",
        f"```sh\n{_commands(board)}\n```",
        *_made_with(board),
    ]
    return "\n\n".join(parts) + "\n"


_RANK = (
    "- **Rank**: for each benchmark and seed, the rows that are on all benchmarks are ranked by the last tenth, from 0 "
    "for the best to 1 for the worst, non-finite runs behind all others; the mean over seeds and benchmarks, with a "
    "bootstrap interval in which seeds are drawn anew within each benchmark. Better or worse than backprop: where the "
    "tables have a \\*. *Better run*: how likely a run of the row is better than one of backprop's, the mean over the "
    "benchmarks, with a bootstrap interval; one from 100 to 100 says no more than that all runs here were better."
)


def _rules(board: Board, measured: bool) -> str:
    reported = board.frame.filter(pl.col("phase") == "reporting")
    tuned = board.frame.filter(pl.col("phase") == "tuning")
    runs = _range(reported.group_by("benchmark", "row").agg(pl.col("seed").n_unique())["seed"])
    tuning = _range(tuned.group_by("benchmark", "row").agg(pl.col("seed").n_unique())["seed"])
    return "\n".join(
        [
            f"- **Choice**: each point that a row tries is run with {tuning} tuning seeds (from "
            f"{_least(tuned['seed'])} on), none of which is reported. The point of the best mean over the whole "
            "stream is taken; a run that turned non-finite is worse than any other, and of equal points the first "
            f"wins. {_choice(board)}",
            f"- **Report**: {runs} runs (seeds from {_least(reported['seed'])} on) with the settings chosen.",
            "- **Tables**: sorted by the last tenth of the stream, the best first. Means over the runs with 95% "
            "Student t intervals. Interquartile means (IQM) with bootstrap intervals, which are too short where runs "
            "are few (of five normal runs they cover 89%). The change from the first to the last tenth is taken run by "
            "run. Dead units, `srank_99` (mean over the hidden layers) and the mean absolute weight are means at the "
            "end. Runs that turned non-finite are left out of means, and rows with such runs stand after the others "
            "(n says how many runs are left).",
            "- **Beside backprop**: the difference in the last tenth, seed by seed, with its own 95% Student t "
            "interval. A \\* says that the row differs from backprop by the paired t test at 5%, with Holm's "
            "correction for all rows of the table. A row that lost more of its runs than backprop has no \\* for what "
            "the others did better.",
            "- **Cost**: seconds relative to backpropagation. *Eager*: of a step of a user's loop, measured by itself, "
            f"the geometric mean over {'[two networks](overhead.md)' if measured else 'networks (not measured)'}. "
            "*Compiled*: of a core for the runs of this table, the time to compile left out; over several benchmarks "
            "the geometric mean. *Memory*: what a run keeps between steps relative to backpropagation, weights "
            "included; after the + what a step allocates at most beside it, in units of the parameters' memory.",
            *([_RANK] if len(board.compared) > 1 else []),
            "- **Marks**: † is told when tasks change; ‡ the best value of a setting lies at an end of all that were "
            "tried, so better ones may lie beyond (each end is tried with one step size only, so they may also where "
            "there is no mark); ∅ it had the scores of backprop to the bit at every step size.",
        ]
    )


def _choice(board: Board) -> str:
    """How points are chosen in this table."""
    if not board.all_tuned:
        return (
            "In this table rows learn with the benchmark's own step size, but for optimizers and architectures, which "
            "try several: compare these with tuned-sgd."
        )
    tuned = board.frame.filter((pl.col("phase") == "tuning") & (pl.col("quantity") == "mean"))
    points = _range(tuned.group_by("benchmark", "row").agg(pl.col("point").n_unique())["point"])
    return (
        f"Every row, plain backprop as well, chooses its step size together with its own settings, from {points} "
        "points that spread evenly over their ranges; those with more found the best one at an end of a range, and "
        "tried half as many again beyond it, once."
    )


def _marked(board: Board, row: str, benchmarks: Sequence[str]) -> str:
    """A row's name with what is to be known of it."""
    told = row.endswith("-at-task") or (row in METHODS and METHODS[row].load()().needs_tasks)
    nothing = any(board.did_nothing(name, row) for name in benchmarks)
    return f"{row}{' †' * told}{' ∅' * nothing}"


def _overall(board: Board, costs: Costs, profiles: str) -> list[str]:
    ranking = board.ranking()
    if len(board.compared) < 2 or not ranking:
        return []
    heading = ("", "row", "kind", "rank", *board.compared, "better / worse / neither", "better run in %", *COSTS)
    lines: list[tuple[str, ...]] = [heading, ("---:", "---", "---", *["---:"] * (len(heading) - 3))]
    for place, one in enumerate(ranking, 1):
        rank = f"{float(one.rank.mean):.3f} [{float(one.rank.low):.3f}, {float(one.rank.high):.3f}]"
        against = " / ".join(map(str, one.against)) if one.row != BASE else "-"
        odds = "-" if one.improves is None else Cell.of(one.improves).text(share=True)
        name = _marked(board, one.row, board.compared)
        spent = costs.cells(one.row, board.compared)
        lines.append((str(place), name, one.kind, rank, *map(str, one.places), against, odds, *spent))
    ranked = {one.row for one in ranking}
    others = sorted({row for name in board.benchmarks for row in board.rows(name)} - ranked)
    note = f" Not on all of them, and so not ranked: {', '.join(others)}." if others else ""
    few = [name for name in board.benchmarks if name not in board.compared]
    note += f" Left out, since fewer than half of the rows were run there: {', '.join(few)}." if few else ""
    return [
        "## Over all benchmarks",
        "Mean normalised rank (0 is best), the place on each benchmark, and on how many of them a row ends better "
        f"than backprop, worse, or neither can be told. {_apart(len(ranking), len(board.compared))}{note}",
        *([f"![Of each kind of row the share of runs that are better than any score]({profiles})"] if profiles else []),
        markdown_table(lines),
    ]


def _apart(rows: int, benchmarks: int) -> str:
    """What the ranks say of other benchmarks.

    >>> _apart(10, 30)[:77]
    'For benchmarks like these 30, two rows would have to differ by 0.27 in rank t'
    >>> _apart(48, 2)[:65]
    'For other benchmarks these 2 tell no two rows apart, whatever the'
    """
    if rows < 2:
        return ""
    apart = critical_difference(rows, benchmarks) / (rows - 1)
    here = "the intervals here say what holds on these very benchmarks."
    if apart > 1:
        return (
            f"For other benchmarks these {benchmarks} tell no two rows apart, whatever their ranks, when all pairs of "
            f"{rows} rows are compared (Nemenyi's critical difference, {apart:.2f}, is more than the whole scale): "
            f"{here}"
        )
    return (
        f"For benchmarks like these {benchmarks}, two rows would have to differ by {apart:.2f} in rank to be told "
        f"apart when all pairs are compared (Nemenyi's critical difference): {here}"
    )


def _of_one(board: Board, benchmark: str, costs: Costs) -> list[str]:
    metric = board.metric(benchmark)
    share = is_share(metric)
    unit, better = (f"{metric} in %" if share else metric), "higher" if board.better(benchmark) > 0 else "lower"
    heading = (
        "",
        "row",
        "kind",
        "last tenth",
        "beside backprop",
        "IQM",
        "first tenth",
        "change",
        *MEASURED.values(),
        *COSTS,
        "chosen",
        "n",
    )
    lines = [heading, ("---:", "---", "---", *["---:"] * (len(heading) - 5), "---", "---:")]
    for place, one in enumerate(board.standings(benchmark), 1):
        lines.append(
            (
                str(place),
                _marked(board, one.row, [benchmark]),
                one.kind,
                Cell.of(one.last).text(share),
                _beside(one, share),
                *(Cell.of(interval).text(share) for interval in (one.iqm, one.first)),
                Cell.of(one.change).text(share, signed=True),
                *(_number(one.measures.get(name, math.nan), is_share(name)) for name in MEASURED),
                *costs.cells(one.row, [benchmark]),
                _chosen(one.chosen, board.at_an_end(benchmark, one.row)),
                str(one.runs) if not one.ended else f"{one.last.n} of {one.runs}",
            )
        )
    return [f"## {benchmark}", f"{unit} ({better} is better), scale `{board.scale(benchmark)}`.", markdown_table(lines)]


def _commands(board: Board) -> str:
    """What makes the table, and what draws it."""
    seeds = board.frame.filter(pl.col("phase") != "left out").group_by("phase").agg(pl.col("seed").n_unique())
    runs = dict(seeds.iter_rows())
    scales = ",".join(sorted({board.scale(name) for name in board.benchmarks}))
    tuning = f" --tuning-runs {runs['tuning']}" if "tuning" in runs else ""
    return (
        f"neoteny leaderboard --scale {scales} --runs {runs['reporting']}{tuning} --to docs/evidence\n"
        "neoteny leaderboard --draw docs/evidence/leaderboard.parquet  # from the table alone"
    )


def _made_with(board: Board) -> list[str]:
    """Versions, processors and commits, and which rows were made with each where there are several."""
    made = board.made_with()
    rows = {text: f": {', '.join(names)}" * (len(made) > 1) for text, names in made.items()}
    lines = [f"- {text}{names}" for text, names in rows.items()]
    changed = any("+;" in text for text in made)
    note = "A + after a commit: files had been changed, so the commit alone does not make these runs again."
    return ["\n".join(lines), *([note] if changed else [])]


def _left_out(board: Board) -> list[str]:
    found = board.left_out()
    return (
        ["## Left out", "\n".join(f"- {row} on {benchmark}: {reason}" for benchmark, row, reason in found)]
        if found
        else []
    )


def _beside(one: Standing, share: bool) -> str:
    if one.beside is None:
        return "-"
    found = Cell(one.beside.mean, one.beside.low, one.beside.high, one.beside.n)
    return found.text(share, signed=True) + r" \*" * bool(one.sign)


def _number(value: float, share: bool) -> str:
    return "-" if not math.isfinite(value) else f"{100 * value:.1f}%" if share else f"{value:.3g}"


def _chosen(settings: str, at_an_end: Sequence[str] = ()) -> str:
    """Settings without the name of their method.

    >>> _chosen("cbp.replacement_rate=1e-05, step_size=0.1", ["step_size"]), _chosen("")
    ('replacement_rate 1e-05, step_size 0.1 ‡', '-')
    """
    found = settings_of(settings).items()
    said = (f"{name.rpartition('.')[2]} {value}{' ‡' * (name in at_an_end)}" for name, value in found)
    return ", ".join(said) or "-"


def _range(counts: pl.Series) -> str:
    if counts.is_empty():
        return "no"
    low, high = int(counts.min()), int(counts.max())  # type: ignore[arg-type]
    return str(low) if low == high else f"{low} to {high}"


def _least(seeds: pl.Series) -> str:
    return "-" if seeds.drop_nulls().is_empty() else str(seeds.min())
