"""Modules of one's own that are activations, such as those of `transformers`: found by what they compute.

A module without parameters and without modules inside is an activation if it takes one tensor and gives each number a
value of its own, whatever the others are, and not a linear one.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

__all__ = ["ElementwiseModules", "is_elementwise"]


class ElementwiseModules:
    """Finds them while a network runs.

    Args:
        model: the network; `remove` takes the hooks off again.
        known: modules that are left out.

    Attributes:
        names: of those found so far.
    """

    def __init__(self, model: nn.Module, known: tuple[type[nn.Module], ...]):
        self.names: set[str] = set()
        self._handles = [
            module.register_forward_hook(partial(self._look, name), with_kwargs=True)
            for name, module in model.named_modules()
            if not isinstance(module, known)
            and next(module.children(), None) is None
            and not module._parameters
            and not module._buffers
        ]

    def _look(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if len(tensors) == 1 and isinstance(output, Tensor) and output.shape == tensors[0].shape and output.numel():
            if is_elementwise(module, tensors[0]):
                self.names.add(name)
            else:
                self.names.discard(name)

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


def is_elementwise(module: nn.Module, like: Tensor) -> bool:
    """Whether a module is a nonlinear function of each number by itself.

    >>> is_elementwise(nn.Tanh(), torch.zeros(2, 3)), is_elementwise(nn.Softmax(-1), torch.zeros(2, 3))
    (True, False)
    >>> is_elementwise(nn.Identity(), torch.zeros(2, 3))
    False
    """
    if not like.is_floating_point():
        return False
    points = torch.linspace(-3, 3, 36, device=like.device, dtype=like.dtype)
    with torch.no_grad():
        try:
            values = module.forward(points.view(6, 6)).flatten()
            others = module.forward(points.flip(0).view(2, 18)).flatten().flip(0)
        except Exception:  # it needs inputs of its own kind
            return False
    if values.shape != points.shape or others.shape != points.shape or not torch.allclose(values, others):
        return False
    bends = values[2:] - 2 * values[1:-1] + values[:-2]
    return bool(bends.abs().max() > 1e-3 * (values.abs().max() + 1e-6))
