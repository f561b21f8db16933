"""From names and overrides to the complete settings of a stack of runs, checked before anything starts.

A stack is one system of one benchmark, R rows that train side by side. The rows differ in the seed and, where a grid is
asked for, in numeric settings: a grid of g points and n seeds is a stack of g * n rows. `resolve` works it out;
`RunConfig` is the result and the content of a run folder's `config.yaml`. No torch in here: `--dry-run` needs none.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from neoteny import registry
from neoteny.errors import SettingError, UnknownNameError
from neoteny.lab.former_names import renamed
from neoteny.lab.plain import plain, read_yaml, write_yaml
from neoteny.lab.presets import Overrides, axes_of, method_name, override, preset
from neoteny.seeds import run_seeds

if TYPE_CHECKING:
    from neoteny.benchmarks.base import Benchmark
    from neoteny.methods.base import Method

__all__ = ["DEFAULT_RUNS", "DEFAULT_SCALE", "SCHEMA", "RunConfig", "resolve", "resolve_all"]

SCHEMA = 1
DEFAULT_SCALE = "small"
DEFAULT_RUNS = 10
LONGEST_LABEL = 200  # file systems take names of 255 bytes, and films and archives add to it


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides the numbers of a stack of runs.

    Attributes:
        benchmark: id with its version.
        scale: the preset that the settings started from.
        method: the system's name; `cbp+l2` is both at once.
        seed: seed of the first run.
        runs: rows of the stack, R: grid points times seeds.
        seeds: the run seed of each row.
        varied: settings that differ between rows, by name (`step_size`, `cbp.replacement_rate`), one value a row.
        settings: the benchmark's fields, and `steps`.
        network: what the settings make of the network; derived from them.
        optimizer: the same of the optimizer.
        methods: the settings of each method that acts, in order.
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

    @cached_property
    def problem(self) -> Benchmark:
        """The benchmark with these settings."""
        base, _ = preset(registry.benchmark(self.benchmark).load(), self.method, self.scale)
        return override(base, {key: value for key, value in self.settings.items() if key != "steps"}, self.benchmark)

    @cached_property
    def interventions(self) -> tuple[Method, ...]:
        """The methods with these settings, in the order in which they act."""
        return tuple(override(registry.method(name).load()(), own, name) for name, own in self.methods.items())

    @cached_property
    def label(self) -> str:
        """The name of the run folder: the system, and what the user set otherwise than its preset.

        `cbp`, `cbp,step_size=0.003`, `cbp,by-cbp.replacement_rate`. One too long for file systems is cut, and ends in
        a hash of the whole.
        """
        base, acting = preset(registry.benchmark(self.benchmark).load(), self.method, self.scale)
        usual = {**_flat("", base.settings()), **_flat_methods({m.name: m.settings() for m in acting})}
        here = {**_flat("", self.settings), **_flat_methods(self.methods)}
        changed = [
            f"{key}={_short(value)}" for key, value in here.items() if key != "steps" and value != usual.get(key)
        ]
        label = ",".join([self.method, *changed, *(f"by-{key}" for key in self.varied)])
        if len(label) <= LONGEST_LABEL:
            return label
        return f"{label[: LONGEST_LABEL - 9]}~{sha256(label.encode()).hexdigest()[:8]}"

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers."""
        return plain(asdict(self))

    def to_yaml(self) -> str:
        """The content of `config.yaml`."""
        return write_yaml(self.to_dict())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> RunConfig:
        """The inverse of `to_dict`.

        Raises:
            UnknownNameError: a key, benchmark or method that does not exist.
            SettingError: a missing key, a value outside its range, or parts that contradict each other.
        """
        names = [f.name for f in fields(cls)]
        for key in content:
            if key not in names:
                raise UnknownNameError(key, names, "key in config.yaml")
        missing = [name for name in names if name not in content]
        if missing:
            raise SettingError(f"config.yaml has no {', '.join(missing)}: it is cut short, or of another program.")
        if content["schema"] != SCHEMA:
            raise SettingError(
                f"config.yaml has schema {content['schema']!r}, this version of neoteny reads {SCHEMA}: "
                "use the version that wrote it (see provenance.json)."
            )
        kinds = {"seed": int, "runs": int, "seeds": list, "benchmark": str, "scale": str, "method": str}
        for name in names:
            kind = kinds.get(name, int if name == "schema" else Mapping)
            if not isinstance(content[name], kind) or isinstance(content[name], bool):
                raise SettingError(f"config.yaml: {name} is {content[name]!r}, which it cannot be: restore the file.")
        config = cls(
            **{
                **content,
                "settings": renamed(content["settings"]),
                "seeds": tuple(content["seeds"]),
                "varied": {key: tuple(values) for key, values in content["varied"].items()},
            }
        )
        # Settings are stated once; the sections that follow from them must not say anything else.
        problem = config.problem
        config = replace(
            config,
            settings=problem.settings(),
            network=problem.network_settings(),
            optimizer=problem.optimizer_settings(),
            methods={method.name: method.settings() for method in config.interventions},
        )
        for name, derived, found in (
            ("settings.steps", problem.steps, content["settings"].get("steps", problem.steps)),
            ("network", plain(problem.network_settings()), content["network"]),
            ("optimizer", plain(problem.optimizer_settings()), content["optimizer"]),
            ("seeds", config.runs, len(config.seeds)),
            *((f"varied.{key}", config.runs, len(values)) for key, values in config.varied.items()),
        ):
            if found != derived:
                raise SettingError(
                    f"config.yaml: {name} is {found!r} where the rest of the file makes it {derived!r}; "
                    "change the settings that it follows from."
                )
        return config

    @classmethod
    def from_yaml(cls, text: str) -> RunConfig:
        """The inverse of `to_yaml`; errors as in `from_dict`."""
        return cls.from_dict(read_yaml(text, "config.yaml"))


