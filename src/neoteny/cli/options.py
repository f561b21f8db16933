"""The options of `neoteny run`: a benchmark's settings, the methods' settings, and how to run.

All are made from the dataclasses themselves, so a new setting is an option without any change here. Only what the user
gave counts, on the command line or in a YAML file with the same keys; everything else is the system's preset.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from neoteny import registry
from neoteny.checks import expanded
from neoteny.cli.own import named
from neoteny.cli.placing import Placing
from neoteny.cli.reading import parsed
from neoteny.errors import NeotenyError, SettingError, UnknownNameError
from neoteny.lab.overriding import named_once, names_of, override
from neoteny.lab.plain import read_value, read_yaml
from neoteny.lab.presets import preset
from neoteny.lab.resolving import DEFAULT_RUNS, DEFAULT_SCALE

if TYPE_CHECKING:
    from neoteny.lab.benchmark import Benchmark

__all__ = ["Request", "Running", "parse"]

_NAMED = ("--method", "--optimizer")
Tracker = Literal["tensorboard", "wandb", "mlflow"]
Strategy = Literal["auto", "stack", "loop", "rank-one", "lanes", "one-call"]


@dataclass(frozen=True)
class Running(Placing):
    """How to run."""

    method: str = "backprop"
    """systems to run side by side, separated by commas; a+b is both at once; MODULE:CLASS is a method of your own"""
    runs: int = DEFAULT_RUNS
    """runs of each system, differing in their seeds (at each point of a grid)"""
    seed: int = 0
    """seed of the first run; the others follow: seed + 1, ..."""
    scale: str = DEFAULT_SCALE
    """paper, small (minutes) or tiny (seconds)"""
    grid: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """values to try, all in one stack: step-size=0.01,0.003 or cbp.replacement-rate=1e-6,1e-5"""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the fastest for the benchmark"""
    strategy: Strategy = "auto"
    """how the runs of a stack are computed; results are equal"""
    compile: bool = True
    """compile chunks of steps; not at the scale tiny, unless --compile is given"""
    threads: int = 1
    """CPU threads for each system; as many systems run at once as fit on the cores"""
    out: Path = Path("runs")
    """where run folders go: OUT/BENCHMARK/SYSTEM"""
    data_dir: Path | None = None
    """folder of data sets; otherwise NEOTENY_DATA, or they are downloaded once"""
    track: Tracker | None = None
    """write metrics there too, while it trains: OUT/BENCHMARK/SYSTEM/tensorboard, or mlflow.db beside it"""
    config: Path | None = None
    """a YAML file with the same keys (step_size: 0.003, cbp: {replacement_rate: 1e-5}); options override it"""
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    """go on with unfinished runs of the same configuration, and keep finished ones"""
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False
    """print the resolved configuration and stop"""


