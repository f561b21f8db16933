"""What a group's runs show, in sentences: how the reference went, and how the others ended beside it.

All systems are compared with one reference, seed by seed, in the last tenth of the stream. Whether one is better is
said only where the paired test says so after Holm's correction for the number of comparisons. Where fresh networks were
recorded, each system is also held against them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from neoteny.report.runs.groups import Group
from neoteny.report.runs.metrics import direction, in_words, is_share
from neoteny.report.runs.series import Series, settings_of
from neoteny.report.statistics.cell import Cell
from neoteny.report.statistics.final_table import FinalRow, FinalTable
from neoteny.report.statistics.paired import Difference
from neoteny.report.statistics.plasticity import has_fresh, loss_of_plasticity

__all__ = ["ALPHA", "against_fresh", "amount", "beside", "reference", "same_stream", "sentences", "verdict"]

ALPHA = 0.05
BASE = "backprop"
STREAM = (
    *("tasks", "task_length", "classes_per_increment", "images_per_class", "task", "game", "robot"),
    *("flips", "noise", "period", "drops"),
)
"""Settings of benchmarks that change the problem, not the learner."""
EACH = 4  # systems of which each gets a sentence; of more, the best ones


def reference(group: Group, table: FinalTable) -> int:
    """The place of the system that the others are compared with.

    Backpropagation with its usual settings; where it was run with several, those that ended best; where it was not
    run, the first system.
    """
    better = direction(table.metric)
    places = [place for place, one in enumerate(group.series) if one.system == BASE]
    plain = [place for place in places if group.series[place].label == BASE]
    ended = [place for place in plain or places if math.isfinite(table.rows[place].last.mean)]
    return max(ended, key=lambda place: better * table.rows[place].last.mean, default=(plain or places or [0])[0])


def same_stream(one: Series, other: Series) -> bool:
    """Whether two systems met the same problem, so that one can be called better."""
    first, second = settings_of(one), settings_of(other)
    return all(first.get(key) == second.get(key) for key in STREAM)


def verdict(found: Difference, metric: str) -> int:
    """1 if the system ends better than the reference, -1 if worse, 0 if neither can be told.

    >>> verdict(Difference(-0.2, -0.3, -0.1, p=0.001), "loss"), verdict(Difference(0.2, -0.1, 0.5, p=0.3), "accuracy")
    (1, 0)
    """
    if not found.p < ALPHA:
        return 0
    return direction(metric) if found.mean > 0 else -direction(metric)


def sentences(group: Group, table: FinalTable, base: int, found: Mapping[str, Difference]) -> list[str]:
    """The findings, the most important first.

    Args:
        group: the runs.
        table: of the metric that the systems are judged by.
        base: place of the reference.
        found: from `paired_differences`, to the reference.
    """
    reference, metric = table.rows[base], table.metric
    several = sum(one.system == group.series[base].system for one in group.series)
    best_of = f" (the best of {several} settings)" if several > 1 and reference.system != BASE else ""
    said = [_course(reference, table, best_of)] if math.isfinite(reference.last.mean) else []
    if not found:
        return said
    better = direction(metric)
    order = sorted(found, key=lambda name: -better * found[name].mean)
    if len(order) > EACH:
        counts = [sum(verdict(one, metric) == sign for one in found.values()) for sign in (1, -1, 0)]
        said.append(
            f"Of {len(order)} other systems {_count(counts[0])} better than {reference.system}, {_count(counts[1])} "
            f"worse, and of {counts[2]} neither can be told (paired t tests on the same seeds, corrected for "
            f"{len(order)} comparisons)."
        )
        worst = [order[-1]] if verdict(found[order[-1]], metric) < 0 else []
        order = [*order[: EACH - 1], *worst]
    return [*said, *(beside(name, found[name], table, reference.system) for name in order)]


def against_fresh(group: Group, metric: str) -> list[str]:
    """How systems learn their last tasks beside networks that begin anew there; nothing where none were recorded.

    Of more than a few systems it is those that lose most, and the one that loses least.
    """
    share = is_share(metric)
    cells = {
        one.label: Cell.of(loss_of_plasticity(one, metric).interval()) for one in group.series if has_fresh(one, metric)
    }
    lost = {label: cell for label, cell in cells.items() if math.isfinite(cell.mean)}
    order, said = list(lost), []
    if len(order) > EACH:
        behind, ahead = (sum(test(cell) for cell in lost.values()) for test in (_costs, _helps))
        said.append(
            f"Of {len(order)} systems {behind} are behind networks that begin anew at their last tasks, {ahead} ahead "
            f"of them, and of {len(order) - behind - ahead} neither can be told (95% intervals)."
        )
        order.sort(key=lambda label: -lost[label].mean)
        order = [*order[: EACH - 1], order[-1]]
    for label in order:
        cell = lost[label]
        size, points = amount(cell, share).lstrip("+−"), " points" * share
        where = "behind" if cell.mean > 0 else "ahead of"
        found = "its past costs it" if _costs(cell) else "its past helps it" if _helps(cell) else ""
        found = found or "which is better cannot be told"
        sure = f"95% interval of the loss {_interval(cell, share)}, " if math.isfinite(cell.low) else ""
        said.append(
            f"{label}: at its last tasks its {in_words(metric)} is {size}{points} {where} that of networks that "
            f"begin anew there; {found} ({sure}{_runs(cell.n)})."
        )
    return said


def _costs(cell: Cell) -> bool:
    """Whether a loss is one for sure."""
    return cell.low > 0


def _helps(cell: Cell) -> bool:
    """Whether a loss is a gain for sure."""
    return cell.high < 0


def _course(row: FinalRow, table: FinalTable, best_of: str) -> str:
    """How the reference itself went."""
    what, last = in_words(table.metric), _level(row.last, table.share)
    if not math.isfinite(row.change.mean):
        return f"{row.system}{best_of}: {what} {last} at the end ({_runs(row.last.n)})."
    sure = f"95% interval {_interval(row.change, table.share)}, " if math.isfinite(row.change.low) else ""
    return (
        f"{row.system}{best_of}: {what} {_level(row.first, table.share)} in the first {table.window:,} {table.unit}, "
        f"{last} in the last; change {amount(row.change, table.share)}{' points' * table.share} "
        f"({sure}{_runs(row.last.n)})."
    )


def beside(name: str, found: Difference, table: FinalTable, base: str) -> str:
    """How a system ended beside another, as a sentence."""
    if found.low == found.high == 0:
        return f"{name} ends as {base} does, on each of {found.n} seeds."
    cell = Cell(found.mean, found.low, found.high, found.n)
    size = amount(cell, table.share).lstrip("+−")
    points = " points" if table.share else ""
    where = "above" if found.mean > 0 else "below"
    decided = verdict(found, table.metric)
    ends = f"{name} ends {size}{points} {where} {base}"
    if not decided:
        ends += ", and which is better cannot be told"
    elif direction(table.metric) < 0:
        ends += f", which is {'better' if decided > 0 else 'worse'}"
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.2g}"
    early = [
        f"{row.runs - row.last.n} of {row.runs} runs of {row.system}"
        for row in table.rows
        if row.system in (name, base) and row.last.n < row.runs
    ]
    left = f" Left out, as they did not come to the end: {' and '.join(early)}." if early else ""
    return f"{ends} (95% interval {_interval(cell, table.share)}, {p}, n = {found.n}).{left}"


def amount(cell: Cell, share: bool) -> str:
    """A signed difference, as text."""
    return cell.parts(share, signed=True)[0].replace("-", "−")


def _interval(cell: Cell, share: bool) -> str:
    number = cell.number(share)
    low, high = (f"{(100 if share else 1) * bound:+{number}}".replace("-", "−") for bound in (cell.low, cell.high))
    return f"{low} to {high}"


def _level(cell: Cell, share: bool) -> str:
    return cell.parts(share)[0].replace("-", "−") + "%" * share


def _runs(n: int) -> str:
    return f"n = {n}" if n > 1 else "one run"


def _count(number: int) -> str:
    return f"{number} end{'s' * (number == 1)}"
