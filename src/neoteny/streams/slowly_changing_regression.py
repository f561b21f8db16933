"""Slowly-changing regression: the target network stays as it is, and its inputs slowly change.

Of m input bits the first f are held and change from task to task; the rest are random in every example. So a task has
only 2^(m-f) different examples (32): they are tabulated once a task, and an example is a row of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams.base import Stream

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Flip", "SlowlyChangingRegression", "Threshold"]

Flip = Literal["all", "one"]
Threshold = Literal["authors", "paper"]

_MOST_RANDOM_BITS = 12  # a table of 4096 rows a run


class SlowlyChangingRegression(Stream):
    r"""Bits in, a sum of linear threshold units out.

    With inputs x in {0, 1}^m, weights v, c, W, b all drawn from {-1, +1} for each run, and n features:

        y = sum_i v_i [ W_i x + b_i > theta_i ] + c,    theta_i = beta (m + 1) - S_i

    The paper counts m + 1 inputs, the last a constant 1. Here that constant is the bias b of the target, and the bias
    of the learner's first layer, so x has m columns and the learner is 20-5-1.

    `threshold` says what S_i is:
        `paper`: the number of -1 among the m + 1 input weights, b_i included. A unit then fires when more than a share
            beta of its inputs agree with the signs of its weights.
        `authors`: (m - sum_j W_ij + b_i) / 2, as in their public code, where the sign of the bias is reversed: units
            with b_i = -1 hardly ever fire. The published figures were made with it, so it is the default: a linear
            learner with step size 0.01 has error 0.87 (the paper's figure: about 0.88), with `paper` 1.20.

    Args:
        seeds: the runs' seeds. Each run has its own target, held bits and examples.
        flip: at a change `all` held bits are drawn anew, or `one` of them, drawn at random, flips; at step 0 all are
            drawn.
        inputs: m.
        held_bits: f, how many of the first bits are held within a task.
        features: n, threshold units in the target.
        beta: share of the inputs that must agree for a unit to fire.
        threshold: see above.
        task_length: steps from change to change.
        batch_size: examples a step, B.

    Shapes: x [R, steps, B, m] of zeros and ones, y [R, steps, B, 1].

    Raises:
        SettingError: f outside [0, m], more than 12 random bits, no features, beta outside [0, 1].
        UnknownNameError: `flip` or `threshold` is none of the above.

    >>> stream = SlowlyChangingRegression(seeds=[0, 1, 2])
    >>> x, y = stream.next(10_001)
    >>> x.shape, y.shape, stream.position, stream.task
    (torch.Size([3, 10001, 1, 20]), torch.Size([3, 10001, 1, 1]), 10001, 1)
    >>> bool((x[:, :10_000, :, :15] == x[:, :1, :, :15]).all())  # the first 15 bits are held within a task
    True

    Source: Dohare et al., Nature 632, 2024, Methods, "Slowly-Changing Regression".
    """

    def __init__(
        self,
        seeds: Sequence[int],
        flip: Flip = "all",
        inputs: int = 20,
        held_bits: int = 15,
        features: int = 100,
        beta: float = 0.7,
        threshold: Threshold = "authors",
        task_length: int = 10_000,
        batch_size: int = 1,
    ):
        super().__init__(seeds, task_length, batch_size)
        if flip not in get_args(Flip):
            raise UnknownNameError(flip, get_args(Flip), "flip")
        if threshold not in get_args(Threshold):
            raise UnknownNameError(threshold, get_args(Threshold), "threshold")
        if inputs < 1 or not 0 <= inputs - held_bits <= min(inputs, _MOST_RANDOM_BITS):
            raise SettingError(
                f"inputs = {inputs}, held_bits = {held_bits}: of at least one input between 0 and "
                f"{_MOST_RANDOM_BITS} bits must be left to be random."
            )
        if flip == "one" and held_bits == 0:
            raise SettingError("flip = 'one' with held_bits = 0: there is no bit to flip; take flip='all'.")
        if features < 1 or not 0 <= beta <= 1:
            raise SettingError(f"features = {features}, beta = {beta}: take at least one feature, and beta in [0, 1].")
        self.flip, self.threshold, self.beta = flip, threshold, float(beta)
        self.inputs, self.held_bits, self.features = int(inputs), int(held_bits), int(features)
        self._draw_targets()
        self._held = np.zeros((self.runs, self.held_bits), np.uint8)

    def _draw_targets(self) -> None:
        m, n = self.inputs, self.features
        bits = [self._problem_generator(seed).integers(0, 2, n * (m + 2) + 1) for seed in self.seeds]
        signs = 2.0 * np.stack(bits) - 1
        self._w = signs[:, : n * m].reshape(self.runs, n, m)
        self._b, self._v, self._c = signs[:, n * m : n * (m + 1)], signs[:, n * (m + 1) : -1], signs[:, -1]
        bias_counted = self._b / 2 if self.threshold == "authors" else (1 - self._b) / 2
        share = round(self.beta * (m + 1), 9)  # 0.58 * 50 is a little less than 29
        self._theta = share - (self._w == -1).sum(-1) - bias_counted

    def target(self, x: np.ndarray) -> np.ndarray:
        """The target of inputs: for x [R, examples, m] the values y [R, examples].

        >>> float(SlowlyChangingRegression([4]).target(np.ones((1, 1, 20)))[0, 0]) % 1
        0.0
        """
        fires = x @ self._w.swapaxes(-1, -2) + self._b[:, None] > self._theta[:, None]
        return (fires @ self._v[..., None])[..., 0] + self._c[:, None]

    def _begin_task(self, task: int, again: bool) -> None:
        import torch

        rows = 2 ** (self.inputs - self.held_bits)
        dtype = np.uint8 if rows <= 256 else np.int16
        drawn = np.empty((self.runs, self.length_of(task) * self.batch_size), dtype)
        for run, seed in enumerate(self.seeds):
            rng = self._task_generator(seed, task)
            if self.flip == "all" or task == 0:
                self._held[run] = rng.integers(0, 2, self.held_bits)
            else:
                bit = rng.integers(self.held_bits)
                self._held[run, bit] ^= not again  # a loaded state already contains the flip
            drawn[run] = rng.integers(0, rows, drawn.shape[1], dtype)
        patterns = np.arange(rows)[:, None] >> np.arange(self.inputs - self.held_bits) & 1
        table = np.empty((self.runs, rows, self.inputs))
        table[..., : self.held_bits], table[..., self.held_bits :] = self._held[:, None], patterns
        self._drawn = torch.from_numpy(drawn)
        self._first_row = torch.arange(0, self.runs * rows, rows, dtype=torch.int32)[:, None]
        self._x = torch.from_numpy(table.reshape(-1, self.inputs).astype(np.float32))
        self._y = torch.from_numpy(self.target(table).ravel().astype(np.float32))

    def _take(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        batch = self.batch_size
        rows = (self._drawn[:, start * batch : stop * batch] + self._first_row).flatten()
        shape = (self.runs, stop - start, batch, -1)
        return self._x.index_select(0, rows).view(shape), self._y.index_select(0, rows).view(shape)

    def _probe(self, examples: int) -> Tensor:
        import torch

        rows = len(self._x) // self.runs
        drawn = np.stack([self._probe_generator(seed).integers(0, rows, examples) for seed in self.seeds])
        return self._x[torch.from_numpy(drawn) + self._first_row]

    def _identity(self) -> dict[str, Any]:
        return super()._identity() | {
            name: getattr(self, name) for name in ("flip", "inputs", "held_bits", "features", "beta", "threshold")
        }

    def _task_state(self) -> dict[str, Any]:
        return {"held": self._held.tolist()}

    def _load_task_state(self, state: Mapping[str, Any]) -> None:
        self._held = np.array(state["held"], np.uint8).reshape(self.runs, self.held_bits)
