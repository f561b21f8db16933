"""From names and overrides to the complete settings of a stack of runs, checked before anything starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from neoteny.checks import known_keywords, shown
from neoteny.errors import SettingError
from neoteny.kinds import with_kinds
from neoteny.lab.benchmark import Benchmark
from neoteny.lab.config import Problem, RunConfig, benchmark_class, record
from neoteny.lab.overriding import Overrides, override
from neoteny.lab.presets import asked, axes_of, method_name, preset, system_of
from neoteny.methods.base import Method
from neoteny.optim.base import Optimizer
from neoteny.seeds import run_seeds

__all__ = ["DEFAULT_RUNS", "DEFAULT_SCALE", "System", "resolve", "resolve_all"]

DEFAULT_SCALE = "small"
DEFAULT_RUNS = 10
MOST_RUNS = 100_000  # of a stack: each has its line in metrics and configurations
MOST_SEED = 2**62

System = str | Method | Sequence[str | Method]
"""A system by name, instances of methods, or a list of these that act together."""


@known_keywords()
@with_kinds("benchmark", "method", "optimizer")
def resolve(
    benchmark: Problem,
    *,
    method: System = "backprop",
    optimizer: str | Optimizer | Mapping[str, Any] | None = None,
    runs: int = DEFAULT_RUNS,
    scale: str | None = None,
    seed: int = 0,
    settings: Overrides | None = None,
    methods: Mapping[str, Overrides] | None = None,
    grid: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | None = None,
) -> RunConfig:
    """The complete configuration of one system on one benchmark.

    Args:
        benchmark: an id, or a name without version for the newest; or your own class, or an instance of it.
        method: a system of the benchmark, any registered method, or several joined by `+`; or an instance of a method,
            or a list of names and instances.
        optimizer: a name, an instance, or a mapping with a `name` and options; it replaces the system's.
        runs: seeds at each point of the grid.
        scale: `paper`, `small` or `tiny`, by default `small`. An instance of a benchmark has its own settings; then
            `scale` is the preset that the folder's name compares them with, by default `paper`.
        seed: seed of the first run; run k has seed + k.
        settings: settings of the benchmark that replace the preset's (`{"step_size": 0.003}`), and of the optimizer
            (`{"optimizer.betas": (0.9, 0.99)}`).
        methods: settings of methods that replace the preset's (`{"cbp": {"replacement_rate": 1e-5}}`).
        grid: values to try, by setting (`{"cbp.replacement_rate": [1e-6, 1e-5]}`); several make a product. Or a list of
            points, each with the same settings.

    Raises:
        UnknownNameError: a benchmark, scale, method, setting or argument that does not exist.
        SettingError: a value outside its range, or a setting that cannot differ within a stack.

    >>> config = resolve("slowly-changing-regression", method="cbp", runs=2, seed=5,
    ...                  grid={"cbp.replacement-rate": [1e-6, 1e-5]})
    >>> config.runs, config.seeds, config.varied
    (4, (5, 6, 5, 6), {'cbp.replacement_rate': (1e-06, 1e-06, 1e-05, 1e-05)})
    """
    _require_between("runs", runs, 1, MOST_RUNS)
    _require_between("seed", seed, 0, MOST_SEED)
    entry, cls = benchmark_class(benchmark)
    scale = scale or ("paper" if isinstance(benchmark, Benchmark) else DEFAULT_SCALE)
    system = asked(cls, method)
    base, acting = preset(cls, system.name, scale, system.classes)
    problem = base
    if isinstance(benchmark, Benchmark):
        problem = override(benchmark, system_of(cls, system.name, scale, system.classes)[0], entry.name)
    if optimizer is not None:
        problem = override(problem, {"optimizer": optimizer}, entry.name)
    problem = override(problem, settings or {}, entry.name)

    active = {m.name: system.instances.get(m.name, m) for m in acting}
    for name, values in {_method_name(name, active): values for name, values in (methods or {}).items()}.items():
        if name not in active:
            raise SettingError(
                f"Settings for {name!r} were given, but system {system.name!r} has "
                f"{'the methods ' + ', '.join(active) if active else 'no method'}: leave them out, or run {name!r}."
            )
        active[name] = override(active[name], values, name)

    listed = [] if grid is None or isinstance(grid, Mapping) else list(grid)
    axes = axes_of(grid if isinstance(grid, Mapping) else _columns(listed), problem, active)
    for key, values in axes.items() if not listed else ():
        again = [value for place, value in enumerate(values) if value in values[:place]]
        if again:  # its runs would count twice, as if they had other seeds
            raise SettingError(f"grid: {key} = {shown(again[0])} is given twice; give each value once.")
    count = len(listed) or math.prod(map(len, axes.values()))
    _require_between("runs (of all points of the grid)", runs * count, 1, MOST_RUNS)
    points = list(zip(*axes.values(), strict=True) if listed else itertools.product(*axes.values()))
    seeds = run_seeds(seed, runs)
    return record(
        entry,
        system.name,
        scale,
        (base, acting),
        problem,
        active,
        seed=seed,
        seeds=seeds * len(points),
        varied={key: tuple(p[i] for p in points for _ in seeds) for i, key in enumerate(axes)},
    )


def _columns(points: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The values of a list of points, by setting."""
    for point in points:
        if not isinstance(point, Mapping) or not point or point.keys() != points[0].keys():
            raise SettingError(
                f"grid: {shown(point)} is not a point like the others; give each point the same settings, as "
                "{'step_size': 0.01, 'cbp.replacement_rate': 1e-5}."
            )
    return {key: [point[key] for point in points] for key in points[0]} if points else {}


