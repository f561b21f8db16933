"""Classical conditioning: stimuli that announce an outcome some steps ahead, among others that announce nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neoteny.checks import require, require_count, require_fraction
from neoteny.errors import UnknownNameError
from neoteny.streams.base import Stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SETTINGS", "Conditioning", "Distraction"]

Distraction = Literal["always", "trials"]
Range = tuple[int, int]

SETTINGS = (
    *("stimuli", "present", "announcing", "share", "interval", "pause", "stimulus_length", "outcome_length"),
    *("distractors", "distraction", "noise", "discount", "memory"),
)
"""What a stream is made with, beside seeds and the length of its stretches."""
_FORGOTTEN = 1e-6  # what comes so much discounted is left out of returns


class Conditioning(Stream):
    r"""Trials, each of stimuli (CS) and later an outcome (US); the outcome's discounted sum is to be predicted.

    At the onset of a trial `present` of the `stimuli` come on, for `stimulus_length` steps. The sets of stimuli that
    may come on are the patterns; for each run `announcing` of them are drawn that announce the outcome, and a trial
    shows one of these with probability `share`. The outcome then comes on after an interval drawn from `interval`
    (counted from onset to onset), for `outcome_length` steps; with probability `noise` the trial ends the other way.
    The next trial begins after a pause drawn from `pause`, counted from where the outcome comes on or would have.

    `distractors` further stimuli last as long and announce nothing. `always`: the i-th of them, from 1, comes on with
    probability 1 / (10 i) in every step in which it is off. `trials`: at the onset of a trial each comes on with
    probability 1/2.

    An observation is the vector of 0 and 1 of outcome, stimuli and distractors. The inputs x_t are the last `memory`
    observations, the oldest first (a complete serial compound): with memory 1 a learner must remember by itself. The
    cumulant of the step from t to t + 1 is the outcome at t + 1, c_(t+1), and the return G_t = sum_k gamma^k c_(t+1+k).

    Args:
        seeds: the runs' seeds.
        stimuli: number of stimuli.
        present: how many of them a trial shows.
        announcing: how many patterns announce the outcome.
        share: probability of such a pattern.
        interval: least and most steps from the onset of the stimuli to that of the outcome.
        pause: least and most steps from there to the next onset of stimuli.
        stimulus_length: steps that stimuli and distractors last.
        outcome_length: steps that the outcome lasts.
        distractors: number of distractors.
        distraction: when they come on.
        noise: share of trials that end the other way.
        discount: gamma in [0, 1), for the returns.
        memory: observations in an input.
        task_length: the stream is drawn in stretches of so many steps; a trial that would not end in its stretch is
            left out.

    Shapes: inputs and next inputs [R, steps, 1, n], cumulants and returns [R, steps, 1, 1], n = memory * (1 + stimuli +
    distractors).

    Raises:
        SettingError: a setting out of range; stretches too short for a trial or for the discount.
        UnknownNameError: `distraction` is none of the above.

    >>> stream = Conditioning([0, 1], task_length=400)
    >>> x, following, cumulants, returns = stream.next(500)
    >>> x.shape, returns.shape, bool((x[:, 1:] == following[:, :-1]).all())
    (torch.Size([2, 500, 1, 12]), torch.Size([2, 500, 1, 1]), True)
    >>> bool((returns[:, :-1] - (cumulants + 0.9 * returns.roll(-1, 1))[:, :-1]).abs().max() < 1e-5)
    True

    Source: Rafiee, Abbas, Ghiassian, Kumaraswamy, Sutton, Ludvig & White, "From eye-blinks to state construction:
    diagnostic benchmarks for online representation learning", Adaptive Behavior 31, 2023. Theirs has memory 1.
    """

    PARTS: tuple[str, ...] = ("inputs", "next", "cumulants", "returns")

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        stimuli: int = 1,
        present: int = 1,
        announcing: int = 1,
        share: float = 1.0,
        interval: Range = (7, 13),
        pause: Range = (80, 120),
        stimulus_length: int = 4,
        outcome_length: int = 2,
        distractors: int = 10,
        distraction: Distraction = "always",
        noise: float = 0.0,
        discount: float = 0.9,
        memory: int = 1,
        task_length: int = 10_000,
    ):
        super().__init__(seeds, task_length)
        self.stimuli, self.present, self.announcing, self.share = stimuli, present, announcing, float(share)
        self.interval, self.pause = list(interval), list(pause)  # as a state is saved
        self.stimulus_length, self.outcome_length = stimulus_length, outcome_length
        self.distractors, self.distraction, self.noise = distractors, distraction, float(noise)
        self.discount, self.memory = float(discount), memory
        self._check()
        self.inputs = memory * (1 + stimuli + distractors)
        self._patterns = np.array([np.isin(np.arange(stimuli), on) for on in combinations(range(stimuli), present)])
        # the first `announcing` of a run's order announce the outcome
        self._orders = [self._problem_generator(seed).permutation(len(self._patterns)) for seed in self.seeds]
        self._stretches: dict[int, np.ndarray] = {}

    def _check(self) -> None:
        if self.distraction not in get_args(Distraction):
            raise UnknownNameError(self.distraction, get_args(Distraction), "distraction")
        require_count(self, "stimuli", "present", "announcing", "stimulus_length", "outcome_length", "memory", least=1)
        require_count(self, "distractors")
        require_fraction(self, "share", "noise", "discount")
        require(self, "present", self.present <= self.stimuli, f"at most the {self.stimuli} stimuli")
        most = comb(self.stimuli, self.present)
        require(self, "announcing", self.announcing <= most, f"at most the {most} patterns")
        require(self, "share", self.announcing < most or self.share == 1, "1, as all patterns announce the outcome")
        for name, (least, longest), above in (
            ("interval", self.interval, 1),
            ("pause", self.pause, self.outcome_length),
        ):
            require(self, name, above <= least <= longest, f"two whole numbers from {above} on, the smaller first")
        trial = max(self.pause[1] + self.interval[1] + self.outcome_length, self.memory)
        require(self, "task_length", self.length_of(0) >= trial, f"at least {trial}: a trial, and what is remembered")
        forgotten = self.discount ** self.length_of(0) <= _FORGOTTEN
        require(self, "task_length", forgotten, f"so long that the discount {self.discount} forgets over it")

    def _begin_task(self, task: int, again: bool) -> None:
        import torch
        from scipy.signal import lfilter

        there = self._stretches
        around = range(max(task - 1, 0), task + 2)  # before: what is remembered; after: what returns still get
        self._stretches = {
            number: there[number] if number in there else self._drawn(self._task_generator, number) for number in around
        }
        both = np.concatenate([self._stretches[task], self._stretches[task + 1]], axis=1)
        outcomes = both[..., 0].astype(np.float64)
        following = np.roll(outcomes, -1, axis=1)
        following[:, -1] = 0.0
        returns = np.asarray(lfilter([1.0], [1.0, -self.discount], following[:, ::-1], axis=1))[:, ::-1]
        keep = self.memory - 1
        before = self._stretches.get(task - 1)
        past = (
            np.zeros((self.runs, keep, both.shape[2]), bool) if before is None else before[:, len(before[0]) - keep :]
        )
        length = self.length_of(task)
        self._signals = torch.from_numpy(np.concatenate([past, both[:, : length + 1]], axis=1))
        self._cumulants = torch.from_numpy(following[:, :length].astype(np.float32))
        self._returns = torch.from_numpy(returns[:, :length].astype(np.float32))

    def _drawn(self, generators: Any, task: int) -> np.ndarray:
        """The observations of a stretch, bool [R, length, signals]."""
        return np.stack(
            [self._stretch(generators(seed, task), order) for seed, order in zip(self.seeds, self._orders, strict=True)]
        )

    def _stretch(self, rng: np.random.Generator, order: np.ndarray) -> np.ndarray:
        """One run's observations, bool [length, signals]."""
        length = self.length_of(0)
        most = length // (self.interval[0] + self.pause[0]) + 1  # trials
        intervals = rng.integers(self.interval[0], self.interval[1] + 1, most)
        outcomes = np.cumsum(rng.integers(self.pause[0], self.pause[1] + 1, most) + intervals)
        announced, otherwise, rank = rng.random(most) < self.share, rng.random(most) < self.noise, rng.random(most)
        distracting = rng.random((most, self.distractors)) < 0.5
        others = len(order) - self.announcing
        place = np.where(announced, rank * self.announcing, self.announcing + rank * others).astype(int)
        patterns = self._patterns[order[np.minimum(place, len(order) - 1)]]

        found = np.zeros((length, 1 + self.stimuli + self.distractors), bool)
        stimuli, distractors = found[:, 1 : 1 + self.stimuli], found[:, 1 + self.stimuli :]
        for trial in np.flatnonzero(outcomes + self.outcome_length <= length):
            onset, outcome = outcomes[trial] - intervals[trial], outcomes[trial]
            stimuli[onset : onset + self.stimulus_length] |= patterns[trial]
            if announced[trial] != otherwise[trial]:
                found[outcome : outcome + self.outcome_length, 0] = True
            if self.distraction == "trials":
                distractors[onset : onset + self.stimulus_length] |= distracting[trial]
        if self.distraction == "always":
            for number, signal in enumerate(distractors.T, start=1):
                _come_and_go(rng, signal, 1 / (10 * number), self.stimulus_length)
        return found

    def _take(self, start: int, stop: int) -> tuple[Tensor, ...]:
        windows = self._windows(self._signals[:, start : stop + self.memory])[:, :, None]  # one more, for the next
        labels = (self._cumulants[:, start:stop, None, None], self._returns[:, start:stop, None, None])
        return windows[:, :-1], windows[:, 1:], *labels

    def _windows(self, signals: Tensor) -> Tensor:
        """Inputs from observations [R, T, signals]: [R, T - memory + 1, n], which share their memory."""
        return signals.float().flatten(1).unfold(1, self.inputs, signals.shape[2])

    def _probe(self, examples: int) -> Tensor:
        import torch

        drawn = self._drawn(lambda seed, _: self._probe_generator(seed), 0)
        windows = self._windows(torch.from_numpy(drawn))
        places = [self._probe_generator(seed).integers(0, windows.shape[1], examples) for seed in self.seeds]
        return torch.stack([windows[run][place] for run, place in enumerate(places)])

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {name: getattr(self, name) for name in SETTINGS}


def _come_and_go(rng: np.random.Generator, signal: np.ndarray, probability: float, lasts: int) -> None:
    """Switch a signal on with a probability in every step in which it is off, for some steps."""
    waits = rng.geometric(probability, len(signal) // lasts + 1)  # steps up to the next onset, that one included
    for onset in np.cumsum(waits) + lasts * np.arange(len(waits)) - 1:
        signal[onset : onset + lasts] = True
