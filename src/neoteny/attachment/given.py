"""What `neoteny.attach` was given: the network and its optimizers, or an error that says what was given instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from neoteny.attachment.wrappers import within, without_trainers
from neoteny.errors import SettingError

__all__ = ["as_network", "as_optimizers"]


def as_network(model: Any, optimizer: Any) -> nn.Module:
    """The network.

    Raises:
        SettingError: it is something else.
    """
    if isinstance(model, nn.Module):
        return model
    if isinstance(model, torch.optim.Optimizer) and isinstance(optimizer, nn.Module):
        raise SettingError("attach: model and optimizer are swapped; write attach(model, optimizer, methods, ...).")
    raise SettingError(f"attach: model is {_what(model)}, not a network; give the nn.Module that the optimizer trains.")


def as_optimizers(optimizer: Any) -> list[torch.optim.Optimizer]:
    """The optimizers, without the wrappers of trainers.

    Raises:
        SettingError: there is none, or something else among them, or one comes twice.
    """
    several = isinstance(optimizer, Iterable) and not isinstance(
        optimizer, (str, Mapping, torch.Tensor, torch.optim.Optimizer)
    )
    found = [_one(each) for each in (optimizer if several else [optimizer])]
    if not found:
        raise SettingError("attach: optimizer is an empty list; give the optimizers that train the network.")
    if len(set(map(id, found))) < len(found):
        raise SettingError("attach: an optimizer comes twice in the list; give each once, in the order of their steps.")
    return found


def _one(given: Any) -> torch.optim.Optimizer:
    if isinstance(given, torch.optim.lr_scheduler.LRScheduler):
        raise SettingError(f"attach: {_what(given)} is a scheduler; give the optimizer whose step size it changes.")
    if hasattr(given, "__dict__") and not isinstance(given, (type, torch.Tensor)):
        inner = without_trainers(given)
        if any(isinstance(one, torch.optim.Optimizer) for one in within(inner)):
            return inner
    cures = {
        Mapping: "give its optimizers as a list, list(optimizers.values()), in the order of their steps",
        torch.Tensor: "give the optimizer, not what it trains",
        type: "give an instance, made with model.parameters()",
    }
    cure = next((cure for kind, cure in cures.items() if isinstance(given, kind)), None)
    raise SettingError(
        f"attach: optimizer is {_what(given)}, not an optimizer; "
        f"{cure or 'give a torch.optim.Optimizer, or a list of several'}."
    )


def _what(given: Any) -> str:
    if isinstance(given, type):
        return f"the class {given.__name__}"
    return repr(given) if given is None or isinstance(given, (str, int, float)) else f"a {type(given).__name__}"
