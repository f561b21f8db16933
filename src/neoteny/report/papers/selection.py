"""Finding the runs of conditions.

Runs belong to a condition if they are of its system, have its settings, and have every other setting as the system's
preset at their scale has it: so a network of another width is not taken for the paper's. Lengths (`LENGTHS`) do not
count. Where a whole comparison was run with one setting changed, such as fewer epochs, its runs are found all the
same, and `Selection.changed` says what was changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from neoteny import registry
from neoteny.errors import NeotenyError
from neoteny.lab.plain import plain
from neoteny.lab.presets import preset
from neoteny.report.papers.condition import Condition
from neoteny.report.runs.groups import Group
from neoteny.report.runs.series import Series, settings_of
from neoteny.report.runs.settings import differing, flatten

__all__ = ["LENGTHS", "Selection", "select", "uncommon"]

LENGTHS = frozenset(
    {"tasks", "increments", "steps", "bin_size", "test_every", "measure_every", "probe_size", "fresh_tasks"}
)


@dataclass(frozen=True)
class Selection:
    """The runs of some conditions.

    Attributes:
        found: a series for each condition that was run, under the condition's label.
        missing: the conditions that were not.
        changed: settings in which all of them differ from their presets.
    """

    found: Mapping[Condition, Series]
    missing: tuple[Condition, ...]
    changed: Mapping[str, Any]


def select(group: Group | None, conditions: Sequence[Condition]) -> Selection:
    """Find the runs of conditions: as many conditions as have the same settings changed, each with the most runs.

    Args:
        group: a benchmark at one scale; None where nothing was run.
        conditions: which.
    """
    candidates: dict[str, dict[Condition, list[Series]]] = {}  # by what was changed
    settings: dict[str, Mapping[str, Any]] = {}
    for condition in conditions:
        for series in group.series if group else ():
            changed = _changed(series, condition, group.scale) if group else None
            if changed is not None:
                name = repr(sorted((key, repr(plain(value))) for key, value in changed.items()))
                settings[name] = changed
                candidates.setdefault(name, {}).setdefault(condition, []).append(series)
    if not candidates:
        return Selection({}, tuple(conditions), {})
    best = min(candidates, key=lambda name: (-len(candidates[name]), len(settings[name]), name))
    apart = differing([_fixed(condition) for condition in conditions])
    found = {}
    for condition, several in candidates[best].items():
        one = max(several, key=lambda one: (one.runs, one.frame["step"].max(), settings_of(one).get("fresh_tasks", 0)))
        own = {key: value for key, value in _fixed(condition).items() if key in apart}
        found[condition] = replace(one, label=condition.label, apart=own)
    return Selection(found, tuple(one for one in conditions if one not in found), settings[best])


def uncommon(condition: Condition, benchmark: str, scale: str) -> dict[str, Any]:
    """The settings of a condition that its system's preset does not have already."""
    usual = _usual(benchmark, condition.system, scale)
    return {k: v for k, v in condition.settings.items() if k not in usual or not _same(v, usual[k])}


def _fixed(condition: Condition) -> dict[str, Any]:
    return {key: value for key, value in condition.settings.items() if key not in LENGTHS}


def _changed(series: Series, condition: Condition, scale: str) -> dict[str, Any] | None:
    """In which settings the series differs from its preset; None if it is not of the condition."""
    if series.system != condition.system:
        return None
    settings, wanted = settings_of(series), _fixed(condition)
    if any(key not in settings or not _same(settings[key], value) for key, value in wanted.items()):
        return None
    usual = _usual(series.sources[0].benchmark, series.system, scale)
    return {
        key: settings[key]
        for key, value in usual.items()
        if key in settings and key not in LENGTHS and key not in wanted and not _same(settings[key], value)
    }


@cache
def _usual(benchmark: str, system: str, scale: str) -> Mapping[str, Any]:
    """The settings of a system's preset; none if this version does not have the benchmark or the system."""
    try:
        problem, methods = preset(registry.benchmark(benchmark).load(), system, scale)
    except NeotenyError:
        return {}
    optimizer = {f"optimizer.{key}": value for key, value in problem.optimizer.settings().items() if key != "step_size"}
    return dict(flatten({**problem.settings(), **optimizer, **{m.name: m.settings() for m in methods}}))


def _same(one: Any, other: Any) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-9)
    except (TypeError, ValueError):
        return plain(one) == plain(other)
