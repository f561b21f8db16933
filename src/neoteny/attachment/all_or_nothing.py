"""Where attaching fails, whatever hooks it had registered by then come off again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

__all__ = ["all_or_nothing"]


@contextmanager
def all_or_nothing(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> Iterator[list[Callable[[], None]]]:
    """A part of the program after which the network and its optimizers have all new hooks, or, if it raises, none.

    It is given a list, of whose functions each is called, too, if it raises.

    >>> net = nn.Linear(2, 3)
    >>> try:
    ...     with all_or_nothing(net, []):
    ...         _ = net.register_forward_hook(print)
    ...         raise KeyError
    ... except KeyError:
    ...     print(len(net._forward_hooks))
    0
    """
    optimizers = list(optimizers)
    before = [(owner, name, None if hooks is None else set(hooks)) for owner, name, hooks in _hooks(model, optimizers)]
    undo: list[Callable[[], None]] = []
    try:
        yield undo
    except BaseException:
        for function in undo:
            function()
        now = {(id(owner), name): hooks for owner, name, hooks in _hooks(model, optimizers)}
        for owner, name, there in before:
            hooks = now[id(owner), name]
            if hooks is None:
                continue
            for key in set(hooks) - (there or set()):
                del hooks[key]
            if there is None:
                setattr(owner, name, None)
        raise


def _hooks(model: nn.Module, optimizers: Iterable[torch.optim.Optimizer]) -> Iterator[tuple[Any, str, Any]]:
    """All dictionaries of hooks, with what they belong to and their names there."""
    for owner in (*model.modules(), *optimizers):
        for name, hooks in list(vars(owner).items()):
            if "_hooks" in name and isinstance(hooks, MutableMapping):
                yield owner, name, hooks
    for parameter in model.parameters():
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks"):
            yield parameter, name, getattr(parameter, name)