@dataclass(frozen=True)
class OptimizerChoice:
    """The optimizer; its other options begin with `--optimizer.`."""

    optimizer: str = "sgd"
    """sgd, adam, adamw, adamo, muon, or MODULE:CLASS of your own"""
    step_size: float = 0.01
    """its step size; --learning-rate is the same"""


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        benchmark: its id.
        running: how to run.
        compile: whether to compile; None where that was not said.
        systems: names of the systems.
        settings: the benchmark's settings that were given.
        methods: the methods' settings that were given, by method.
        grid: the values to try, by setting.
    """

    benchmark: str
    running: Running
    compile: bool | None
    systems: tuple[str, ...]
    settings: dict[str, Any] = field(repr=False)
    methods: dict[str, dict[str, Any]] = field(repr=False)
    grid: dict[str, list[Any]] = field(repr=False)


def parse(benchmark: str, arguments: Sequence[str]) -> Request:
    """Read the options of `neoteny run BENCHMARK`.

    Raises:
        UnknownNameError: there is no such benchmark, option or key.
        SettingError: a value is not possible.
    """
    entry = registry.benchmark(named(benchmark))
    cls = entry.load()
    arguments = _with_own([_as_step_size(token) for token in arguments])
    path = _value_of("config", arguments)
    written = _read(expanded(path)) if path else {}
    for key in ("method", "optimizer"):
        if isinstance(value := written.get(key), str | list):
            written[key] = named(_joined(value))
    scale = _value_of("scale", arguments) or written.get("scale", DEFAULT_SCALE)
    if not isinstance(scale, str):
        raise SettingError(f"{path}: scale = {scale!r} is not a name; give paper, small or tiny.")
    systems = _value_of("method", arguments) or _joined(written.get("method", ""))
    methods = _method_presets(cls, {*_named(systems), *map(_dashed, written), *_owners(arguments)})
    # The file's ways of running are the defaults here; its settings are joined with the command line's below.
    filed, settings, own, grid = _sort_out(written, cls.preset(scale), methods, str(path))
    shown = _with_optimizer(cls, scale, _named(systems), settings, _value_of("optimizer", arguments))
    options = make_dataclass(
        "Options",
        [
            (
                "running",
                Annotated[Running, tyro.conf.OmitArgPrefixes],
                field(default=override(Running(), filed, str(path))),
            ),
            (
                "choice",
                Annotated[OptimizerChoice, tyro.conf.OmitArgPrefixes],
                field(default=OptimizerChoice(shown.optimizer.name, shown.step_size)),
            ),
            ("benchmark", Annotated[cls, tyro.conf.arg(name="")], field(default=shown)),
            *((_underscored(name), type(method), field(default=method)) for name, method in methods.items()),
        ],
        frozen=True,
    )
    flags = dict(_flags(options))
    given = [_known(token, flags) for token in arguments if token.startswith("--")]
    read = parsed(
        options,
        arguments,
        f"neoteny run {benchmark}",
        description=f"{entry.summary}{f' ({entry.source})' if entry.source else ''}.\n\n{_systems(cls)}",
    )
    methods_of = {_underscored(name): name for name in methods}
    # `running.grid` has the axes of the command line only; those of the file are in `grid`.
    grid = {**grid, **_axes(read.running.grid)}
    for group, name in filter(None, given):
        value = attrgetter(f"{group}.{name}")(read)
        setting = "step_size" if name == "optimizer.step_size" else name
        full = f"{group}.{setting}" if group in methods_of else setting
        if full in grid:  # it would be passed over
            raise SettingError(f"--{_dashed(full)} says nothing beside a grid of {full}: leave one of them out.")
        if group in ("benchmark", "choice"):
            settings[setting] = value
        elif group != "running":
            own.setdefault(methods_of[group], {})[setting] = value
    running = read.running
    return Request(
        benchmark=entry.name,
        running=running,
        compile=running.compile if ("running", "compile") in given or "compile" in filed else None,
        systems=tuple(name.strip() for name in running.method.split(",") if name.strip()),
        settings=settings,
        methods=own,
        grid=grid,
    )


def _as_step_size(token: str) -> str:
    """`--learning-rate` and `--optimizer.learning-rate` are other names of the step size."""
    flag, equals, value = token.partition("=")
    if _dashed(flag) in ("--learning-rate", "--optimizer.learning-rate"):
        flag = flag[: -len("learning-rate")] + "step-size"
    return f"{flag}{equals}{value}"


def _with_own(arguments: list[str]) -> list[str]:
    """The names of classes of the user's own, given as MODULE:CLASS, in `--method` and `--optimizer`."""
    before = ["", *arguments]
    return [
        named(token) if flag in _NAMED or token.startswith(tuple(f"{flag}=" for flag in _NAMED)) else token
        for flag, token in zip(before, arguments, strict=False)
    ]


def _with_optimizer(
    cls: type[Benchmark], scale: str, systems: Sequence[str], settings: Mapping[str, Any], name: str | None
) -> Benchmark:
    """The benchmark with the optimizer whose options can be given: the one named, the file's, or the first system's."""
    asked = name or settings.get("optimizer")
    if asked is not None:
        return override(cls.preset(scale), {"optimizer": asked}, cls.ID)
    try:
        return replace(cls.preset(scale), optimizer=preset(cls, systems[0], scale)[0].optimizer)
    except NeotenyError:  # there is no such system, or none was named: `resolve` raises the error
        return cls.preset(scale)


def _method_presets(cls: type[Benchmark], asked: Collection[str]) -> dict[str, Any]:
    """The methods of the benchmark's systems and those asked for, with the settings of the system of that name, if any.

    The help shows these; all methods would be too much to read, and slow to import.
    """
    presets = {m.name: m for system in reversed(list(cls.SYSTEMS.values())) for m in system.methods}
    presets |= {m.name: m for name, system in cls.SYSTEMS.items() for m in system.methods if m.name == name}
    wanted = [name for name in registry.METHODS if name in presets or name in asked]
    wanted += [name for name in presets if name not in wanted]
    return {name: presets.get(name) or registry.METHODS[name].load()() for name in wanted}


def _joined(method: Any) -> Any:
    """Systems as the command line has them; a file may list them."""
    names = method if isinstance(method, list) else [method]
    if not all(isinstance(name, str) for name in names):
        raise SettingError(f"method = {method!r} is not a name, nor a list of names; give backprop, for example.")
    return ",".join(names)


def _named(systems: str) -> list[str]:
    """The names in a value of `--method`."""
    return [_dashed(name.strip()) for name in re.split(r"[,+]", systems)]