@with_kinds("benchmark")
def resolve_all(
    benchmark: Problem,
    systems: Sequence[System],
    *,
    methods: Mapping[str, Overrides] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    **rest: Any,
) -> list[RunConfig]:
    """One configuration for each system; settings of a method apply to the systems that have it.

    Args:
        benchmark: as for `resolve`.
        systems: each as the `method` of `resolve`, and each once.
        methods: as for `resolve`.
        grid: as for `resolve`.
        rest: the other arguments of `resolve`.

    Raises:
        UnknownNameError: as `resolve`.
        SettingError: as `resolve`, and if something is set for a method that no system has.
    """
    if not systems:
        raise SettingError("No method was given: name at least one, such as backprop.")
    _, cls = benchmark_class(benchmark)
    plain_systems = [asked(cls, system) for system in systems]
    names = [system.name for system in plain_systems]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingError(f"Method {twice[0]!r} was given twice: name each once.")
    scale = rest.get("scale") or DEFAULT_SCALE
    acting = [{m.name: m for m in system_of(cls, system.name, scale, system.classes)[1]} for system in plain_systems]
    anywhere = {name: m for own in acting for name, m in own.items()}

    wanted = {_method_name(name, anywhere): values for name, values in (methods or {}).items()}
    axes = {key: _owner(key, anywhere) for key in grid or {}}
    for name in [*wanted, *filter(None, axes.values())]:
        if name not in anywhere:
            raise SettingError(
                f"Settings for {name!r} were given, but none of the systems {', '.join(names)} has that method: "
                f"leave them out, or add {name!r}."
            )
    return [
        resolve(
            benchmark,
            method=system,
            methods={key: values for key, values in wanted.items() if key in own},
            grid={key: values for key, values in (grid or {}).items() if not axes[key] or axes[key] in own},
            **rest,
        )
        for system, own in zip(systems, acting, strict=True)
    ]


def _method_name(name: str, active: Mapping[str, Any]) -> str:
    """The name of an acting method, or else of a registered one; underscores stand for dashes."""
    return next((one for one in active if one.replace("-", "_") == name.replace("-", "_")), None) or method_name(name)


def _owner(key: str, anywhere: Mapping[str, Any]) -> str:
    """The method that a key of a grid varies; empty for settings of the benchmark and its optimizer."""
    owner, dot, _ = key.partition(".")
    return _method_name(owner, anywhere) if dot and owner != "optimizer" else ""


def _require_between(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise SettingError(f"{name} = {shown(value)} is not a whole number from {least} to {most:,}; give one.")
