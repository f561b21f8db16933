"""Regression on linear threshold features, some of which stay while others change their sign or are replaced.

A learner that finds the lasting features can keep them; those that change have to be found and unlearned again and
again. Features are those of Mahmood & Sutton, "Representation search through generate and test", AAAI Workshops 2013.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams.base import Stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["OutputWeights", "ThresholdFeatures"]

OutputWeights = Literal["signs", "normal"]


class ThresholdFeatures(Stream):
    r"""Random bits in, a sum of linear threshold units and noise out.

    With bits x in {0, 1}^m, input weights W_i in {-1, +1}^m and output weights v, drawn for each run:

        y_k = sum_i v_ki [W_i x > beta m - S_i] + noise,    S_i the number of -1 in W_i

    so that a unit fires where more than a share beta of its inputs agree with the signs of its weights. Of the n units
    the first `lasting` n stay for ever. In every step, each of the others changes the sign of its output weights with
    probability `flips`, and is replaced (both kinds of weights are drawn anew) with probability `replacements`. With a
    `period` the others are also absent (v = 0) in every second stretch of so many steps. They go on changing there, so
    only without flips and replacements they come back as they were.

    Args:
        seeds: the runs' seeds.
        inputs: m.
        irrelevant: more random bits, behind the others, which the target does not read.
        features: n.
        outputs: number of targets, k.
        lasting: share of the features that stay, in [0, 1].
        flips: probability of a change of sign in a step.
        replacements: probability of a replacement in a step.
        period: steps of presence and of absence; 0: always present.
        noise: standard deviation of the noise.
        output_weights: whether v are `signs`, in {-1, +1}, or `normal`, from N(0, 1).
        beta: share of the inputs that must agree.
        task_length: steps that are prepared at once; their ends change nothing. A divisor of `period`.
        batch_size: examples a step, B; a change comes between two steps.

    Shapes: x [R, steps, B, m + irrelevant] of zeros and ones, y [R, steps, B, k].

    Raises:
        SettingError: a setting outside its range.
        UnknownNameError: `output_weights` is none of the two.

    >>> stream = ThresholdFeatures(seeds=[0, 1], irrelevant=5)
    >>> x, y = stream.next(3)
    >>> x.shape, y.shape
    (torch.Size([2, 3, 1, 25]), torch.Size([2, 3, 1, 1]))
    """

    def __init__(
        self,
        seeds: Sequence[int],
        inputs: int = 20,
        irrelevant: int = 0,
        features: int = 20,
        outputs: int = 1,
        lasting: float = 0.5,
        flips: float = 0.0,
        replacements: float = 0.0,
        period: int = 0,
        noise: float = 0.0,
        output_weights: OutputWeights = "signs",
        beta: float = 0.6,
        task_length: int = 1_000,
        batch_size: int = 1,
    ):
        super().__init__(seeds, task_length, batch_size)
        if min(inputs, features, outputs) < 1 or min(irrelevant, period) < 0 or not 0 <= noise < np.inf:
            raise SettingError(
                f"inputs = {inputs}, features = {features}, outputs = {outputs}, irrelevant = {irrelevant}, period = "
                f"{period}, noise = {noise}: take at least one input, feature and output, nothing below 0, and "
                "finite noise."
            )
        for name, value in {"lasting": lasting, "flips": flips, "replacements": replacements, "beta": beta}.items():
            if not 0 <= value <= 1:
                raise SettingError(f"{name} = {value} is not in [0, 1].")
        if period % task_length:
            raise SettingError(
                f"task_length = {task_length} does not divide period = {period}, and a task is present or absent as a "
                "whole: give a divisor."
            )
        if output_weights not in get_args(OutputWeights):
            raise UnknownNameError(output_weights, get_args(OutputWeights), "output_weights")
        self.inputs, self.irrelevant, self.features, self.outputs = inputs, irrelevant, features, outputs
        self.staying = round(lasting * features)
        self.flips, self.replacements, self.period = flips, replacements, period
        self.noise, self.output_weights, self.beta = noise, output_weights, beta
        drawn = [self._unit(self._problem_generator(seed), features) for seed in self.seeds]
        self._incoming, self._outgoing = (np.stack([each[place] for each in drawn]) for place in (0, 1))

    def _unit(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Input weights [count, m] and output weights [count, k] of new units."""
        signs = np.array([-1.0, 1.0])
        incoming = rng.choice(signs, (count, self.inputs))
        if self.output_weights == "normal":
            return incoming, rng.standard_normal((count, self.outputs))
        return incoming, rng.choice(signs, (count, self.outputs))

    def fired(self, x: np.ndarray, incoming: np.ndarray) -> np.ndarray:
        """Which units fire, [..., n], for bits [..., m] and input weights [n, m]."""
        threshold = round(self.beta * self.inputs, 9)  # 0.29 * 100 is a little less than 29
        return x @ incoming.T > threshold - (incoming < 0).sum(-1)

    def present(self, step: int) -> bool:
        """Whether the features that do not stay take part in a step."""
        return not self.period or step // self.period % 2 == 0

    def _begin_task(self, task: int, again: bool) -> None:
        import torch

        steps, batch = self.length_of(task), self.batch_size
        if not again and task:
            self._incoming, self._outgoing = self._after
        self._after = self._incoming.copy(), self._outgoing.copy()
        inputs = np.empty((self.runs, steps, batch, self.inputs + self.irrelevant), np.float32)
        targets = np.empty((self.runs, steps, batch, self.outputs), np.float32)
        for run, seed in enumerate(self.seeds):
            rng = self._task_generator(seed, task)
            inputs[run] = rng.integers(0, 2, inputs.shape[1:], np.uint8)
            targets[run] = self._targets(rng, inputs[run, ..., : self.inputs], *(each[run] for each in self._after))
            if not self.present(self.start_of(task)):
                targets[run] = self._lasting(inputs[run, ..., : self.inputs], run)
            targets[run] += self.noise * rng.standard_normal(targets[run].shape)
        self._x, self._y = torch.from_numpy(inputs), torch.from_numpy(targets)

    def _targets(self, rng: np.random.Generator, x: np.ndarray, incoming: np.ndarray, outgoing: np.ndarray) -> Any:
        """Targets [steps, B, k]; the weights, of all units, are changed as they change on the way."""
        steps, others = len(x), self.features - self.staying
        flipped = rng.random((steps, others)) < self.flips
        replaced = rng.random((steps, others)) < self.replacements
        fired = self.fired(x, incoming)
        weights = np.repeat(outgoing[None], steps, 0)
        for step, unit in zip(*np.nonzero(replaced | flipped), strict=True):
            place = self.staying + unit
            if replaced[step, unit]:
                (incoming[place],), (outgoing[place],) = self._unit(rng, 1)
                fired[step:, :, place] = self.fired(x[step:], incoming[place : place + 1])[..., 0]
            else:
                outgoing[place] *= -1
            weights[step:, place] = outgoing[place]
        return np.einsum("sbn,snk->sbk", fired, weights)

    def _lasting(self, x: np.ndarray, run: int) -> np.ndarray:
        """Targets of the features that stay, alone."""
        own = slice(self.staying)
        return self.fired(x, self._incoming[run, own]) @ self._outgoing[run, own]

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return self._x[:, start:stop], self._y[:, start:stop]

    def _probe(self, examples: int) -> Tensor:
        import torch

        size = examples, self.inputs + self.irrelevant
        drawn = np.stack([self._probe_generator(seed).integers(0, 2, size) for seed in self.seeds])
        return torch.from_numpy(drawn.astype(np.float32))

    def _identity(self) -> dict[str, Any]:
        names = ("inputs", "irrelevant", "features", "outputs", "staying", "flips", "replacements", "period", "noise")
        drawn = {"output_weights": self.output_weights} if self.output_weights != "signs" else {}
        return super()._identity() | {name: getattr(self, name) for name in (*names, "beta")} | drawn

    def _task_state(self) -> dict[str, Any]:
        return {"incoming": self._incoming.tolist(), "outgoing": self._outgoing.tolist()}

    def _load_task_state(self, state: Mapping[str, Any]) -> None:
        self._incoming, self._outgoing = (np.array(state[name]) for name in ("incoming", "outgoing"))
