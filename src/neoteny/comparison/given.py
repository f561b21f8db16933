"""What `neoteny.compare` was given: functions that make networks and optimizers, methods, a loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from operator import index
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from neoteny.checks import shown
from neoteny.errors import NetworkError, SettingError
from neoteny.methods.base import Method
from neoteny.methods.shared.combining import as_methods, refuse_impossible
from neoteny.registry.ranking import RANKING, SHORT_LIST, WITH_TASKS

__all__ = [
    "Loss", "as_entries", "check_build", "check_loss", "check_optimizer", "check_tasks", "name_of", "seeded",
    "usual_loss",
]  # fmt: skip

Loss = Callable[[Any, Tensor], Tensor]


def check_build(build: Any, several: bool) -> nn.Module:
    """Refuse what does not make a new network at every call, and other weights for every seed; gives one network.

    Args:
        build: the function.
        several: whether there are several seeds, which should begin with weights of their own.

    Raises:
        SettingError: it is a network, or no function, or it returns the same network or the same weights again.
        NetworkError: it returns something else.
    """
    if isinstance(build, nn.Module) or not callable(build):
        what = f"a {type(build).__name__}, a network" if isinstance(build, nn.Module) else shown(build)
        raise SettingError(f"compare: build is {what}; give a function that returns a new network, lambda: Net(...).")
    one, other = (seeded(cast(Callable[[], nn.Module], build), seed) for seed in (0, 1))
    for found in (one, other):
        if not isinstance(found, nn.Module):
            raise NetworkError(
                f"compare: build() returned {shown(found)}, not an nn.Module: let it return the network."
            )
    if one is other or {id(p) for p in one.parameters()} & {id(p) for p in other.parameters()}:
        raise SettingError(
            "compare: build() returned the same network twice, so runs would go on from each other's weights; make the "
            "network inside the function."
        )
    pairs = list(zip(one.parameters(), other.parameters(), strict=False))
    if several and pairs and all(torch.equal(a, b) for a, b in pairs):
        raise SettingError(
            "compare: build() returned the same weights for two seeds, so the runs would not differ: it seeds torch, "
            "or loads weights. Leave the seeding to compare; where it must begin with given weights, say seeds=1."
        )
    return one


def seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose weights are drawn with this seed; torch's own generator stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def check_optimizer(make: Any, model: nn.Module) -> list[float]:
    """Refuse what makes no optimizer of a network's parameters; gives the step sizes of its groups.

    Raises:
        SettingError: it is an optimizer, or no function, cannot be called with parameters alone, returns something
            else, or an optimizer of other parameters or without a step size.
    """
    how = "give a function of the parameters, such as lambda parameters: torch.optim.Adam(parameters, lr=1e-3)"
    if isinstance(make, torch.optim.Optimizer) or not callable(make):
        raise SettingError(f"compare: optimizer is a {type(make).__name__}, but every run needs one of its own; {how}.")
    try:
        optimizer = make(model.parameters())
    except TypeError as error:
        raise SettingError(f"compare: optimizer(parameters) failed ({error}); {how}.") from error
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise SettingError(f"compare: optimizer(parameters) returned {shown(optimizer)}, not an optimizer; {how}.")
    trained = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not trained & {id(p) for p in model.parameters()}:
        raise SettingError(f"compare: optimizer(parameters) returned one that trains other parameters; {how}.")
    if any("lr" not in group for group in optimizer.param_groups):
        raise SettingError(
            "compare: the optimizer has no step size (lr) in its groups, so none can be chosen; give one that has."
        )
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise SettingError(
            f"compare: {type(optimizer).__name__} needs a closure, which compare does not give; take one "
            "whose step needs none."
        )
    return [float(group["lr"]) for group in optimizer.param_groups]


def check_tasks(tasks: Any, batches: int) -> tuple[int, ...]:
    """Refuse what are no numbers of batches that are used: methods would wait for such a change of task in vain.

    Raises:
        SettingError: so it is.
    """
    cure = f"give numbers of batches from 0 to {batches - 1}, those with which a task begins"
    try:
        found = tuple(index(task) for task in tasks)
    except TypeError as error:
        raise SettingError(f"compare: tasks = {shown(tasks)} is no list of whole numbers; {cure}.") from error
    if beyond := [task for task in found if not 0 <= task < batches]:
        raise SettingError(f"compare: tasks has {beyond[0]}, but {batches} batches are used; {cure}.")
    return found


def as_entries(methods: Any, tasks: bool) -> dict[str, tuple[Method, ...]]:
    """The methods to compare by their names; several that act together are one entry.

    Args:
        methods: a method or its name, a list of these, in which a list or `"cbp+l2"` stands for methods that act
            together; None for the short list. A second one of the same name has a number.
        tasks: whether changes of task are known.

    Raises:
        SettingError: something else is among them, two exclude each other, there is none, or one acts only at changes
            of task and these are not known.
        UnknownNameError: there is no method of a name.
    """
    if methods is None:
        methods = sorted([*SHORT_LIST, *WITH_TASKS * tasks], key=RANKING.index)
    several = isinstance(methods, Iterable) and not isinstance(methods, (Method, str, type, Mapping))
    entries: dict[str, tuple[Method, ...]] = {}
    for each in list(methods) if several else [methods]:
        together = tuple(as_methods(each.split("+") if isinstance(each, str) else each, "compare"))
        refuse_impossible(together)
        name = " + ".join(method.name or type(method).__name__ for method in together)
        idle = [type(method).__name__ for method in together if method.needs_tasks]
        if idle and not tasks:
            raise SettingError(
                f"compare: {', '.join(idle)} acts where the task changes, and compare knows of no such changes; give "
                "tasks=[...], the numbers of the batches with which a task begins, or the method a period of its own."
            )
        again = sum(other == name or other.startswith(f"{name} (") for other in entries)
        if together:
            entries[f"{name} ({again + 1})" if again else name] = together
    if not entries:
        raise SettingError(
            "compare: methods is empty; give some, such as ['cbp', 'l2-init'], or None for a short list."
        )
    return entries


def usual_loss(targets: Tensor) -> Loss:
    """Cross-entropy for whole-number targets, which are classes; squared error for others."""
    return squared_error if targets.is_floating_point() else cross_entropy


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Of classes [batch, ...], outputs being [batch, classes, ...]."""
    return functional.cross_entropy(outputs, targets.long())


