"""Points that Optuna's samplers propose, and that its pruners give up after some of the tuning seeds.

Trials are asked for and told in a fixed order with a seeded sampler, and the study is made anew from the scores each
time. So the same scores give the same points, and no database is needed.

A stack trains all its points side by side, so a pruner acts between seeds: with one, each batch of trials is run seed
by seed, and a trial whose mean so far is judged hopeless is not run with the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neoteny.checks import require_count
from neoteny.errors import MissingPackageError, UnknownNameError
from neoteny.sweeps.searching import Batch, Range, Search, Told, below_one

__all__ = ["PRUNERS", "SAMPLERS", "Optuna"]

SAMPLERS = {
    "tpe": ("TPESampler", {"constant_liar": True}),  # several trials are asked for at once
    "random": ("RandomSampler", {}),
    "qmc": ("QMCSampler", {}),
    "gp": ("GPSampler", {}),
    "cmaes": ("CmaEsSampler", {}),
}
"""Optuna's class and its options by name."""
PRUNERS = {
    "": ("NopPruner", {}),
    "median": ("MedianPruner", {"n_startup_trials": 4}),
    "successive-halving": ("SuccessiveHalvingPruner", {"min_resource": 1, "reduction_factor": 2}),
}
"""The same of pruners; one step is one tuning seed."""


@dataclass(frozen=True)
class Optuna(Search):
    """Trials of Optuna.

    Args:
        space: a range or a list of values by setting.
        trials: how many points are tried.
        at_once: how many of them in one batch; the next batch knows their scores.
        sampler: one of `SAMPLERS`.
        pruner: one of `PRUNERS`; empty for none.
        seed: of the sampler.

    Raises:
        MissingPackageError: Optuna is not installed.
        UnknownNameError: there is no such sampler or pruner.
        SettingError: fewer than one trial, or numbers that are not whole.
    """

    space: Mapping[str, Range | Sequence[Any]]
    trials: int = 20
    at_once: int = 5
    sampler: str = "tpe"
    pruner: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
            if (own := str(getattr(self, name))) not in known:
                raise UnknownNameError(own, filter(None, known), f"{name} of Optuna")
        require_count(self, "trials", "at_once", least=1)
        require_count(self, "seed")
        _imported()

    @property
    def most(self) -> int:
        """`trials`."""
        return self.trials

    def propose(self, told: Sequence[Told], seeds: int) -> Batch | None:
        """The next trials, or the next seed of those that go on."""
        optuna = _imported()
        study, known = self._study(optuna), iter(told)
        rounds = [(first, 1) for first in range(seeds)] if self.pruner else [(0, seeds)]
        space = {name: _distribution(optuna, values) for name, values in self.space.items()}
        for begun in range(0, self.trials, self.at_once):
            going = [study.ask(space) for _ in range(min(self.at_once, self.trials - begun))]
            losses: dict[int, list[float]] = {trial.number: [] for trial in going}
            for step, (first, count) in enumerate(rounds):
                if not going:
                    break
                here = next(known, None)
                if here is None:
                    return Batch(tuple(self._point(trial) for trial in going), first, count)
                for trial, found in zip(list(going), here.losses, strict=True):
                    losses[trial.number] += found.tolist()
                    mean = float(np.mean(losses[trial.number]))
                    if not np.isfinite(mean):
                        study.tell(trial, state=optuna.trial.TrialState.FAIL)
                        going.remove(trial)
                        continue
                    trial.report(mean, step)
                    if step < len(rounds) - 1 and trial.should_prune():
                        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                        going.remove(trial)
            for trial in going:
                study.tell(trial, float(np.mean(losses[trial.number])))
        return None

    def _point(self, trial: Any) -> dict[str, Any]:
        """The settings of a trial; to five digits, as elsewhere."""

        def told(value: Any, axis: Range | Sequence[Any]) -> Any:
            if isinstance(axis, Range) and axis.near_one:  # the trial is of the distance to 1
                return below_one(value)
            return float(f"{value:.5g}") if isinstance(value, float) else value

        return {name: told(value, self.space[name]) for name, value in trial.params.items()}

    def _study(self, optuna: Any) -> Any:
        import warnings

        sampler, options = SAMPLERS[self.sampler]
        pruner, rest = PRUNERS[self.pruner]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.create_study(
                sampler=getattr(optuna.samplers, sampler)(seed=self.seed, **options),
                pruner=getattr(optuna.pruners, pruner)(**rest),
            )


def _distribution(optuna: Any, values: Range | Sequence[Any]) -> Any:
    if not isinstance(values, Range):
        return optuna.distributions.CategoricalDistribution(tuple(values))
    if values.whole:
        return optuna.distributions.IntDistribution(int(values.low), int(values.high), log=values.log)
    if values.near_one:
        return optuna.distributions.FloatDistribution(1 - values.high, 1 - values.low, log=True)
    return optuna.distributions.FloatDistribution(values.low, values.high, log=values.log)


def _imported() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(f"Optuna is not installed ({error}): pip install 'neoteny[tune]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
