"""One method on one network and one optimizer: trained as a user would, and compared bit by bit."""

from __future__ import annotations

import dataclasses
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoteny.attachment.attach import Plasticity, attach
from neoteny.errors import PlasticityWarning
from neoteny.methods.base import Method
from neoteny.testing.comparing import copied, flat
from neoteny.testing.models import Model, loss
from neoteny.testing.optimizers import OptimizerCase
from neoteny.testing.recording import CallRecorder, fresh

__all__ = ["Moment", "Trial", "TrialRun", "TrialTraining", "made_new"]

STEPS = 10
"""Optimizer steps of the usual training."""
TASK_AT = 7
"""Steps before the change of task."""
SAVED_AT = (4, TASK_AT)
"""Steps before the checkpoints of the usual training, the second of them after the change of task."""

Batches = Sequence[tuple[Tensor, Tensor]]


@dataclasses.dataclass(frozen=True)
class Moment:
    """A moment of a training: what a user would have saved.

    Attributes:
        steps: made before.
        saved: the checkpoint.
        generators: states of the global generators, which a loop that draws from them saves, too.
    """

    steps: int
    saved: dict[str, Any]
    generators: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class TrialTraining:
    """The usual training: some steps, and a change of task on the way.

    Attributes:
        end: the snapshot at its end.
        evaluated: the network as it is evaluated then, likewise.
        moments: two on the way, `SAVED_AT`, where it is in single precision.
        recorder: what the method was given and returned.
    """

    end: dict[str, Any]
    evaluated: dict[str, Any]
    moments: tuple[Moment, ...]
    recorder: CallRecorder


