"""From names and overrides to the complete settings of a stack of runs, checked before anything starts.

A stack is one system of one benchmark: R runs that train side by side. The runs differ in the seed and, with a grid, in
numeric settings: a grid of g points and n seeds is a stack of g * n runs. `resolve` computes the settings once;
`RunConfig` is the result and the content of a run folder's `config.yaml`. Nothing here imports torch: `--dry-run` does
not need it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from neoteny import registry
from neoteny.checks import known_keywords, shown
from neoteny.errors import NeotenyError, SettingError
from neoteny.kinds import with_kinds
from neoteny.lab.benchmark import Benchmark
from neoteny.lab.config_file import (
    by_part,
    import_class,
    made,
    optimizer_of,
    own_methods,
    require_whole_file,
    target_of,
)
from neoteny.lab.former_names import SCHEMA, brought_up_to_date
from neoteny.lab.labels import flat, label
from neoteny.lab.overriding import Overrides, override
from neoteny.lab.plain import plain, read_yaml, write_yaml
from neoteny.lab.presets import Asked, asked, axes_of, method_name, system_of
from neoteny.methods.base import Method
from neoteny.notebook import table
from neoteny.optim.base import Optimizer
from neoteny.seeds import run_seeds

__all__ = ["DEFAULT_RUNS", "DEFAULT_SCALE", "Resolved", "RunConfig", "as_now", "resolve", "resolve_all"]

DEFAULT_SCALE = "small"
DEFAULT_RUNS = 10
MOST_RUNS = 100_000  # of a stack: each has its line in metrics and configurations
MOST_SEED = 2**62

T = TypeVar("T")
System = str | Method | Sequence[str | Method]
"""A system by name, instances of methods, or a list of these that act together."""
Problem = str | type[Benchmark] | Benchmark
"""A benchmark by name, class, or instance."""


@dataclass(frozen=True, eq=False)
class Resolved:
    """What a configuration stands for, as objects.

    Attributes:
        problem: the benchmark, with its optimizer.
        methods: those that act, in order.
        entry: the benchmark's entry in the registry.
        label: the name of the run folder.
    """

    problem: Benchmark
    methods: tuple[Method, ...]
    entry: registry.Entry
    label: str


@dataclass(frozen=True, kw_only=True, repr=False)
class RunConfig:
    """Everything that decides the numbers of a stack of runs, as plain data.

    Attributes:
        schema: version of the layout.
        benchmark: id with its version.
        scale: the preset that the settings started from.
        method: the system's name; `cbp+l2` is both at once.
        seed: seed of the first run.
        runs: number of runs in the stack, R: grid points times seeds.
        seeds: the run seed of each run.
        varied: settings that differ between runs, by name (`step_size`, `cbp.replacement_rate`), one value for each
            run.
        settings: the benchmark's fields, and `steps`; for the optimizer its name and step size.
        network: the network's own settings, derived from `settings`.
        optimizer: the optimizer's name and all its settings.
        methods: the settings of each method that acts, in order.
        classes: where to import the classes that no installed package registers (`{"methods.mine": "mine:Mine"}`).
        resolved: the objects that all this describes, made once.
    """

    schema: int = SCHEMA
    benchmark: str
    scale: str
    method: str
    seed: int
    runs: int
    seeds: tuple[int, ...]
    varied: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    settings: dict[str, Any]
    network: dict[str, Any]
    optimizer: dict[str, Any]
    methods: dict[str, dict[str, Any]]
    classes: dict[str, str] = field(default_factory=dict)
    resolved: Resolved = field(compare=False)

    @property
    def problem(self) -> Benchmark:
        """The benchmark with these settings."""
        return self.resolved.problem

    @property
    def interventions(self) -> tuple[Method, ...]:
        """The methods with these settings, in the order in which they act."""
        return self.resolved.methods

    @property
    def label(self) -> str:
        """The name of the run folder: the system, and the settings that differ from its preset.

        `cbp`, `cbp,step_size=0.003`, `cbp,by-cbp.replacement_rate`. A label that is too long for file systems is cut
        and ends in a hash of the whole label.
        """
        return self.resolved.label

    def __repr__(self) -> str:
        return (
            f"<RunConfig of {self.benchmark} at scale {self.scale}: {self.label}, "
            f"{self.runs} runs from seed {self.seed}; to_yaml() says everything>"
        )

    def _repr_html_(self) -> str:
        """Every setting, as a table for notebooks."""
        caption = f"{self.benchmark} at scale {self.scale}: {self.label}, {self.runs} runs from seed {self.seed}"
        rows = flat(self.problem, {method.name: method for method in self.interventions}).items()
        return table(caption, ("setting", "value"), [row for row in rows if row[0] not in self.varied])

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        content = {name: plain(getattr(self, name)) for name in _KEYS}
        return content if self.classes else {key: value for key, value in content.items() if key != "classes"}

    def to_yaml(self) -> str:
        """The content of `config.yaml`."""
        return write_yaml(self.to_dict())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_dict`, also for what earlier versions wrote.

        Raises:
            UnknownNameError: a key, benchmark or method that does not exist.
            SettingError: a missing key, a value outside its range, or parts that contradict each other.
        """
        content = {"classes": {}, **brought_up_to_date(content)}
        content.pop("execution", None)  # of the folder, which reads it itself
        require_whole_file(content, _KEYS)
        entry, benchmark = _benchmark_of(content)
        own = own_methods(content["classes"])
        usual = _preset(benchmark, Asked(content["method"], classes=by_part(own, benchmark)), content["scale"])
        settings = {key: value for key, value in content["settings"].items() if key != "steps"}
        methods = content["methods"].items()
        config = _record(
            entry,
            content["method"],
            content["scale"],
            usual,
            override(usual[0], {**settings, "optimizer": optimizer_of(content)}, entry.name),
            {name: override(made(own.get(name) or registry.method(name).load()), v, name) for name, v in methods},
            seed=content["seed"],
            seeds=tuple(content["seeds"]),
            varied={key: tuple(values) for key, values in content["varied"].items()},
        )
        _require_consistent(config, content)
        return config

    @classmethod
    def from_yaml(cls, text: str) -> RunConfig:
        """The inverse of `to_yaml`; errors as in `from_dict`."""
        return cls.from_dict(read_yaml(text, "config.yaml"))