def squared_error(outputs: Tensor, targets: Tensor) -> Tensor:
    """The mean over all numbers; outputs [batch, 1] and targets [batch] are of one shape."""
    if outputs.shape != targets.shape and outputs.squeeze(-1).shape != targets.squeeze(-1).shape:
        raise SettingError(
            f"compare: the network's outputs have the shape {tuple(outputs.shape)}, the targets "
            f"{tuple(targets.shape)}; let them agree, give whole-number targets for classes, or a loss of your own."
        )
    return functional.mse_loss(outputs.view_as(targets), targets)


def check_loss(loss: Loss, outputs: Any, targets: Tensor) -> None:
    """Refuse a loss that does not fit to outputs and targets, or is no single number.

    Raises:
        SettingError: so it is.
    """
    own = loss not in (cross_entropy, squared_error)
    cure = "give loss=, a function of outputs and targets"
    if not own and not isinstance(outputs, Tensor):
        raise SettingError(f"compare: the network returns a {type(outputs).__name__}, not a tensor; {cure}.")
    try:
        value = loss(outputs, targets)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        if isinstance(error, SettingError):
            raise
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        name = getattr(loss, "__name__", "loss")
        raise SettingError(
            f"compare: {name} does not fit to outputs {shape} and targets {tuple(targets.shape)} of {targets.dtype} "
            f"({error}); {cure}."
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
        raise SettingError(f"compare: the loss is {shown(value)}, not one number with a gradient; {cure}.")


def name_of(function: Any, usual: str) -> str:
    """What to call a function in code: its own name, unless it has none that can be written.

    >>> name_of(torch.optim.Adam, "make"), name_of(lambda: 0, "make")
    ('torch.optim.Adam', 'make')
    """
    name = getattr(function, "__name__", "")
    if inspect.isclass(function) and function.__module__.startswith("torch.optim"):
        return f"torch.optim.{name}"
    return name if name.isidentifier() else usual