@dataclasses.dataclass(frozen=True)
class Trial:
    """A method on a network and an optimizer.

    Args:
        method: the method; each run gets a fresh one of its settings. None: the bare optimizer.
        model: the network.
        optimizer: what trains it.
    """

    method: Method | None
    model: Model
    optimizer: OptimizerCase
    found: dict[Any, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """What several checks look at, and one has made: trainings by type and device, and the first reset."""

    @property
    def bare(self) -> Trial:
        """The same without a method."""
        return Trial(None, self.model, self.optimizer)

    @property
    def original(self) -> Trial:
        """The same without a method, on the network as it was before it was prepared for one."""
        return Trial(None, self.model.original or self.model, self.optimizer)

    def start(self, **settings: Any) -> TrialRun:
        """A run from the beginning; for `settings` see `TrialRun`."""
        return TrialRun(self, **settings)

    def batches(self, count: int = STEPS, **settings: Any) -> Batches:
        """The network's batches; for `settings` see `Model.batches`."""
        return self.model.batches(count, **settings)

    @cached_property
    def trained(self) -> dict[str, Any]:
        """The snapshot at the end of the usual training."""
        return _bare(self.model, self.optimizer) if self.method is None else self.training().end

    @property
    def evaluated(self) -> dict[str, Any]:
        """The same with the weights that the network is evaluated with, where they are others than those that learn."""
        return self.trained if self.method is None else {**self.trained, **self.training().evaluated}

    def training(self, dtype: torch.dtype = torch.float32, device: str = "cpu") -> TrialTraining:
        """The usual training of the method, made once."""
        if (dtype, device) not in self.found:
            self.found[dtype, device] = self._train(dtype, device)
        return self.found[dtype, device]

    def _train(self, dtype: torch.dtype, device: str) -> TrialTraining:
        assert self.method is not None
        recorder, moments = CallRecorder(), []
        run = self.start(dtype=dtype, device=device, method=recorder.watched(fresh(self.method)))

        def look(number: int) -> None:
            recorder.last = number == STEPS - 1
            if number in SAVED_AT and dtype == torch.float32:
                moments.append(Moment(number, run.save(), generators()))

        run.train_over_tasks(self.batches(dtype=dtype, device=device), before_step=look)
        with run.plasticity.evaluating():
            evaluated = flat({"model": run.model.state_dict()})
        return TrialTraining(run.snapshot(), evaluated, tuple(moments), recorder)


@lru_cache
def _bare(model: Model, optimizer: OptimizerCase) -> dict[str, Any]:
    run = TrialRun(Trial(None, model, optimizer))
    run.train(model.batches(STEPS))
    return run.snapshot()


class TrialRun:
    """A network in training, with or without a method attached.

    Args:
        trial: what is tried.
        seed: of what the method draws.
        weights: seed of the initial weights.
        dtype: of the network and its data.
        device: where they are.
        before: called with the run before the method is attached.
        method: in place of a fresh one of the trial's.
    """

    def __init__(
        self,
        trial: Trial,
        *,
        seed: int = 0,
        weights: int = 0,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
        before: Callable[[TrialRun], object] | None = None,
        method: Method | None = None,
    ):
        self.trial = trial
        self.model = trial.model.build(weights, dtype, device)
        self.optimizer = trial.optimizer.make(list(self.model.parameters()))
        if before is not None:
            before(self)
        self._plasticity: Plasticity | None = None
        if method is None and trial.method is not None:
            method = fresh(trial.method)
        if method is not None:
            reference = trial.model.batches(1, seed=11, dtype=dtype, device=device)[0][0]
            self._plasticity = attach(
                self.model, self.optimizer, method, units=trial.model.units(), seed=seed, reference=reference
            )
        seed_generators(0)  # so that a method that draws from them fails one check, not all

    @property
    def plasticity(self) -> Plasticity:
        """The handle of the method."""
        assert self._plasticity is not None
        return self._plasticity

    def backward(self, x: Tensor, y: Tensor, parts: int = 1) -> Tensor:
        """Make the gradients of one batch, in several passes if told to; returns the loss."""
        self.optimizer.zero_grad()
        total = torch.zeros((), dtype=y.dtype, device=y.device)
        for a, b in zip(x.chunk(parts), y.chunk(parts), strict=True):
            part = loss(self.model(a), b) * (len(a) / len(x))
            part.backward()
            total += part.detach()
        return total

    def step(self, x: Tensor, y: Tensor, *, parts: int = 1, after_backward: Callable[[], object] | None = None) -> None:
        """One optimizer step on a batch."""

        def closure() -> Tensor:
            total = self.backward(x, y, parts)
            if after_backward is not None:
                after_backward()
            return total

        if self.trial.optimizer.closure:
            self.optimizer.step(closure)  # type: ignore[arg-type]
        else:
            closure()
            self.optimizer.step()

    def train(self, batches: Iterable[tuple[Tensor, Tensor]], **settings: Any) -> None:
        """A step on each batch; for `settings` see `step`."""
        for x, y in batches:
            self.step(x, y, **settings)

    def train_over_tasks(
        self, batches: Batches, before_step: Callable[[int], object] = lambda _: None, **settings: Any
    ) -> None:
        """A step on each batch, with a change of task on the way."""
        for number, (x, y) in enumerate(batches):
            if number == TASK_AT:
                self.plasticity.new_task()
            before_step(number)
            self.step(x, y, **settings)

    def save(self) -> dict[str, Any]:
        """A checkpoint as users write it."""
        return copied({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()})

    def load(self, saved: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; what the method keeps has ridden in the optimizer's state."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])

    def snapshot(self) -> dict[str, Any]:
        """The network, the optimizer's state and all the method keeps, by qualified name: copies."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": {name: self.optimizer.state.get(p, {}) for name, p in self.model.named_parameters()},
            "plasticity": {} if self._plasticity is None else self._plasticity.state_dict(),
        }
        return flat(state)


def made_new(run: TrialRun) -> dict[str, Tensor]:
    """The units made new at the last step or change of task, as masks, by layer."""
    return {layer.name: run.plasticity.made_new(layer.name) for layer in run.plasticity.units.layers}


def seed_generators(seed: int) -> None:
    """Seed the global generators of torch, NumPy and Python."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # else torch.manual_seed notes down where it was called, which takes its time
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed)
    random.seed(seed)


def generators() -> dict[str, Any]:
    """The states of the global generators."""
    return {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "random": random.getstate()}


def restore(states: Mapping[str, Any]) -> None:
    """Bring the global generators back to what `generators` returned."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["random"])


@contextmanager
def unobtrusive() -> Iterator[None]:
    """Leave the global generators as they were, and keep `PlasticityWarning`s from the caller."""
    before = generators()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlasticityWarning)
            yield
    finally:
        restore(before)
