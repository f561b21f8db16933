"""Operant conditioning: a few signals say which action is rewarded, among many that are noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from neoteny.checks import require, require_count, require_nonnegative
from neoteny.streams.base import Stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Operant"]


class Operant(Stream):
    """Binary signals, and the reward that each action would get.

    Some signals are cues. After a pause drawn from `pause` one of them, drawn at random, is on for one step; then the
    action of its number, from 1, gets a reward of 1. Every action but action 0, which does nothing, costs `cost`. All
    other signals are noise: each is on in every step with a probability of its own, drawn between 0 and 1/10 anew for
    each task. The signals are in another order in each run.

    Args:
        seeds: the runs' seeds.
        signals: n.
        cues: cues, and actions beside action 0.
        pause: least and most steps from cue to cue.
        cost: of acting.
        task_length: steps from one distribution of the noise to the next.

    Shapes: inputs and next inputs [R, steps, 1, n], rewards [R, steps, 1, 1 + cues]: those of the step's actions.

    Raises:
        SettingError: a setting out of range.

    >>> x, following, rewards = Operant([0, 1], signals=30, task_length=100).next(150)
    >>> x.shape, rewards.shape, float(rewards.max())
    (torch.Size([2, 150, 1, 30]), torch.Size([2, 150, 1, 3]), 0.9...)

    Source: after Javed & Sutton, "Swift-Sarsa: fast and robust linear control", arXiv 2507.19539, 2025.
    """

    PARTS: tuple[str, ...] = ("inputs", "next", "rewards")

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        signals: int = 1_000,
        cues: int = 2,
        pause: tuple[int, int] = (5, 15),
        cost: float = 0.1,
        task_length: int = 2_000,
    ):
        super().__init__(seeds, task_length)
        self.signals, self.cues, self.pause, self.cost = signals, cues, list(pause), float(cost)
        require_count(self, "signals", "cues", least=1)
        require(self, "cues", cues <= signals, f"at most the {signals} signals")
        require(self, "pause", 1 <= pause[0] <= pause[1], "two whole numbers from 1 on, the smaller first")
        require_nonnegative(self, "cost")
        self._orders = [self._problem_generator(seed).permutation(signals) for seed in self.seeds]
        self._stretches: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def _begin_task(self, task: int, again: bool) -> None:
        import torch

        there = self._stretches
        self._stretches = {n: there[n] if n in there else self._drawn(n) for n in (task, task + 1)}
        (signals, rewards), (later, _) = self._stretches[task], self._stretches[task + 1]
        self._signals = torch.from_numpy(np.concatenate([signals, later[:, :1]], axis=1))
        self._rewards = torch.from_numpy(rewards)

    def _drawn(self, task: int) -> tuple[np.ndarray, np.ndarray]:
        """Signals of a task, bool [R, length, n], and rewards, float32 [R, length, actions]."""
        drawn = [self._stretch(self._task_generator(seed, task)) for seed in self.seeds]
        signals = np.stack([one[0][:, order] for one, order in zip(drawn, self._orders, strict=True)])
        return signals, np.stack([one[1] for one in drawn])

    def _stretch(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        length = self.length_of(0)
        probabilities = rng.uniform(0, 0.1, self.signals)
        signals = rng.integers(0, 2**16, (length, self.signals), np.uint16) < probabilities * 2**16
        steps = np.cumsum(rng.integers(self.pause[0], self.pause[1] + 1, length // self.pause[0] + 1)) - 1
        steps = steps[steps < length]
        cue = rng.integers(0, self.cues, len(steps))
        signals[:, : self.cues] = False
        signals[steps, cue] = True
        rewards = np.full((length, 1 + self.cues), -self.cost, np.float32)
        rewards[:, 0] = 0.0
        rewards[steps, 1 + cue] += 1.0
        return signals, rewards

    def _take(self, start: int, stop: int) -> tuple[Tensor, ...]:
        x = self._signals[:, start : stop + 1].float()[:, :, None]
        return x[:, :-1], x[:, 1:], self._rewards[:, start:stop, None]

    def _probe(self, examples: int) -> Tensor:
        import torch

        found = []
        for seed, order in zip(self.seeds, self._orders, strict=True):
            rng = self._probe_generator(seed)
            found.append(self._stretch(rng)[0][:, order][rng.integers(0, self.length_of(0), examples)])
        return torch.from_numpy(np.stack(found)).float()

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {name: getattr(self, name) for name in ("signals", "cues", "pause", "cost")}