def _owners(arguments: Sequence[str]) -> Iterator[str]:
    """The methods whose settings are given: of `--snr.every` or `snr.rejection=0.1` it is `snr`."""
    for token in arguments:
        owner, dot, _ = token.removeprefix("--").partition("=")[0].partition(".")
        if dot:
            yield _dashed(owner)


def _systems(cls: type[Benchmark]) -> str:
    width = max(map(len, cls.SYSTEMS))
    return "systems (--method; any other method of `neoteny list` runs with its defaults):\n" + "\n".join(
        f"  {name:<{width}}  {system.summary}" for name, system in cls.SYSTEMS.items()
    )


def _flags(options: type) -> Iterator[tuple[str, tuple[str, str]]]:
    """Each option as it is typed, with the group and the field that it sets."""
    for group in fields(options):
        prefix = "" if group.name in ("running", "choice", "benchmark") else f"{group.name}."
        names = names_of(group.default)
        if group.name == "benchmark":  # its optimizer is chosen by name, in a group before
            names = ["optimizer.step_size", *(name for name in names if name not in ("optimizer", "step_size"))]
        for name in names:
            yield _dashed(f"--{prefix}{name}"), (group.name, name)
            if isinstance(attrgetter(name)(group.default), bool):
                owner, dot, setting = name.rpartition(".")
                yield _dashed(f"--{prefix}{owner}{dot}no-{setting}"), (group.name, name)


def _known(token: str, flags: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    flag = _dashed(token.partition("=")[0])
    if flag == "--help":
        return None
    if flag not in flags:
        raise UnknownNameError(flag, flags, "option")
    return flags[flag]


def _value_of(name: str, arguments: Sequence[str]) -> str | None:
    """The value of an option that must be known before the others can be read."""
    found = None
    for position, token in enumerate(arguments):
        flag, equals, value = token.partition("=")
        if _dashed(flag) == f"--{name}":
            found = value if equals else next(iter(arguments[position + 1 :]), None)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"--config {path} cannot be read ({error}): give a YAML file of settings.") from error


def _sort_out(
    written: Mapping[str, Any], benchmark: Benchmark, methods: Mapping[str, Any], path: str
) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]], dict[str, list[Any]]]:
    """A file's keys, by what they are about: ways of running, settings, settings of methods, a grid."""
    ways = {option.name for option in fields(Running)} - {"config", "resume", "dry_run"}
    settings = set(names_of(benchmark))
    running: dict[str, Any] = {}
    changed: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    grid: dict[str, list[Any]] = {}
    methods_of = {_underscored(method): method for method in methods}
    for name, value in named_once(benchmark, written, path).items():
        if name == "grid":
            grid = {_name_of(str(axis)): values for axis, values in _mapping(value, "grid", path).items()}
        elif name == "method":
            running[name] = _joined(value)
        elif name in ways:
            running[name] = Path(value) if name in ("out", "data_dir") and isinstance(value, str) else value
        elif name in settings or name.startswith("optimizer."):
            changed[name] = value
        elif name in methods_of:
            own[methods_of[name]] = named_once(
                methods[methods_of[name]], _mapping(value, name, path), f"{name} in {path}"
            )
        else:
            raise UnknownNameError(name, {*ways, *settings, *registry.METHODS}, f"key for {path}")
    override(benchmark, changed, path)
    for name, values in own.items():
        override(methods[name], values, f"{name} in {path}")
    return running, changed, own, grid


def _mapping(value: Any, key: str, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(f"{path}: {key} is {value!r}, not settings; write {key}: {{name: value}}.")
    return value


def _axes(texts: Sequence[str]) -> dict[str, list[Any]]:
    """All `--grid` of the command line."""
    axes: dict[str, list[Any]] = {}
    for name, values in map(_axis, texts):
        if name in axes:  # the second would take the place of the first
            raise SettingError(f"--grid {name} is given twice; give all its values at once: --grid {name}=VALUE,VALUE.")
        axes[name] = values
    return axes


def _name_of(axis: str) -> str:
    """An axis in one spelling, so that the command line's takes the place of the file's."""
    return _underscored(_as_step_size(f"--{axis}").removeprefix("--"))


def _axis(text: str) -> tuple[str, list[Any]]:
    """One `--grid`, taken apart.

    >>> _axis("cbp.replacement-rate=1e-6,1e-5")
    ('cbp.replacement_rate', [1e-06, 1e-05])
    """
    name, equals, values = text.partition("=")
    if not equals or not name or not values:
        raise SettingError(f"--grid {text} is not SETTING=VALUE,VALUE,...; write it like step-size=0.01,0.003.")
    return _name_of(name), [read_value(value) for value in values.split(",")]


def _underscored(name: str) -> str:
    return name.replace("-", "_")


def _dashed(name: str) -> str:
    return name.replace("_", "-")
