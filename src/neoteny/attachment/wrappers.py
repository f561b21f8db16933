"""Optimizers within optimizers: which of them makes the steps that methods follow, and which keep state.

Trainers wrap an optimizer to scale losses or to count (Accelerate, Lightning); such a wrapper adds nothing to a step.
Others do: Lookahead pulls weights back towards slow copies, SAM takes a gradient at another point. Methods act after
the step of the outermost one that torch calls hooks for. SAM is often stepped in two halves (`first_step` and
`second_step`), and only the optimizer within it then calls hooks.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch

from neoteny.errors import SettingError

__all__ = ["acting", "in_halves", "is_nested", "saving", "within", "without_trainers"]

_HOOKED = torch.optim.Optimizer.profile_hook_step(lambda self: None).__code__
_TRAINERS = ("accelerate.", "lightning.", "pytorch_lightning.", "lightning_fabric.")


def within(optimizer: Any) -> list[Any]:
    """An optimizer and all optimizers that it holds, the outermost first.

    >>> sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    >>> within(sgd) == [sgd]
    True
    """
    found, waiting = dict[int, Any](), [optimizer]
    while waiting:
        one = waiting.pop(0)
        if id(one) not in found:
            found[id(one)] = one
            held = [value if isinstance(value, (list, tuple)) else [value] for value in vars(one).values()]
            waiting += [value for values in held for value in values if isinstance(value, torch.optim.Optimizer)]
    return list(found.values())


def without_trainers(optimizer: Any) -> Any:
    """The optimizer inside wrappers that add nothing to its steps: those of trainers, and what is no optimizer itself.

    >>> class Warmup:
    ...     def __init__(self, optimizer):
    ...         self.optimizer = optimizer
    >>> sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)
    >>> without_trainers(Warmup(Warmup(sgd))) is sgd
    True
    """
    while not _has_rule(optimizer) and hasattr(own := getattr(optimizer, "optimizer", None), "__dict__"):
        optimizer = own
    return optimizer


def _has_rule(optimizer: Any) -> bool:
    """Whether an optimizer has a step of its own, other than to call that of one within it."""
    own = isinstance(optimizer, torch.optim.Optimizer) and "step" in dir(type(optimizer))
    named = any(cls.__module__.startswith(_TRAINERS) for cls in type(optimizer).__mro__)
    return own and type(optimizer).step is not torch.optim.Optimizer.step and not named


def acting(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer whose steps methods follow.

    Raises:
        SettingError: it is stepped in two halves and holds no other optimizer, so that no hook is ever called.
    """
    found = within(optimizer)
    follows = [one for one in found if _calls_hooks(one)]
    if not follows:
        raise SettingError(
            f"attach: {type(optimizer).__name__} has no step() that calls torch's hooks (it may be made in two halves, "
            "first_step and second_step), so methods would never act; give the optimizer within it, or call "
            "super().__init__ in its class and make its steps with step()."
        )
    return follows[0]


def _calls_hooks(optimizer: Any) -> bool:
    """Whether `step` is torch's, which calls hooks, and is what a training loop calls."""
    hooks = getattr(optimizer, "_optimizer_step_post_hooks", None)
    return hooks is not None and getattr(type(optimizer).step, "hooked", False) and not in_halves(optimizer)


def in_halves(optimizer: Any) -> bool:
    """Whether its steps can be made in two halves, between which the gradient is computed again (SAM)."""
    return hasattr(optimizer, "first_step") and hasattr(optimizer, "second_step")


@functools.cache
def _nests(kind: type) -> bool:
    """Whether several classes of an optimizer have hooks called for their step."""
    return sum("step" in vars(cls) and getattr(vars(cls)["step"], "hooked", False) for cls in kind.__mro__) > 1


def is_nested(optimizer: torch.optim.Optimizer) -> bool:
    """Within a hook of an optimizer's step: whether this step is part of another step of the same optimizer.

    A class whose `step` calls that of its base has hooks called for both.
    """
    if not _nests(type(optimizer)):
        return False
    frame, times = sys._getframe(), 0
    while frame is not None:
        times += frame.f_code is _HOOKED and frame.f_locals.get("self") is optimizer
        frame = frame.f_back
    return times > 1


def saving(optimizer: Any) -> torch.optim.Optimizer:
    """The optimizer whose `state_dict` and `load_state_dict` call hooks; those of wrappers usually call its."""
    for one in within(optimizer):
        if type(one).state_dict is torch.optim.Optimizer.state_dict and hasattr(
            one, "_optimizer_state_dict_post_hooks"
        ):
            return one
    return acting(optimizer)
