"""Run every check on a method, and say all that is wrong with it at once."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from neoteny.errors import ContractError, NetworkError, SettingError
from neoteny.methods.base import Method
from neoteny.testing.comparing import Violation
from neoteny.testing.contract import CHECKS, Check
from neoteny.testing.models import MODELS, Model
from neoteny.testing.optimizers import OPTIMIZERS, OptimizerCase
from neoteny.testing.trial import Trial, unobtrusive

__all__ = ["ContractReport", "Failure", "check_method", "checks"]


@dataclass(frozen=True)
class Failure:
    """A promise that was not kept.

    Attributes:
        check: the check's name.
        method: the method with its settings.
        model: the network it was tried on.
        optimizer: the optimizer.
        expected: what should have been.
        happened: what was.
    """

    check: str
    method: str
    model: str
    optimizer: str
    expected: str
    happened: str


@dataclass
class ContractReport:
    """What the checks found; prints as text.

    Attributes:
        method: name of the method's class.
        trials: for each check how often it was tried.
        failures: what was wrong.
        left_out: checks that could not be run, and why.
        refused: networks that the method refuses to prepare, and why.
    """

    method: str
    trials: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        """Names of the checks that failed."""
        return list(dict.fromkeys(failure.check for failure in self.failures))

    def __str__(self) -> str:
        if self.failures:
            lines = [f"{self.method} breaks {len(self.broken)} of its {len(self.trials)} promises:"]
        else:
            lines = [f"{self.method} keeps its {len(self.trials)} promises in {sum(self.trials.values())} trials."]
        for name in self.broken:
            lines += ["", name, f"    {CHECKS[name].meaning}"]
            for failure in self.failures:
                if failure.check == name:
                    lines += [
                        f"    {failure.method} on {failure.model} with {failure.optimizer}",
                        f"        expected: {failure.expected}",
                        f"        happened: {failure.happened}",
                    ]
        lines += [f"{name} was left out: {why}" for name, why in self.left_out.items()]
        lines += [f"It refuses the network {name}: {why}" for name, why in self.refused.items()]
        return "\n".join(lines)


def checks() -> Mapping[str, str]:
    """The names of all checks, with what a violation of each means for a user.

    >>> checks()["frozen_parameters"]
    'Parameters that the user froze change.'
    """
    return {name: check.meaning for name, check in CHECKS.items()}


def check_method(
    method: type[Method] | Method,
    *,
    active: Method | Iterable[Method] | None = None,
    inactive: Method | Iterable[Method] | None = None,
    models: Iterable[Model] | None = None,
    optimizers: Iterable[OptimizerCase] | None = None,
    still: Method | Iterable[Method] | None = None,
) -> ContractReport:
    """Check that a method keeps its contract, on tiny networks and many optimizers, in some seconds.

    Each network and each optimizer is tried at least once, but not every pair of them. Of several active methods the
    first is tried on all these pairs, each further one on a third of them.

    Args:
        method: a class that declares in `Method.contract` what is tried, or one that acts within ten updates.
        active: methods that act within ten updates, in place of those that the class declares.
        inactive: methods of strength zero, likewise; without any, their checks are left out.
        models: the networks, by default all of `neoteny.testing.MODELS`.
        optimizers: the optimizers, by default all of `neoteny.testing.OPTIMIZERS`.
        still: the old name of `inactive`; it will go.

    Returns:
        The report, which tells how often each check was tried.

    Raises:
        ContractError: some checks failed; all that failed are in its message and in its `report`.
        SettingError: there is nothing to try.

    >>> from dataclasses import dataclass
    >>> from neoteny.methods import Method
    >>> from neoteny.checks import require_fraction
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Shrink(Method):
    ...     rate: float = 0.01
    ...
    ...     def __post_init__(self):
    ...         require_fraction(self, "rate")
    ...
    ...     def inert(self):
    ...         return "rate = 0, so no weight shrinks" if self.rate == 0 else None
    ...
    ...     def intervene(self, step, state, due):
    ...         for name in step.parameters():
    ...             step.tensors[name] = (1 - self.rate) * step.tensors[name]
    ...         return state
    >>> report = check_method(Shrink(), inactive=Shrink(rate=0), models=[MODELS["mlp"]])
    >>> print(report)
    Shrink keeps its 26 promises in ... trials.
    """
    if still is not None:
        warnings.warn("check_method: `still` is now called `inactive`.", DeprecationWarning, stacklevel=2)
        inactive = still
    cls, acting, idle = _instances(method, active, inactive)
    pairs = _Pairs.of(list(models or MODELS.values()), list(optimizers or OPTIMIZERS.values()))
    report = ContractReport(cls.__name__)
    with unobtrusive():
        for inactive_ones, own in ((False, acting), (True, idle)):
            for number, instance in enumerate(own):
                some = pairs if inactive_ones or not number else pairs.part(number)
                _try_all(instance, inactive_ones, some.prepared(instance, report), report)
    if not idle:
        why = "no method of strength zero was given (`inactive`)"
        report.left_out = {check.name: why for check in CHECKS.values() if check.inactive}
    if report.failures:
        raise ContractError(report)
    return report


def _instances(
    method: type[Method] | Method, active: Method | Iterable[Method] | None, inactive: Method | Iterable[Method] | None
) -> tuple[type[Method], list[Method], list[Method]]:
    cls = method if isinstance(method, type) else type(method)
    if not issubclass(cls, Method):
        raise SettingError(f"check_method: {method!r} is no method; give a subclass of neoteny.methods.Method.")
    declared = cls.contract() if isinstance(method, type) else ([method], [])
    acting = list(declared[0]) if active is None else _listed(active)
    if not acting:
        raise SettingError(
            f"check_method: {cls.__name__} does not say with which settings it acts within ten updates; write a "
            "class method `contract` that returns such methods and ones of strength zero, or give them: "
            f"check_method({cls.__name__}(...), inactive={cls.__name__}(...))."
        )
    return cls, acting, list(declared[1]) if inactive is None else _listed(inactive)


def _listed(methods: Method | Iterable[Method]) -> list[Method]:
    return [methods] if isinstance(methods, Method) else list(methods)


@dataclass(frozen=True)
class _Pairs:
    """Networks with optimizers, and for each extent of a check on how many of them it is tried."""

    all: tuple[tuple[Model, OptimizerCase], ...]
    counts: Mapping[str, int]

    @classmethod
    def of(cls, models: Sequence[Model], optimizers: Sequence[OptimizerCase]) -> _Pairs:
        count = max(len(models), len(optimizers))
        pairs = tuple((models[i % len(models)], optimizers[i % len(optimizers)]) for i in range(count))
        return cls(pairs, {"once": 1, "models": len(models), "pairs": count})

    def prepared(self, method: Method, report: ContractReport) -> _Pairs:
        """The pairs whose networks the method can prepare; what it refuses is told."""
        if not method.prepares:
            return self
        own: dict[str, Model] = {}
        for model, _ in self.all:
            if model.name not in own and model.name not in report.refused:
                try:
                    own[model.name] = model.prepared(method)
                except NetworkError as error:
                    report.refused[model.name] = str(error)
        kept = tuple((own[model.name], optimizer) for model, optimizer in self.all if model.name in own)
        return _Pairs(kept, self.counts)

    def part(self, number: int) -> _Pairs:
        """A third of them, for each `number` another."""
        counts = {extent: -(-count // 3) for extent, count in self.counts.items()}
        start = number * counts["pairs"] % len(self.all)
        return _Pairs(self.all[start:] + self.all[:start], counts)


def _try_all(method: Method, inactive: bool, pairs: _Pairs, report: ContractReport) -> None:
    trials = [Trial(method, *pair) for pair in pairs.all]  # shared by the checks, as they remember their training
    for check in CHECKS.values():
        if check.inactive == inactive:
            for trial in trials[: pairs.counts[check.over]]:
                report.trials[check.name] = report.trials.get(check.name, 0) + 1
                report.failures += _failures(check, trial)


def _failures(check: Check, trial: Trial) -> Iterator[Failure]:
    def failure(expected: str, happened: str) -> Failure:
        names = (str(trial.method), trial.model.name, trial.optimizer.name)
        return Failure(check.name, *names, expected, happened)

    try:
        check.run(trial)
    except Violation as violation:
        yield failure(violation.expected, violation.happened)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}:{frame.lineno}"
        yield failure("no error", f"{type(error).__name__}: {error} ({where})")