def as_now(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `config.yaml` of any version as this version would write it, with all defaults.

    Content that this version cannot read, such as an unknown benchmark, only gets the new names.
    """
    try:
        return RunConfig.from_dict(content).to_dict()
    except (NeotenyError, TypeError, AttributeError, KeyError):
        return brought_up_to_date(content)


_KEYS = tuple(one.name for one in fields(RunConfig) if one.name != "resolved")


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
    entry, cls = _benchmark(benchmark)
    scale = scale or ("paper" if isinstance(benchmark, Benchmark) else DEFAULT_SCALE)
    system = asked(cls, method)
    base, acting = _preset(cls, system, scale)
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
    return _record(
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
    _, cls = _benchmark(benchmark)
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


def _benchmark(benchmark: Problem) -> tuple[registry.Entry, type[Benchmark]]:
    """The entry and the class of a benchmark."""
    if isinstance(benchmark, str):
        entry = registry.benchmark(benchmark)
        return entry, entry.load()
    cls = benchmark if isinstance(benchmark, type) else type(benchmark)
    if not issubclass(cls, Benchmark):
        raise SettingError(
            f"benchmark = {shown(benchmark)} is no benchmark: give a name, or a subclass of "
            "neoteny.lab.benchmark.OnlineBenchmark or EpochBenchmark, or an instance of one."
        )
    return registry.entry_of(cls), cls


def _preset(cls: type[Benchmark], system: Asked, scale: str) -> tuple[Benchmark, tuple[Method, ...]]:
    overrides, acting = system_of(cls, system.name, scale, system.classes)
    return cls.preset(scale, **overrides), acting


def _record(
    entry: registry.Entry,
    system: str,
    scale: str,
    usual: tuple[Benchmark, tuple[Method, ...]],
    problem: Benchmark,
    active: Mapping[str, Method],
    *,
    seed: int,
    seeds: tuple[int, ...],
    varied: dict[str, tuple[Any, ...]],
) -> RunConfig:
    """The plain record of what was resolved."""
    owners = [("benchmark", problem), ("optimizer", problem.optimizer)]
    owners += [(f"methods.{name}", method) for name, method in active.items()]
    return RunConfig(
        benchmark=entry.name,
        scale=scale,
        method=system,
        seed=seed,
        runs=len(seeds),
        seeds=seeds,
        varied=varied,
        settings=problem.settings(),
        network=problem.network_settings(),
        optimizer=problem.optimizer_settings(),
        methods={name: method.settings() for name, method in active.items()},
        classes={key: target for key, owner in owners if (target := target_of(owner))},
        resolved=Resolved(problem, tuple(active.values()), entry, label(system, usual, problem, active, varied)),
    )


def _method_name(name: str, active: Mapping[str, Any]) -> str:
    """The name of an acting method, or else of a registered one; underscores stand for dashes."""
    return next((one for one in active if one.replace("-", "_") == name.replace("-", "_")), None) or method_name(name)


def _owner(key: str, anywhere: Mapping[str, Any]) -> str:
    """The method that a key of a grid varies; empty for settings of the benchmark and its optimizer."""
    owner, dot, _ = key.partition(".")
    return _method_name(owner, anywhere) if dot and owner != "optimizer" else ""


def _benchmark_of(content: Mapping[str, Any]) -> tuple[registry.Entry, type[Benchmark]]:
    """The benchmark that a file names."""
    name, target = content["benchmark"], content["classes"].get("benchmark")
    if target is None or name in registry.BENCHMARKS:
        return _benchmark(name)
    return _benchmark(import_class(target, f"benchmark {name!r}"))


def _require_consistent(config: RunConfig, content: Mapping[str, Any]) -> None:
    """Refuse sections that contradict the settings from which they are derived."""
    stated = {
        key: content["settings"][key] for key in ("optimizer", "step_size", "steps") if key in content["settings"]
    }
    compared = [(f"settings.{key}", config.settings[key], value) for key, value in stated.items()]
    for name, derived in (("network", plain(config.network)), ("optimizer", plain(config.optimizer))):
        compared += [(name, derived, {**derived, **content[name]})]  # a missing key has its default value
    compared += [("seeds", content["runs"], len(config.seeds))]
    compared += [(f"varied.{key}", config.runs, len(values)) for key, values in config.varied.items()]
    for name, derived, found in compared:
        if found != derived:
            raise SettingError(
                f"config.yaml: {name} is {found!r}, but the rest of the file gives {derived!r}; "
                "change the settings from which it is derived."
            )


def _require_between(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise SettingError(f"{name} = {shown(value)} is not a whole number from {least} to {most:,}; give one.")
