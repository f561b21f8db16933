"""It acts; and with a strength of zero it does not, and says so."""

from __future__ import annotations

import warnings
from collections.abc import Callable

from torch import Tensor

from neoteny.errors import PlasticityWarning
from neoteny.testing.comparing import difference, expect
from neoteny.testing.contract.base import check, same
from neoteny.testing.trial import STEPS, Trial


@check("pairs")
def acts(trial: Trial) -> None:
    """The method does nothing with settings that should act, so whoever uses it trains without it."""
    found = difference(trial.original.trained, trial.trained) or difference(trial.trained, trial.evaluated)
    expect(found is not None, f"a difference to the bare optimizer after {STEPS} steps", "every bit is the same")


@check("pairs")
def stays_finite(trial: Trial) -> None:
    """The method makes weights or optimizer state infinite or NaN where training alone does not."""
    for name, value in trial.evaluated.items():
        if isinstance(value, Tensor) and not name.startswith("plasticity"):
            expect(bool(value.isfinite().all()), f"finite numbers after {STEPS} steps", f"{name} is not finite")


@check("pairs", inactive=True)
def strength_zero_is_the_bare_optimizer(trial: Trial) -> None:
    """Even a strength of zero changes training, so comparisons with and without the method compare something else."""
    same(trial.bare.trained, trial.evaluated, "the bits of the bare optimizer")


@check("once", inactive=True)
def warns_where_it_can_never_act(trial: Trial) -> None:
    """A method that can never do anything is attached without a word, and an experiment is wasted."""
    assert trial.method is not None
    if trial.method.prepares:
        return  # what it does it has done
    if not _warnings(trial.start):
        clock = trial.method.schedule(trial.model.units(), 0)
        ever = clock is not None and bool(clock.take(2 * 10**6).any())
        expect(ever, "a reason from inert(), since nothing will ever be due", "inert() returned None")


@check("once")
def does_not_warn_where_it_acts(trial: Trial) -> None:
    """A method that acts is announced as one that never will."""
    words = _warnings(lambda: trial.start().train_over_tasks(trial.batches()))
    expect(not words, "no warning", "; ".join(words))


def _warnings(function: Callable[[], object]) -> list[str]:
    """What is said of methods that can never act; of optimizers there may be other things to say."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    words = [str(warning.message) for warning in caught if issubclass(warning.category, PlasticityWarning)]
    return [said for said in words if said.startswith("Nothing will ever happen")]
