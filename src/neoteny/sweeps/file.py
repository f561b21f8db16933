"""A sweep as a YAML file says it.

    benchmark: [online-permuted-mnist, trainability]
    scale: small
    runs: 10                # seeds 0, 1, ... are reported
    tuning_runs: 3          # seeds 1000, 1001, ... choose
    budget: 4               # core-hours
    settings: {}            # of the benchmark, for all rows
    rows:
      backprop: {grid: {step_size: [0.001, 0.003, 0.01]}}
      cbp: {grid: {step_size: {low: 1e-4, high: 0.1, log: true}, cbp.replacement_rate: [1e-5, 1e-4]}}
      adam: {method: backprop, settings: {optimizer: adam}, grid: {step_size: [1e-4, 1e-3]}}
    search: {points: 16}    # where a grid has ranges; or {sampler: tpe, trials: 20, at_once: 5, pruner: median}

A row is a system of the benchmark, or methods joined by `+`, under its own name or that of `method`. It has `settings`
and `methods` as `neoteny.lab.resolve` takes them, and a grid: lists of values, the weakest first, or ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from neoteny import registry
from neoteny.errors import SettingError, UnknownNameError
from neoteny.kinds import Settings, kinds
from neoteny.lab.plain import read_yaml
from neoteny.sweeps.budget import require_budget
from neoteny.sweeps.optuna import Optuna
from neoteny.sweeps.rows import SweepRow
from neoteny.sweeps.searching import Drawn, Grid, Range, Search

__all__ = ["SweepFile", "read_sweep"]

_ROW = ("method", "settings", "methods", "grid", "search")


@dataclass(frozen=True, kw_only=True)
class SweepFile(Settings):
    """What a sweep's file says.

    Attributes:
        benchmarks: their ids.
        rows: what is run.
        scale: of the benchmarks.
        runs: reported runs of each row.
        tuning_runs: runs at each point that is tried.
        budget: core-hours; None for no end.
    """

    benchmarks: tuple[str, ...]
    rows: tuple[SweepRow, ...]
    scale: str = "small"
    runs: int = 10
    tuning_runs: int = 3
    budget: float | None = None

    def __post_init__(self) -> None:
        """Check the budget; a plan checks the others."""
        require_budget(self.budget)


def read_sweep(path: Path, named: Callable[[str], str] = lambda name: name) -> SweepFile:
    """Read a sweep's file.

    Args:
        path: where it is.
        named: turns names of methods and benchmarks into registered ones, as where `MODULE:CLASS` is one.

    Raises:
        SettingError: it cannot be read, a key is missing, or a value has the wrong kind.
        UnknownNameError: a key, benchmark, sampler or pruner that does not exist.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path} cannot be read ({error}): give a YAML file that says a sweep.") from error
    content = read_yaml(text, str(path))
    plain = {one.name for one in fields(SweepFile)} - {"benchmarks", "rows"}
    _require_known(content, {*plain, "benchmark", "rows", "settings", "search"}, f"key for {path}")
    for key in ("benchmark", "rows"):
        if not content.get(key):
            raise SettingError(f"{path} has no {key}: say which {key}{'s' * (key == 'benchmark')} are run.")
    names = content["benchmark"] if isinstance(content["benchmark"], list) else [content["benchmark"]]
    shared, search = (_mapping(content.get(key) or {}, key, path) for key in ("settings", "search"))
    rows = content["rows"]
    if isinstance(rows, list):
        rows = {str(name): {} for name in rows}
    return SweepFile(
        benchmarks=tuple(registry.benchmark(named(str(name))).name for name in names),
        rows=tuple(
            _row(name, _mapping(said or {}, f"rows: {name}", path), shared, search, path, named)
            for name, said in _mapping(rows, "rows", path).items()
        ),
        **{name: _kept(name, content[name]) for name in plain if name in content},
    )


def _row(
    name: str,
    said: Mapping[str, Any],
    shared: Mapping[str, Any],
    search: Mapping[str, Any],
    path: Path,
    named: Callable[[str], str],
) -> SweepRow:
    where = f"rows: {name} in {path}"
    _require_known(said, _ROW, f"key of {where}")
    system = named(str(said.get("method", name)))
    axes = {str(key).replace("-", "_"): value for key, value in _mapping(said.get("grid") or {}, "grid", path).items()}
    space = {key: _values(key, value, where) for key, value in axes.items()}
    own = _mapping(said.get("search") or {}, "search", path)
    settings, methods = (_mapping(said.get(key) or {}, key, path) for key in ("settings", "methods"))
    return SweepRow(
        named(name),
        system,
        settings={**shared, **settings},
        methods=methods,
        tried=_search(space, {**search, **own}, where),
    )


def _search(space: Mapping[str, Any], said: Mapping[str, Any], where: str) -> Search:
    """A grid where there are only values and nothing else is said; otherwise points, or Optuna's trials."""
    if not space:
        return Grid()
    if "sampler" in said or "trials" in said or "pruner" in said:
        _require_known(said, ("sampler", "pruner", "trials", "at_once", "seed"), f"key of search for {where}")
        return Optuna(space, **said)
    _require_known(said, ("points", "seed"), f"key of search for {where}")
    if "points" in said or any(isinstance(values, Range) for values in space.values()):
        return Drawn(space, **said)
    return Grid(space)


def _values(key: str, value: Any, where: str) -> Any:
    """The values of one setting."""
    if isinstance(value, Mapping):
        _require_known(value, ("low", "high", "log", "near_one", "whole"), f"key of the range {key} in {where}")
        if not {"low", "high"} <= value.keys():
            raise SettingError(f"{where}: the range of {key} is {dict(value)!r}; give low and high.")
        return Range(**value)
    if not isinstance(value, list) or not value:
        raise SettingError(
            f"{where}: {key} = {value!r} is no list of values and no range; write [0.01, 0.1] or "
            "{low: 0.01, high: 0.1}."
        )
    return value


def _kept(name: str, value: Any) -> Any:
    kind, _ = kinds(SweepFile)[name]
    return kind.convert(value)


def _mapping(value: Any, key: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(f"{path}: {key} is {value!r}, not settings; write {key}: {{name: value}}.")
    return value


def _require_known(said: Iterable[str], known: Iterable[str], kind: str) -> None:
    for name in said:
        if name not in known:
            raise UnknownNameError(name, known, kind)
