"""What the direct measure of plasticity says: errors on new targets, their difference, its interval, a verdict.

Every repetition trains a copy of the network and a new network on the same new targets. The pairs differ from one
repetition to the next by targets, new network and order of batches; the interval comes from their spread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Trainability"]

WORSE = 0.125
"""So much larger is the error of a network that learns worse, where the whole interval lies above 0. Chosen, as is
`AS_NEW`, on one half of the networks of docs/evidence/checkup.md and tested on the other."""
AS_NEW = 0.065
"""Up to this difference, at the upper end of the interval, a network learns as well as a new one."""
LEVEL = 0.95


@dataclass(frozen=True)
class Trainability:
    """How well a network still learns, against new networks of its kind.

    The error is the share of wrong answers for classes, and for values the squared error as a share of the variance of
    the targets: the mean over the steps, before each of them.

    Attributes:
        errors: the network's error in each repetition; infinite if training diverged.
        fresh_errors: the new networks' errors.
        steps: number of training steps.
        learns: what is learned, in words.
        readiness: the network's optimization readiness at its start, in each repetition: the squared norm of the mean
            gradient over minibatches, divided by the mean of their squared norms. 1: all batches pull in one direction;
            near 1 / batches: they contradict each other. NaN where all examples are one batch.
        fresh_readiness: the new networks'.
        slowed: by what the optimizer's step size was multiplied, for both networks, so that neither diverged.
        own_optimizer: whether the optimizer is the user's. Without it there is no verdict: learning by another one says
            little about it (docs/evidence/checkup.md).
        guessed: parameters whose initial distribution had to be guessed; new networks may differ there from the
            network at its start.
    """

    errors: tuple[float, ...]
    fresh_errors: tuple[float, ...]
    steps: int
    learns: str = "values"
    readiness: tuple[float, ...] = ()
    fresh_readiness: tuple[float, ...] = ()
    slowed: float = 1.0
    own_optimizer: bool = True
    guessed: tuple[str, ...] = ()

    @property
    def differences(self) -> tuple[float, ...]:
        """The network's error less the new network's, for each repetition."""
        return tuple(own - fresh for own, fresh in zip(self.errors, self.fresh_errors, strict=True))

    @property
    def difference(self) -> float:
        """Their mean: 0 is as good as new, more is worse; infinite if training diverged."""
        return sum(self.differences) / len(self.differences)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of `difference`, by Student's t; without bounds if there is one repetition.

        >>> low, high = Trainability((0.42, 0.46), (0.3, 0.3), 200).interval
        >>> round(low, 2), round(high, 2)
        (-0.11, 0.39)
        """
        from scipy.special import stdtrit

        n, mean = len(self.differences), self.difference
        if not math.isfinite(mean):
            return mean, mean
        if n < 2:
            return -math.inf, math.inf
        error = math.sqrt(sum((each - mean) ** 2 for each in self.differences) / (n - 1) / n)
        half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
        return mean - half, mean + half

    @property
    def losing(self) -> bool | None:
        """Whether the network learns worse than a new one; None if undecided, or not measured by the own optimizer."""
        if not self.own_optimizer:
            return None
        low, high = self.interval
        if self.difference > WORSE and low > 0:
            return True
        return False if high <= AS_NEW else None

    @property
    def ready(self) -> float | None:
        """The network's readiness divided by the new networks', both the mean over the repetitions; None if unknown."""
        own, fresh = sum(self.readiness), sum(self.fresh_readiness)
        return own / fresh if self.readiness and math.isfinite(own) and fresh > 0 else None

    @property
    def verdict(self) -> str:
        """Slower, as young as new, or undecided, with the numbers."""
        own, fresh = (sum(each) / len(each) for each in (self.errors, self.fresh_errors))
        low, high = self.interval
        open_ = "undecided" if self.own_optimizer else "none without your optimizer, so give it"
        word = {True: "slower than a new network", False: "as young as new", None: open_}[self.losing]
        return (
            f"{word}: its error on new targets is {own:.1%}, a new network's {fresh:.1%}, "
            f"{100 * self.difference:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
        )

    def __str__(self) -> str:
        text = f"{self.verdict} ({self.learns}, {self.steps} steps, {len(self.errors)} repetitions"
        slowed = f", at {self.slowed:g} of the step size, as copies diverge at the full one" if self.slowed < 1 else ""
        return f"{text}{slowed})"
