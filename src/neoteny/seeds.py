"""Random numbers: one independent generator for each run and purpose.

Run k of an experiment with seed s has run seed s + k. A generator depends on the run seed and the purpose alone. So run
k draws the same numbers alone and in a stack, and more measurements or another method do not change the order of the
data.
"""

from __future__ import annotations

import operator

import numpy as np

from neoteny.errors import SettingError

__all__ = ["DATA", "ENVIRONMENT", "FRESH", "METHOD", "WEIGHTS", "checked_seed", "generator", "run_seeds"]

WEIGHTS = 0
"""Initial weights."""
DATA = 1
"""The problem: targets, permutations, the order of the examples."""
METHOD = 2
"""What a method draws: fresh weights, perturbations, random choices."""
ENVIRONMENT = 3
"""Environments and the actions taken in them."""
FRESH = 4
"""Networks that begin anew beside a run, one generator a task."""


def generator(run_seed: int, purpose: int, *extra: int) -> np.random.Generator:
    """The generator of one run for one purpose.

    Args:
        run_seed: the run's own seed, at least 0.
        purpose: `WEIGHTS`, `DATA`, `METHOD`, `ENVIRONMENT` or `FRESH`.
        extra: further whole numbers, if a purpose needs several generators (a layer, a probe).

    The same arguments give the same numbers on every machine:

    >>> int(generator(7, DATA).integers(1000)) == int(generator(7, DATA).integers(1000))
    True
    >>> float(generator(7, DATA).random()) != float(generator(7, WEIGHTS).random())
    True
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([run_seed, purpose, *extra])))


def run_seeds(seed: int, runs: int) -> tuple[int, ...]:
    """The run seeds of an experiment.

    >>> run_seeds(3, 4)
    (3, 4, 5, 6)
    """
    return tuple(range(seed, seed + runs))


def checked_seed(value: object, where: str = "seed") -> int:
    """A seed as an int.

    Raises:
        SettingError: it is not a whole number, or negative.
    """
    try:
        seed = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        seed = -1
    if seed < 0:
        raise SettingError(f"{where} = {value!r}: a seed is a whole number of at least 0.")
    return seed
