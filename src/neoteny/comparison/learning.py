"""One run: every batch is predicted, then learned from, once."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

import neoteny
from neoteny.attachment.plasticity import Plasticity
from neoteny.comparison.given import Loss, seeded
from neoteny.comparison.stream import OwnStream
from neoteny.methods.base import Method
from neoteny.methods.shared.combining import prepare
from neoteny.units.inputs import arguments_of, as_dict

__all__ = ["Learned", "Problem", "Way", "learn"]

AHEAD = 50
"""Batches after which progress is told."""


@dataclass(frozen=True)
class Way:
    """One way of learning.

    Attributes:
        methods: that act, with their settings; none for the bare loop.
        factor: what the optimizer's step sizes are multiplied by.
    """

    methods: tuple[Method, ...] = ()
    factor: float = 1.0


@dataclass(frozen=True, eq=False)
class Problem:
    """What is learned, and with what.

    Attributes:
        build: makes a network.
        optimizer: makes an optimizer of parameters.
        stream: the batches.
        loss: of outputs and targets.
        tasks: numbers of the batches with which a task begins.
    """

    build: Callable[[], nn.Module]
    optimizer: Callable[[Any], torch.optim.Optimizer]
    stream: OwnStream
    loss: Loss
    tasks: Collection[int] = field(default_factory=frozenset)


@dataclass(frozen=True, eq=False)
class Learned:
    """What a run predicted before it learned from each batch.

    Attributes:
        losses: [batches].
        accuracies: [batches]; NaN where the loss is not finite; None where targets are no classes.
        seconds: that the whole run took.
    """

    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64] | None
    seconds: float


def learn(
    problem: Problem,
    way: Way,
    seed: int,
    stop: int,
    *,
    anew: Collection[int] = (),
    advance: Callable[[int], None] = lambda count: None,
) -> Learned:
    """Go through the first batches of the stream.

    The prediction is that of the network as one would use it: in evaluation mode, and with the weights that a method
    gives for evaluation. Where that is the output of training, it is computed once for both. Nothing is read from the
    device until the end.

    Args:
        problem: what is learned.
        way: how.
        seed: of the initial weights and of all that is drawn on the way.
        stop: the number of batches.
        anew: numbers of the batches before which network and optimizer begin anew.
        advance: told of batches that are done.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        run = _Run(problem, way, seed)
        found: Tensor | None = None
        began, told = time.perf_counter(), 0
        for number, inputs, targets in problem.stream.batches(stop):
            if number in anew:
                run = _Run(problem, way, seed + (number << 20))
            elif number in problem.tasks and run.plasticity is not None:
                run.plasticity.new_task()
            told_now = run.step(inputs, targets)
            if found is None:
                found = torch.full((len(told_now), stop), torch.nan, device=told_now[0].device)
            for row, value in zip(found, told_now, strict=True):
                row[number] = value
            if (number + 1) % AHEAD == 0:
                advance(number + 1 - told)
                told = number + 1
        assert found is not None  # a stream has batches
        values = found.double().cpu().numpy()
        seconds = time.perf_counter() - began
    advance(stop - told)
    return Learned(values[0], values[1] if len(values) > 1 else None, seconds)


class _Run:
    """A network, its optimizer and what is attached to them."""

    plasticity: Plasticity | None = None

    def __init__(self, problem: Problem, way: Way, seed: int):
        self._loss, self._reference = problem.loss, problem.stream.first[0]
        model, example = seeded(problem.build, seed), problem.stream.first[0]
        self._device = next((p.device for p in model.parameters()), torch.device("cpu"))
        example = self._reference = self._placed(example)
        model = prepare(model, way.methods, example) if way.methods else model
        self.model = model.train()
        self._apart = _differs(model, example)
        self._optimizer = problem.optimizer(model.parameters())
        for group in self._optimizer.param_groups:
            group["lr"] = group["lr"] * way.factor
        if way.methods:
            self.plasticity = neoteny.attach(
                model, self._optimizer, way.methods, example, seed=seed, reference=lambda: self._reference
            )
            self._apart |= any(type(method).evaluated is not Method.evaluated for method in way.methods)

    def step(self, inputs: Any, targets: Tensor) -> list[Tensor]:
        """Predict, learn; gives the loss, and for classes the accuracy, of the prediction."""
        inputs, targets = self._placed(inputs), targets.to(self._device)
        args, keywords = arguments_of(inputs)
        told = self._predict(args, keywords, targets) if self._apart else []
        self._optimizer.zero_grad()
        outputs = self.model(*args, **keywords)
        loss = self._loss(outputs, targets)
        told = told or _scores(loss.detach(), outputs, targets)
        loss.backward()
        self._optimizer.step()
        self._reference = inputs  # of a batch before the one that is trained on
        return told

    @torch.no_grad()
    def _predict(self, args: Any, keywords: Any, targets: Tensor) -> list[Tensor]:
        self.model.eval()
        if self.plasticity is None:
            outputs = self.model(*args, **keywords)
        else:
            with self.plasticity.evaluating():
                outputs = self.model(*args, **keywords)
        self.model.train()
        return _scores(self._loss(outputs, targets), outputs, targets)

    def _placed(self, inputs: Any) -> Any:
        return tree_map_only(Tensor, lambda value: value.to(self._device), as_dict(inputs))


def _scores(loss: Tensor, outputs: Any, targets: Tensor) -> list[Tensor]:
    if not are_classes(outputs, targets):
        return [loss]
    right = (outputs.argmax(1) == targets).float().mean()
    return [loss, right.where(loss.isfinite(), torch.nan)]  # the largest of outputs that are NaN would be class 0


def are_classes(outputs: Any, targets: Tensor) -> bool:
    """Whether targets [batch, ...] are classes of which outputs [batch, classes, ...] give scores."""
    whole = not targets.is_floating_point() and isinstance(outputs, Tensor) and outputs.dim() == targets.dim() + 1
    return whole and outputs.shape[:1] + outputs.shape[2:] == targets.shape


def _differs(model: nn.Module, inputs: Any) -> bool:
    """Whether a network in training gives other outputs than in evaluation, as with dropout or batch norms."""
    args, keywords = arguments_of(inputs)
    try:
        twin = copy.deepcopy(model)
        with torch.no_grad(), torch.random.fork_rng():
            found = [twin.train(mode)(*args, **keywords) for mode in (True, False)]
    except Exception:  # a network that cannot be copied: better one prediction too many
        return True
    return not all(isinstance(one, Tensor) for one in found) or not torch.equal(*found)
