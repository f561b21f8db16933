"""The complete settings of a stack of runs: what `neoteny.lab.resolving` makes, and a run folder's `config.yaml` holds.

A stack is one system of one benchmark: R runs that train side by side. The runs differ in the seed and, with a grid, in
numeric settings: a grid of g points and n seeds is a stack of g * n runs. Nothing here imports torch: `--dry-run` does
not need it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from neoteny import registry
from neoteny.checks import shown
from neoteny.errors import NeotenyError, SettingError
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
from neoteny.lab.overriding import override
from neoteny.lab.plain import plain, read_yaml, write_yaml
from neoteny.lab.presets import preset
from neoteny.methods.base import Method
from neoteny.notebook import table

__all__ = ["Problem", "Resolved", "RunConfig", "as_now", "benchmark_class", "record"]

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
        usual = preset(benchmark, content["method"], content["scale"], by_part(own, benchmark))
        settings = {key: value for key, value in content["settings"].items() if key != "steps"}
        methods = content["methods"].items()
        config = record(
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


def benchmark_class(benchmark: Problem) -> tuple[registry.Entry, type[Benchmark]]:
    """The entry and the class of a benchmark.

    Raises:
        UnknownNameError: there is none of this name.
        SettingError: it is neither a name, nor a class or an instance of a benchmark.
    """
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


def record(
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
    """The plain record of what was resolved.

    Args:
        entry: the benchmark's.
        system: its name.
        scale: the preset that the settings started from.
        usual: the benchmark and the methods as that preset has them.
        problem: the benchmark as it is run.
        active: the methods as they act, by name.
        seed: of the first run.
        seeds: of each run.
        varied: settings that differ between runs, one value for each.
    """
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


def _benchmark_of(content: Mapping[str, Any]) -> tuple[registry.Entry, type[Benchmark]]:
    """The benchmark that a file names."""
    name, target = content["benchmark"], content["classes"].get("benchmark")
    if target is None or name in registry.BENCHMARKS:
        return benchmark_class(name)
    return benchmark_class(import_class(target, f"benchmark {name!r}"))


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
