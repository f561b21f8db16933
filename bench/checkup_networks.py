"""Networks of which it is known how well they still learn: six data sources, four optimizers, three histories.

A network is drawn with its data, architecture, activation, norm, optimizer and history: new, trained as usual for one
to five epochs, or worn by forty tasks one after the other. The truth is what its user would see: the mean error
while it learns five new tasks with its own optimizer, beside that of new networks on the same tasks and batches.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import neoteny
from neoteny.data.catalogue import labelled

IMAGES = {
    "mnist": "mnist",
    "fashion": "fashion-mnist",
    "superclasses": "cifar100-superclasses",
    "imagenet": "imagenet32",
}
SIDE, EXAMPLES, BATCH = 14, 4_000, 32
CLASSES = {"mnist": 10, "fashion": 10, "superclasses": 5, "imagenet": 5}  # the harder images: their first five
PROBE = 512
FEW = 320  # examples of a task of drawn labels, so that they can be memorised
TASKS, TASK_STEPS, NEW_STEPS, NEW_TASKS, NEW_NETWORKS = 40, 80, 200, 5, 2
ACTIVATIONS = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "sigmoid": nn.Sigmoid,
    "leaky-relu": nn.LeakyReLU,
}  # fmt: skip
OPTIMIZERS: dict[str, tuple[Any, dict[str, Any], tuple[float, ...]]] = {
    "sgd": (torch.optim.SGD, {}, (0.02, 0.05, 0.15)),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, (0.003, 0.01, 0.03)),
    "adam": (torch.optim.Adam, {"fused": True}, (5e-4, 2e-3, 5e-3)),
    "adamw": (torch.optim.AdamW, {"fused": True}, (5e-4, 2e-3, 5e-3)),
}


Make = Callable[[Any], torch.optim.Optimizer]


@dataclass(frozen=True)
class Case:
    """A network and its history."""

    number: int
    source: str
    network: str
    width: int
    depth: int
    activation: str
    norm: str
    optimizer: str
    step_size: float
    history: str
    """new, trained, or worn"""
    change: str
    """what differs between its tasks: inputs are permuted; targets mean something else; labels are drawn by chance"""
    epochs: int

    def build(self, seed: int) -> nn.Module:
        """A new network."""
        torch.manual_seed(seed)
        x, _, outputs = data(self.source)
        active = ACTIVATIONS[self.activation]
        norm = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}[self.norm]
        parts: list[nn.Module] = []
        size = x.shape[1]
        if self.network == "cnn":
            parts = [nn.Unflatten(1, (1, SIDE, SIDE)), nn.Conv2d(1, 8, 3, 2), active(), nn.Conv2d(8, 16, 3), active()]
            parts, size = [*parts, nn.Flatten()], 256
        for _ in range(self.depth):
            parts += [nn.Linear(size, self.width), norm(self.width), active()]
            size = self.width
        return nn.Sequential(*(part for part in parts if not isinstance(part, nn.Identity)), nn.Linear(size, outputs))

    def make(self, parameters: Any) -> torch.optim.Optimizer:
        """Its optimizer."""
        kind, settings, _ = OPTIMIZERS[self.optimizer]
        return kind(parameters, lr=self.step_size, **settings)


def draw(number: int) -> Case:
    """The case of a number; the same each time."""
    chance = np.random.default_rng(number)
    pick = lambda values: values[chance.integers(len(values))]  # noqa: E731
    source = pick([*IMAGES, "flights", "teacher"])
    optimizer = pick([*OPTIMIZERS])
    return Case(
        number=number,
        source=source,
        network="cnn" if source in IMAGES and chance.random() < 0.25 else "mlp",
        width=pick((16, 64, 128)),
        depth=pick((1, 2, 3)),
        activation=pick(("relu", "relu", *ACTIVATIONS)),
        norm=pick(("none", "none", "none", "layer", "batch")),
        optimizer=optimizer,
        step_size=pick(OPTIMIZERS[optimizer][2]),
        history=pick(("new", "trained", "trained", "worn", "worn", "worn")),
        change=pick(("inputs", "meaning", "labels")),
        epochs=int(chance.integers(1, 6)),
    )


@cache
def data(source: str) -> tuple[Tensor, Tensor, int]:
    """Inputs [N, size], targets (classes [N], or numbers [N, 1] of variance 1), and the number of outputs."""
    chance = np.random.default_rng(0)
    if source in IMAGES:
        found, outputs = labelled(IMAGES[source]), CLASSES[source]
        own = np.flatnonzero(np.asarray(found.train_labels) < outputs)
        rows = np.sort(chance.choice(own, min(EXAMPLES, len(own)), replace=False))
        images = torch.as_tensor(np.asarray(found.train_images[rows])).float().mean(1, keepdim=True)
        x = functional.interpolate(images, (SIDE, SIDE), mode="area").flatten(1)
        return (x - x.mean(0)) / (x.std(0) + 0.1), torch.as_tensor(np.asarray(found.train_labels[rows])).long(), outputs
    if source == "flights":
        found = neoteny.data.flights()
        delay, hour = np.asarray(found.delay[:EXAMPLES]), np.asarray(found.minute[:EXAMPLES]) % 1440 / 1440
        places = [np.asarray(each[:EXAMPLES]) for each in (found.origin, found.destination)]
        ports = np.argsort(-np.bincount(np.concatenate(places)))[:10]
        columns = [np.asarray(found.distance[:EXAMPLES]), np.sin(2 * np.pi * hour), np.cos(2 * np.pi * hour)]
        columns += [place == port for place in places for port in ports]
        x, y = torch.tensor(np.stack(columns, 1).astype(np.float32)), torch.tensor(np.clip(delay, -60, 180)).float()
        return (x - x.mean(0)) / (x.std(0) + 0.1), ((y - y.mean()) / y.std())[:, None], 1
    x = torch.tensor(chance.standard_normal((EXAMPLES, 20)), dtype=torch.float32)
    return x, teacher(x, torch.Generator().manual_seed(0)), 1


def teacher(x: Tensor, chance: torch.Generator) -> Tensor:
    """What a random ReLU network makes of the inputs, of mean 0 and variance 1."""
    size = x.shape[1]
    y = torch.relu(x @ torch.randn(size, 30, generator=chance)) @ torch.randn(30, 1, generator=chance)
    return (y - y.mean()) / y.std()


def task(case: Case, number: int) -> tuple[Tensor, Tensor]:
    """Task 0 is the data as they are."""
    x, y, outputs = data(case.source)
    chance = torch.Generator().manual_seed(1_000 * case.number + number)
    if number == 0:
        return x, y
    if case.change == "inputs":
        return x[:, torch.randperm(x.shape[1], generator=chance)], y
    if case.change == "meaning":
        return x, teacher(x, chance) if y.is_floating_point() else torch.randperm(outputs, generator=chance)[y]
    few = torch.randperm(len(y), generator=chance)
    return x[few[:FEW]], y[few[-FEW:]]


def recent(case: Case) -> tuple[Tensor, Tensor]:
    """What its user would look at it with: the last examples that it has learned from."""
    x, y = task(case, TASKS - 1 if case.history == "worn" else 0)
    return x[:PROBE], y[:PROBE]


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy for classes, squared error for numbers."""
    return (
        functional.mse_loss(output, target) if target.is_floating_point() else functional.cross_entropy(output, target)
    )