def resolve(
    benchmark: str,
    *,
    method: str = "backprop",
    runs: int = DEFAULT_RUNS,
    scale: str = DEFAULT_SCALE,
    seed: int = 0,
    settings: Overrides | None = None,
    methods: Mapping[str, Overrides] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
) -> RunConfig:
    """The complete configuration of one system on one benchmark.

    Args:
        benchmark: an id, or a name without version for the newest.
        method: a system of the benchmark, any registered method, or several joined by `+`.
        runs: seeds at each point of the grid.
        scale: `paper`, `small` or `tiny`.
        seed: seed of the first run; run k has seed + k.
        settings: settings of the benchmark that replace the preset's (`{"step_size": 0.003}`).
        methods: settings of methods that replace the preset's (`{"cbp": {"replacement_rate": 1e-5}}`).
        grid: values to try, by setting (`{"cbp.replacement_rate": [1e-6, 1e-5]}`); several make a product.

    Raises:
        UnknownNameError: a benchmark, scale, method or setting that does not exist.
        SettingError: a value outside its range, or a setting that cannot differ within a stack.

    >>> config = resolve("slowly-changing-regression", method="cbp", runs=2, seed=5,
    ...                  grid={"cbp.replacement-rate": [1e-6, 1e-5]})
    >>> config.runs, config.seeds, config.varied
    (4, (5, 6, 5, 6), {'cbp.replacement_rate': (1e-06, 1e-06, 1e-05, 1e-05)})
    """
    _require_whole("runs", runs, 1)
    _require_whole("seed", seed, 0)
    entry = registry.benchmark(benchmark)
    base, acting = preset(entry.load(), method, scale)
    problem = override(base, settings or {}, entry.name)

    overrides = {method_name(name): values for name, values in (methods or {}).items()}
    active = {m.name: m for m in acting}
    for name, values in overrides.items():
        if name not in active:
            raise SettingError(
                f"Settings for {name!r} were given, but system {method!r} has "
                f"{'the methods ' + ', '.join(active) if active else 'no method'}: leave them out, or run {name!r}."
            )
        active[name] = override(active[name], values, name)

    axes = axes_of(grid or {}, problem, active)
    points = list(itertools.product(*axes.values()))
    seeds = run_seeds(seed, runs)
    return RunConfig(
        benchmark=entry.name,
        scale=scale,
        method=method,
        seed=seed,
        runs=len(points) * runs,
        seeds=seeds * len(points),
        varied={key: tuple(p[i] for p in points for _ in seeds) for i, key in enumerate(axes)},
        settings=problem.settings(),
        network=problem.network_settings(),
        optimizer=problem.optimizer_settings(),
        methods={name: m.settings() for name, m in active.items()},
    )


def resolve_all(
    benchmark: str,
    systems: Sequence[str],
    *,
    methods: Mapping[str, Overrides] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    **rest: Any,
) -> list[RunConfig]:
    """One configuration a system: what is set for a method applies to the systems that have it.

    Args:
        benchmark: as for `resolve`.
        systems: names of systems, each once.
        methods: as for `resolve`.
        grid: as for `resolve`.
        rest: the other arguments of `resolve`.

    Raises:
        SettingError: as `resolve`, and where something is set for a method that no system has.
    """
    if not systems:
        raise SettingError("No method was given: name at least one, such as backprop.")
    twice = sorted({name for name in systems if list(systems).count(name) > 1})
    if twice:
        raise SettingError(f"Method {twice[0]!r} was given twice: name each once.")
    entry = registry.benchmark(benchmark)
    acting = {
        name: {m.name for m in preset(entry.load(), name, rest.get("scale", DEFAULT_SCALE))[1]} for name in systems
    }
    anywhere = set().union(*acting.values())

    wanted = {method_name(name): values for name, values in (methods or {}).items()}
    axes = {key: ("" if "." not in key else method_name(key.split(".", 1)[0])) for key in grid or {}}
    for name in [*wanted, *filter(None, axes.values())]:
        if name not in anywhere:
            raise SettingError(
                f"Settings for {name!r} were given, but none of the systems {', '.join(systems)} has that method: "
                f"leave them out, or add {name!r}."
            )
    return [
        resolve(
            benchmark,
            method=name,
            methods={key: values for key, values in wanted.items() if key in own},
            grid={key: values for key, values in (grid or {}).items() if not axes[key] or axes[key] in own},
            **rest,
        )
        for name, own in acting.items()
    ]


def _require_whole(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise SettingError(f"{name} = {value!r} is not a whole number >= {least}; give one.")


def _flat(prefix: str, settings: Overrides) -> dict[str, Any]:
    return {f"{prefix}{key}": value for key, value in settings.items()}


def _flat_methods(methods: Mapping[str, Overrides]) -> dict[str, Any]:
    return {key: value for name, own in methods.items() for key, value in _flat(f"{name}.", own).items()}


def _short(value: Any) -> str:
    return (
        "-".join(map(_short, value))
        if isinstance(value, tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )
