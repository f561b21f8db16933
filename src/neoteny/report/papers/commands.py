"""The commands that make the runs of a figure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neoteny import registry
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.selection import uncommon
from neoteny.report.runs.settings import format_number

__all__ = ["commands"]


def commands(
    benchmark: str,
    scale: str,
    runs: int,
    missing: Sequence[Condition],
    conditions: Sequence[Condition],
    out: Path | None = None,
) -> list[str]:
    """The commands that make the runs of conditions.

    They keep what another command has finished. The values of a grid train as one stack, which is quicker than one by
    one; but the stack's folder has one name, so if some of the values were run already, the others come one by one.

    Args:
        benchmark: its name.
        scale: of the preset.
        runs: how many of each.
        missing: the conditions to run.
        conditions: all of the figure, missing or not.
        out: where they go, if not to the usual place.
    """
    start = ["neoteny", "run", registry.typed(benchmark, registry.BENCHMARKS), "--scale", scale, "--runs", str(runs)]
    end = [*(["--out", str(out)] if out is not None and out != Path("runs") else []), "--resume"]
    made: dict[tuple[str, ...], list[str]] = {}  # options, and the systems that share them
    rest = list(missing)
    for one in missing:
        axis = _axis(one)
        grid = [other for other in conditions if other.system == one.system and _axis(other) == axis]
        if axis is None or one not in rest or len(grid) < 2 or not all(other in rest for other in grid):
            continue
        rest = [other for other in rest if other not in grid]
        values = ",".join(format_number(other.settings[axis[0]]) for other in grid)
        made.setdefault(("--grid", f"{axis[0]}={values}", *_options(axis[1])), []).append(one.system)
    for one in rest:
        systems = made.setdefault(tuple(_options(uncommon(one, benchmark, scale))), [])
        if one.system not in systems:
            systems.append(one.system)
    return [
        shlex.join([*start, "--method", ",".join(map(_typed, systems)), *options, *end])
        for options, systems in made.items()
    ]


def _typed(system: str) -> str:
    return "+".join(registry.typed(part, registry.METHODS) for part in system.split("+"))


def _options(settings: Mapping[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", format_number(value))]


def _axis(condition: Condition) -> tuple[str, Mapping[str, Any]] | None:
    """The setting that a stack can vary, and the others; only step sizes and settings of methods can be stacked."""
    for key in condition.settings:
        if key == "step_size" or "." in key:
            return key, {other: value for other, value in condition.settings.items() if other != key}
    return None