def order(examples: int, steps: int, seed: int) -> Tensor:
    """The rows of every step, [steps, BATCH], without repetition within an epoch."""
    chance = torch.Generator().manual_seed(seed)
    whole = examples // BATCH * BATCH
    epochs = [torch.randperm(examples, generator=chance)[:whole] for _ in range(-(-steps * BATCH // whole))]
    return torch.cat(epochs)[: steps * BATCH].view(steps, BATCH)


def learn(model: nn.Module, x: Tensor, y: Tensor, optimizer: torch.optim.Optimizer, steps: int, seed: int) -> None:
    """Learn one task."""
    for rows in order(len(x), steps, seed):
        optimizer.zero_grad()
        loss_of(model(x[rows]), y[rows]).backward()
        optimizer.step()


@dataclass(frozen=True)
class Course:
    """What networks saw while they learned, [networks, steps]: the loss before each step, and the share of errors."""

    losses: Tensor
    errors: Tensor
    """of classes; of numbers the loss"""


def learn_together(
    models: Sequence[nn.Module], x: Tensor, y: Tensor, rows: Tensor, make: Make, start: Tensor | None = None
) -> Course:
    """Let networks of one architecture learn at once, each alone: a stack of them, whose losses are added up.

    Args:
        models: the networks; they stay as they were.
        x: inputs, [networks, examples, size], perhaps expanded.
        y: targets, [networks, examples] or [networks, examples, 1].
        rows: of every step, [networks, steps, BATCH].
        make: their optimizer, which must act on each number by itself.
        start: what is taken from every output, [networks, examples, outputs].
    """
    copies = [torch.func.replace_all_batch_norm_modules_(copy.deepcopy(model)).train() for model in models]
    weights, _ = torch.func.stack_module_state(copies)
    optimizer = make(list(weights.values()))
    answer = torch.vmap(lambda own, inputs: torch.func.functional_call(copies[0], own, (inputs,)))
    numbers, which = y.is_floating_point(), torch.arange(len(models))[:, None]
    losses, errors = [], []
    for chosen in rows.unbind(1):
        output, target = answer(weights, x[which, chosen]), y[which, chosen]
        if start is not None:
            output = output - start[which, chosen]
        if numbers:
            loss = (output - target).square().mean((1, 2))
        else:
            loss = functional.cross_entropy(output.flatten(0, 1), target.flatten(), reduction="none")
            loss = loss.view(target.shape).mean(1)
        losses.append(loss.detach())
        errors.append(losses[-1] if numbers else (output.detach().argmax(-1) != target).float().mean(1))
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    return Course(torch.stack(losses, 1), torch.stack(errors, 1))


def grown(case: Case) -> tuple[nn.Module, nn.Module]:
    """The network after its history, and as it was at its start."""
    model = case.build(case.number)
    start = copy.deepcopy(model)
    optimizer = case.make(model.parameters())
    if case.history == "trained":
        learn(model, *task(case, 0), optimizer, case.epochs * EXAMPLES // BATCH, case.number)
    if case.history == "worn":
        for number in range(TASKS):
            learn(model, *task(case, number), optimizer, TASK_STEPS, case.number + number)
    return model, start


def truth(case: Case, model: nn.Module) -> dict[str, list[float]]:
    """The mean error on each new task, of the network and of new ones, all on the same batches."""
    group = 1 + NEW_NETWORKS
    numbers = range(TASKS, TASKS + NEW_TASKS)
    models = [
        net
        for number in numbers
        for net in (model, *map(case.build, range(10**6 * number, 10**6 * number + NEW_NETWORKS)))
    ]
    x, y = (torch.stack(each) for each in zip(*(task(case, number) for number in numbers), strict=True))
    rows = torch.stack([order(x.shape[1], NEW_STEPS, number) for number in numbers])
    course = learn_together(models, *(each.repeat_interleave(group, 0) for each in (x, y, rows)), case.make)
    errors = course.errors.mean(1).view(NEW_TASKS, group)
    return {"own_errors": errors[:, 0].tolist(), "new_errors": errors[:, 1:].flatten().tolist()}


def known(number: int, folder: Path) -> dict[str, Any]:
    """The case of a number, its network, the start of that and the truth; made once, then read from the folder."""
    path = folder / f"{number}.pt"
    if not path.exists():
        case = draw(number)
        model, start = grown(case)
        finite = all(bool(value.isfinite().all()) for value in model.parameters())
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "case": asdict(case), "model": model.state_dict(), "start": start.state_dict(), "finite": finite,
            "truth": truth(case, model) if finite else {},
        }  # fmt: skip
        torch.save(content, part := path.with_suffix(".part"))
        part.replace(path)
    return torch.load(path, weights_only=True)
