"""The base of all streams: gives a stack of runs their examples step by step, and remembers its position.

Each task of each run draws from a generator of its own, made from the run's seed and the task's number. So a stream can
be cut into calls anywhere, its position is a step number (and what a task inherits from the one before), and run k
draws the same numbers alone and in a stack.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from neoteny.errors import CheckpointError, SettingError
from neoteny.seeds import DATA, generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = ["Stream", "fingerprint"]

# Which of a run's generators for data; not 0, as a seed sequence takes that for no number at all.
_PROBLEM, _TASK, _PROBE = 1, 2, 3
_READ = 2**28  # bytes of data that a fingerprint reads at most


def fingerprint(arrays: Iterable[np.ndarray | Tensor]) -> str:
    """A checksum of data; empty if there are none.

    Of more than 256 MB the bytes of every n-th item of the first dimension count, so that no more than that is read.
    """
    found = [np.asarray(array) for array in arrays]
    if not found:
        return ""
    digest, every = sha256(), -(-sum(array.nbytes for array in found) // _READ)
    for array in found:
        digest.update(f"{array.shape} {array.dtype}\n".encode())
        digest.update(np.ascontiguousarray(array[::every]).data)
    return digest.hexdigest()[:32]


class Stream(ABC):
    """A stack of R independent streams, one a run.

    Args:
        seeds: the runs' seeds, one a run.
        task_length: steps between two changes of the problem; or the length of each task, and the stream ends after
            the last.
        batch_size: examples a step, B.

    Attributes:
        seeds: the runs' seeds.
        position: steps taken so far.
        task_length: steps a task, or the steps of each.
        batch_size: examples a step.
        device: where its examples are.

    Raises:
        SettingError: no seeds, a negative seed, a task or batch without examples.
    """

    device: torch.device | str = "cpu"
    PARTS: tuple[str, ...] = ("inputs", "targets")
    """What an objective calls the tensors that `next` gives."""

    def __init__(self, seeds: Sequence[int], task_length: int | Sequence[int], batch_size: int = 1):
        self.seeds = tuple(int(seed) for seed in seeds)
        self.task_length: int | tuple[int, ...] = (
            tuple(map(int, task_length)) if isinstance(task_length, Sequence) else int(task_length)
        )
        self.batch_size, self.position = int(batch_size), 0
        if not self.seeds or min(self.seeds) < 0:
            raise SettingError(f"seeds = {list(seeds)}: a stream needs the seed of each run, whole numbers from 0.")
        lengths = self.task_length if isinstance(self.task_length, tuple) else (self.task_length,)
        if min((*lengths, self.batch_size) if lengths else (0,)) < 1:
            raise SettingError(f"task_length = {task_length}, batch_size = {batch_size}: both must be at least 1.")
        self._ends = np.cumsum(lengths)
        self._entered = -1  # the task whose tables are prepared

    @property
    def runs(self) -> int:
        """The number of runs, R."""
        return len(self.seeds)

    @property
    def task(self) -> int:
        """The number, from 0, of the task of the next step; at the end of the stream that of the last task."""
        if isinstance(self.task_length, int):
            return self.position // self.task_length
        return int(min(np.searchsorted(self._ends, self.position, side="right"), len(self._ends) - 1))

    def start_of(self, task: int) -> int:
        """The first step of a task."""
        if isinstance(self.task_length, int):
            return task * self.task_length
        return int(self._ends[task - 1]) if task else 0

    def length_of(self, task: int) -> int:
        """Steps of a task."""
        return self.task_length[task] if isinstance(self.task_length, tuple) else self.task_length

    def to(self, device: torch.device | str) -> Self:
        """Give examples on a device; streams with data sets keep them there."""
        self.device = device
        return self

    def next(self, steps: int) -> tuple[Tensor, ...]:
        """The next `steps` steps of every run, the same however a range is cut into calls.

        Returns:
            One tensor for each of `PARTS`: inputs [R, steps, B, ...] float32, and targets [R, steps, B, ...] float32 or
            labels [R, steps, B] int64; what else there is, the class says.

        Raises:
            SettingError: `steps` is below 1.
        """
        import torch

        if steps < 1:
            raise SettingError(f"steps = {steps}: ask for at least one.")
        pieces = []
        while steps > 0:
            self._enter()
            start = self.position - self.start_of(self.task)
            stop = min(start + steps, self.length_of(self.task))
            if stop <= start:
                raise SettingError(f"steps: the stream has ended after {self.position} steps; ask for no more.")
            pieces.append(tuple(part.to(self.device) for part in self._take(start, stop)))
            self.position += stop - start
            steps -= stop - start
        if len(pieces) == 1:
            return pieces[0]
        return tuple(torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True))

    def skip_to(self, step: int) -> None:
        """Go to a step without the examples before it; for streams whose tasks inherit nothing from those before."""
        self.position = step

    def probe(self, examples: int) -> Tensor:
        """Fixed inputs of the current task's distribution, [R, examples, ...] float32, for measures.

        They come from a generator of their own and do not change the stream. Every task uses the same draws under its
        own distribution, so a measure changes only if the network or the task does.

        Raises:
            SettingError: `examples` is below 1.
        """
        if examples < 1:
            raise SettingError(f"examples = {examples}: a probe set needs at least one.")
        self._enter()
        return self._probe(examples).to(self.device)

    def held_out(self, split: str, task: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Examples of a task that are never learned from, in blocks that take little memory.

        Args:
            split: `test`, or `validation` where the stream has it.
            task: the task's number.

        Yields:
            Inputs [R, n, ...] float32 and labels [R, n] int64 (or targets), on the stream's device.

        Raises:
            SettingError: the stream has no such examples.
        """
        raise SettingError(
            f"{type(self).__name__} has no {split} examples: it is judged online, on what it learns from."
        )

    def describe(self) -> dict[str, Any]:
        """What the provenance of a run says about its data; empty for a stream that generates its examples."""
        return {}

    def fingerprint(self) -> str:
        """A checksum of the data that its examples are made of; empty for a stream that generates them."""
        return fingerprint(self._data())

    def _data(self) -> Iterable[np.ndarray | Tensor]:
        """The arrays that examples are made of, on the CPU; an item of the first dimension is an image or a label."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on from here, as plain values; small, whatever the length of a task."""
        self._enter()
        return {"stream": self._identity(), "position": self.position, **self._task_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken; the stream must have been built with the same seeds and settings.

        Raises:
            CheckpointError: the state is another stream's.
        """
        identity = self._identity()
        if state.get("stream") != identity:
            raise CheckpointError(
                f"This state belongs to the stream {state.get('stream')}, not to {identity}: "
                "build the stream with the seeds and settings it was saved under."
            )
        self.position = int(state["position"])
        self._load_task_state(state)
        self._enter(again=True)

    def _enter(self, again: bool = False) -> None:
        """Prepare the current task's tables: once for each task, in order, or again after loading a state."""
        if again or self._entered != self.task:
            self._begin_task(self.task, again)
            self._entered = self.task

    def _problem_generator(self, run_seed: int, *extra: int) -> np.random.Generator:
        return generator(run_seed, DATA, _PROBLEM, *extra)

    def _task_generator(self, run_seed: int, task: int, *extra: int) -> np.random.Generator:
        return generator(run_seed, DATA, _TASK, task, *extra)

    def _probe_generator(self, run_seed: int) -> np.random.Generator:
        return generator(run_seed, DATA, _PROBE)

    def _identity(self) -> dict[str, Any]:
        """What must be equal for a state to fit: the kind of stream, seeds and settings."""
        return {
            "kind": type(self).__name__,
            "seeds": list(self.seeds),
            "task_length": list(self.task_length) if isinstance(self.task_length, tuple) else self.task_length,
            "batch_size": self.batch_size,
        }

    def _task_state(self) -> dict[str, Any]:
        """What the current task inherits from those before it."""
        return {}

    def _load_task_state(self, state: Mapping[str, Any]) -> None:  # noqa: B027 (most tasks inherit nothing)
        """Restore what `_task_state` gave."""

    @abstractmethod
    def _begin_task(self, task: int, again: bool) -> None:
        """Draw the tables of a task; `again` when its inherited state is already in place."""

    @abstractmethod
    def _take(self, start: int, stop: int) -> tuple[Tensor, ...]:
        """The steps [start, stop) of the current task, on any device."""

    @abstractmethod
    def _probe(self, examples: int) -> Tensor:
        """The probe inputs under the current task, on any device."""
