"""Copies of networks for tracing that hold no large weights: a linear map's output is replaced anyway.

Such a weight becomes one number that is repeated without memory, and torch's own linear maps only say which shape
their output has. So a network of a billion weights, or one on `meta`, is traced as quickly as a small one.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from neoteny.units.copying import bare_copy, in_precision
from neoteny.units.maps import is_channelwise, known_map

__all__ = ["light_copy", "only_shapes", "traceable_copy"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MANY = 50_000_000  # parameters
_COMPUTED = tuple(kind.forward for kind in (nn.Linear, *_CONVOLUTIONS))


def traceable_copy(model: nn.Module, dtype: torch.dtype, whole: Collection[str] | None = ()) -> nn.Module:
    """A bare copy with its real numbers in `dtype`, on the CPU where the network is on `meta`.

    Args:
        model: the network.
        dtype: of its floating-point parameters and buffers; complex ones stay complex.
        whole: names of weights that something reads beside their module, which are copied; None copies all.
    """
    replaced: dict[int, Tensor] = {}
    for name, module in model.named_modules():
        if whole is not None and _is_cut(name, module):
            for own, parameter in module.named_parameters(name, recurse=False):
                if own not in whole:
                    replaced[id(parameter)] = _repeated(parameter, dtype)
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in replaced:
            replaced[id(tensor)] = _copied(tensor, dtype)
    return bare_copy(model, replaced)


def light_copy(model: nn.Module) -> nn.Module:
    """A bare copy; of a network with many weights, or on `meta`, one without large weights: only its graph is right."""
    parameters = list(model.parameters())
    if sum(p.numel() for p in parameters) <= _MANY and not any(p.is_meta for p in parameters):
        return bare_copy(model)
    return traceable_copy(model, next((p.dtype for p in parameters if p.is_floating_point()), torch.float32))


def _is_cut(name: str, module: nn.Module) -> bool:
    """Whether tracing replaces whatever the module computes with its parameters."""
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention)):
        return True
    return known_map(name, module) is not None and not is_channelwise(module)


def _repeated(parameter: nn.Parameter, dtype: torch.dtype) -> Tensor:
    if not parameter.is_floating_point():
        return _copied(parameter, dtype)
    device = "cpu" if parameter.is_meta else parameter.device
    number = torch.full((), 0.01, dtype=dtype, device=device)
    return nn.Parameter(number.expand(parameter.shape), requires_grad=parameter.requires_grad)


def _copied(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    if tensor.is_meta:  # without values: any that are not special
        drawn = torch.rand(tensor.shape) + 0.5
        copied = drawn.to(dtype) if tensor.is_floating_point() else torch.zeros(tensor.shape, dtype=tensor.dtype)
    else:
        copied = in_precision(tensor.detach(), dtype)
        copied = copied.clone() if copied.data_ptr() == tensor.data_ptr() else copied
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def only_shapes(module: nn.Module) -> None:
    """Have one of torch's linear maps give out an empty tensor of the right shape, in place; leave others alone."""
    if type(module).forward not in _COMPUTED:
        return
    ghost = copy.copy(module)
    ghost.__dict__["_parameters"] = {
        own: None if p is None else nn.Parameter(torch.empty(p.shape, dtype=p.dtype, device="meta"), False)
        for own, p in module._parameters.items()
    }

    def forward(*args: Any, **kwargs: Any) -> Tensor:
        devices: list[torch.device] = []

        def shape(value: Any) -> Any:
            if isinstance(value, Tensor):
                devices.append(value.device)
                return value.detach().to("meta")
            return value

        args, kwargs = tree_map(shape, (args, kwargs))
        with torch.no_grad():
            made = type(module).forward(ghost, *args, **kwargs)
        return torch.empty(made.shape, dtype=made.dtype, device=devices[0])

    module.forward = forward
