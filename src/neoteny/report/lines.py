"""The curves that a figure or a claim is about, and the runs that are theirs.

A line is a system with some settings. Runs are a line's if they are of its system, have its settings, and have every
other setting as the system's preset at their scale, so that a network of another width is not taken for the paper's.
Lengths (`LENGTHS`) are no part of it. Where a whole comparison was run with a setting changed, say fewer epochs, the
lines are found all the same, and `Selection.ground` says what was changed.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neoteny import registry
from neoteny.errors import NeotenyError
from neoteny.lab.plain import plain
from neoteny.lab.presets import preset
from neoteny.report.binning import Curve
from neoteny.report.series import Group, Series, differing, flatten, format_number, natural, settings_of

__all__ = ["LENGTHS", "Axis", "Line", "Selection", "commands", "curve_of", "select", "vary"]

Axis = Literal["examples", "steps", "tasks", "classes"]
LENGTHS = frozenset({"tasks", "increments", "steps", "bin_size", "test_every", "measure_every", "probe_size"})


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: its name on the figure.
        system: which system learned.
        settings: those it has otherwise than the system's preset, or shares with a grid; `cbp.replacement_rate` for a
            method's.
    """

    label: str
    system: str
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)


def vary(system: str, setting: str, values: Sequence[Any], label: str, **others: Any) -> tuple[Line, ...]:
    """One line a value of a setting.

    >>> [line.label for line in vary("backprop", "step_size", (0.01, 1e-5), "step size {}")]
    ['step size 0.01', 'step size 1e-05']
    """
    return tuple(Line(label.format(format_number(value)), system, {setting: value, **others}) for value in values)


@dataclass(frozen=True)
class Selection:
    """The runs of some lines.

    Attributes:
        found: a series for each line that was run, under the line's label.
        missing: the lines that were not.
        ground: settings that all of them have otherwise than their presets.
    """

    found: Mapping[Line, Series]
    missing: tuple[Line, ...]
    ground: Mapping[str, Any]


def select(group: Group | None, lines: Sequence[Line]) -> Selection:
    """Find the runs of lines: on common ground, as many as can be, each with as many runs as there are.

    Args:
        group: a benchmark at one scale; None where nothing was run.
        lines: which.
    """
    grounds: dict[str, dict[Line, list[Series]]] = {}
    settings: dict[str, Mapping[str, Any]] = {}
    for line in lines:
        for series in group.series if group else ():
            changed = _changed(series, line, group.scale) if group else None
            if changed is not None:
                name = repr(sorted((key, repr(plain(value))) for key, value in changed.items()))
                settings[name] = changed
                grounds.setdefault(name, {}).setdefault(line, []).append(series)
    if not grounds:
        return Selection({}, tuple(lines), {})
    best = min(grounds, key=lambda name: (-len(grounds[name]), len(settings[name]), name))
    apart = differing([_fixed(line) for line in lines])
    found = {}
    for line, candidates in grounds[best].items():
        one = max(candidates, key=lambda series: (series.runs, series.frame["step"].max()))
        own = {key: value for key, value in _fixed(line).items() if key in apart}
        found[line] = replace(one, label=line.label, apart=own)
    return Selection(found, tuple(line for line in lines if line not in found), settings[best])


def curve_of(series: Series, metric: str, layer: str = "", axis: Axis = "examples") -> Curve:
    """One metric of a series over an axis, as it was recorded.

    Args:
        series: from `select`.
        metric: its name.
        layer: of the network; "last" for the last hidden one, "mean" for the mean over all, "" for the network's own.
            "actor.last" and "actor.mean" are those of the layers whose names begin with "actor.".
        axis: what is counted: examples, steps of an agent, tasks, or the classes learned so far
            (`classes_per_increment` a task).

    Returns:
        The curve; without any bins where nothing was recorded.
    """
    part, _, which = layer.rpartition(".")
    layers = [name for name in series.layers(metric) if name and name.startswith(f"{part}." if part else "")]
    if which == "mean" and layers:
        curves = [curve_of(series, metric, name, axis) for name in layers]
        return replace(curves[0], values=np.mean([curve.values for curve in curves], axis=0))
    if which in ("last", "mean"):
        hidden = set(layers) & set(series.layers("dormant_units"))  # weights are those of the output layer too
        layer = max(hidden or layers, key=natural, default="")
    if axis in ("examples", "steps"):
        return series.curve(metric, layer)
    curve = series.by_task(metric, layer)
    each = int(settings_of(series).get("classes_per_increment", 1)) if axis == "classes" else 1
    return Curve(curve.steps * each, curve.values, curve.bin_size * each)


def commands(
    benchmark: str, scale: str, runs: int, missing: Sequence[Line], lines: Sequence[Line], out: Path | None = None
) -> list[str]:
    """The commands that make the runs of lines.

    They keep what another command has finished. A grid is a stack of its own and quicker than its parts, but its folder
    has one name: where some of its values were run already, the others come one by one.

    Args:
        benchmark: its name.
        scale: of the preset.
        runs: how many of each.
        missing: the lines to run.
        lines: all lines of the figure, missing or not.
        out: where they go, if not to the usual place.
    """
    start = ["neoteny", "run", benchmark, "--scale", scale, "--runs", str(runs)]
    end = [*(["--out", str(out)] if out is not None and out != Path("runs") else []), "--resume"]
    made: dict[tuple[str, ...], list[str]] = {}  # options, and the systems that share them
    rest = list(missing)
    for line in missing:
        axis = _axis(line)
        grid = [other for other in lines if other.system == line.system and _axis(other) == axis]
        if axis is None or line not in rest or len(grid) < 2 or not all(other in rest for other in grid):
            continue
        rest = [other for other in rest if other not in grid]
        values = ",".join(format_number(other.settings[axis[0]]) for other in grid)
        made.setdefault(("--grid", f"{axis[0]}={values}", *_options(axis[1])), []).append(line.system)
    for line in rest:
        usual = _usual(benchmark, line.system, scale)
        own = {k: v for k, v in line.settings.items() if k not in usual or not _same(v, usual[k])}
        systems = made.setdefault(tuple(_options(own)), [])
        if line.system not in systems:
            systems.append(line.system)
    return [shlex.join([*start, "--method", ",".join(systems), *options, *end]) for options, systems in made.items()]


def _options(settings: Mapping[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", format_number(value))]


def _axis(line: Line) -> tuple[str, Mapping[str, Any]] | None:
    """The setting that a stack can vary, and the others; only step sizes and settings of methods can be stacked."""
    for key in line.settings:
        if key == "step_size" or "." in key:
            return key, {other: value for other, value in line.settings.items() if other != key}
    return None


def _fixed(line: Line) -> dict[str, Any]:
    return {key: value for key, value in line.settings.items() if key not in LENGTHS}


def _changed(series: Series, line: Line, scale: str) -> dict[str, Any] | None:
    """What the series has otherwise than the line asks and its preset has; None if it is not the line's."""
    if series.system != line.system:
        return None
    settings, wanted = settings_of(series), _fixed(line)
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
    """The settings of a system's preset; none where this version does not know the benchmark or the system."""
    try:
        problem, methods = preset(registry.benchmark(benchmark).load(), system, scale)
    except NeotenyError:
        return {}
    own = {key: value for key, value in problem.optimizer.settings().items() if key != "step_size"}
    optimizer = {f"optimizer.{key}": value for key, value in own.items()}
    return dict(flatten({**problem.settings(), **optimizer, **{m.name: m.settings() for m in methods}}))


def _same(one: Any, other: Any) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-9)
    except (TypeError, ValueError):
        return plain(one) == plain(other)
