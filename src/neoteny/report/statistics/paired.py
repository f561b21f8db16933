"""Comparisons of many systems on the same seeds: paired differences, corrected for their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neoteny.errors import SettingError
from neoteny.report.statistics.intervals import mean_interval

__all__ = ["Difference", "differences", "holm", "paired_differences"]


@dataclass(frozen=True)
class Difference:
    """How much larger the scores of a system are than those of another, on the same seeds.

    Attributes:
        mean: of the differences.
        low: lower bound of its 95 % interval (Student's t, of this comparison alone).
        high: upper bound.
        p: of a two-sided paired t test, corrected for the number of comparisons.
        n: how many seeds were compared; 0 where it was not counted.
    """

    mean: float
    low: float
    high: float
    p: float
    n: int = 0


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Holm's correction: with p_(1) <= ... <= p_(m) the largest (m - j + 1) p_(j) up to each place, at most 1.

    Rejecting where the result is below alpha makes one false rejection or more with probability alpha at most.

    Args:
        p: p-values, [m].

    >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
    [0.03, 0.06, 0.06]

    Source: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    found = np.asarray(p, dtype=np.float64)
    order = np.argsort(found, kind="stable")
    steps = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    corrected = np.empty_like(found)
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def differences(scores: Mapping[str, ArrayLike], to: str) -> dict[str, Difference]:
    """Each system's difference to one of them, with p-values corrected together.

    Args:
        scores: of each system the score of each seed, [n], in the same order of seeds.
        to: the system that the others are compared with.

    Raises:
        SettingError: unequal numbers of scores, fewer than two, or a score that is not finite.

    >>> found = differences({"a": [1.0, 2.0, 3.1], "b": [2.0, 3.0, 4.0]}, to="a")
    >>> round(found["b"].mean, 2), found["b"].p < 0.01
    (0.97, True)
    """
    values = {name: np.asarray(each, dtype=np.float64) for name, each in scores.items()}
    base = values[to]
    for name, each in values.items():
        if each.shape != base.shape or each.ndim != 1 or len(each) < 2 or not np.isfinite(each).all():
            raise SettingError(
                f"the scores of {name} have shape {each.shape}, those of {to} {base.shape}: give one finite score for "
                "each seed, of two seeds or more."
            )
    others = [name for name in values if name != to]
    found, raw = {}, []
    for name in others:
        own = values[name] - base
        raw.append(_p(own))
        interval = mean_interval(own[:, None])
        found[name] = [float(bound[0]) for bound in (interval.mean, interval.low, interval.high)]
    return {name: Difference(*found[name], p=float(p)) for name, p in zip(others, holm(raw), strict=True)}


def _p(own: NDArray[np.float64]) -> float:
    """The two-sided p-value of Student's t test that differences have the mean 0: P(|T| > |mean| sqrt(n) / s).

    Differences that are all the same, as those of shares of few examples may be, have no spread that the test could
    use: then it is that of the sign test, 2^(1 - n), or 1 where they are 0.

    >>> _p(np.array([-0.2, -0.2])), _p(np.zeros(2)), round(_p(np.array([1.0, 2.0, 3.0])), 3)
    (0.5, 1.0, 0.074)
    """
    from scipy.special import stdtr

    mean, spread = own.mean(), own.std(ddof=1)
    if spread <= 1e-12 * abs(mean):
        return 2.0 ** (1 - len(own)) if mean else 1.0
    return float(2 * stdtr(len(own) - 1, -abs(mean) * len(own) ** 0.5 / spread))


def paired_differences(scores: Mapping[str, Mapping[int, float]], to: str) -> dict[str, Difference]:
    """As `differences`, where systems have scores of different seeds: each pair is compared on the seeds of both.

    Args:
        scores: of each system the finite score of each seed that has one.
        to: the system that the others are compared with.

    Returns:
        The systems that share two seeds or more with `to`; p-values are corrected for their number.

    >>> scores = {"a": {0: 1.0, 1: 2.0, 2: 3.1}, "b": {1: 3.0, 2: 4.0, 7: 9.0}, "c": {5: 1.0}}
    >>> found = paired_differences(scores, to="a")
    >>> [(name, round(one.mean, 2), one.n) for name, one in found.items()]
    [('b', 0.95, 2)]
    """
    found: dict[str, Difference] = {}
    for name, own in scores.items():
        seeds = sorted(own.keys() & scores[to].keys())
        if name != to and len(seeds) > 1:
            pair = {to: [scores[to][seed] for seed in seeds], name: [own[seed] for seed in seeds]}
            found[name] = replace(differences(pair, to)[name], n=len(seeds))
    corrected = holm([one.p for one in found.values()]) if found else []
    return {name: replace(one, p=float(p)) for (name, one), p in zip(found.items(), corrected, strict=True)}
