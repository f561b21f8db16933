"""Copies of networks to look into, and the tensors in what networks give out."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from neoteny.errors import NetworkError
from neoteny.units.maps import unwrapped

__all__ = ["bare_copy", "in_precision", "numbers_in", "output_tensors", "set_mode"]

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_DEPTH = 3  # objects within objects that a module holds, such as a distribution within a policy's


def bare_copy(model: nn.Module, replaced: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy in evaluation mode, without gradients, its owner's hooks and the wrappers of compiling and parallelism.

    Hooks of torch and of this library's networks stay: they compute weights, or outputs. The owner's hooks are taken
    off, since they would act on the owner's objects.

    Args:
        model: the network.
        replaced: what stands in the copy for some of its tensors, by their `id`.

    Raises:
        NetworkError: the model cannot be copied.
    """
    inner, _ = unwrapped(model)
    try:
        kept = {id(tensor): tensor.detach().clone() for tensor in _kept_tensors(inner)}
        copied = copy.deepcopy(inner, {**kept, **(replaced or {})})
    except Exception as error:  # whatever a module keeps may refuse in its own way
        raise NetworkError(
            f"{type(inner).__name__} cannot be copied ({error}): copies are looked into so that the network itself "
            "stays as it is; drop what its modules keep that cannot be copied."
        ) from error
    for module in copied.modules():
        module.training = False
        for hooks in (getattr(module, name) for name in _HOOKS):
            for key, hook in list(hooks.items()):
                home = getattr(hook, "__module__", None) or type(hook).__module__
                if not home.startswith(("torch.", "neoteny.nn.")):
                    del hooks[key]
    given = {id(tensor) for tensor in (replaced or {}).values()}  # the caller's, which may be the model's own
    for parameter in copied.parameters():
        if id(parameter) not in given:
            parameter.grad = None
    return copied


def set_mode(model: nn.Module, training: bool) -> None:
    """Set a mode; in training what draws at random and what takes statistics over the batch is switched off."""
    model.train(training)
    for module in model.modules():
        if isinstance(module, (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)):
            module.training = False


def in_precision(value: Any, dtype: torch.dtype) -> Any:
    """A tensor, or a module's tensors in place, in this floating-point type; complex ones stay complex.

    >>> in_precision(torch.zeros(2, dtype=torch.complex64), torch.float64).dtype
    torch.complex128
    """
    if isinstance(value, nn.Module):
        return value._apply(lambda tensor: in_precision(tensor, dtype))
    if value.is_complex():
        return value.to(dtype.to_complex() if dtype in (torch.float64, torch.float32, torch.float16) else value.dtype)
    return value.to(dtype) if value.is_floating_point() else value


def _kept_tensors(model: nn.Module) -> Iterator[Tensor]:
    """Results of computations that modules, or what they hold, keep as attributes: torch refuses to copy them."""
    held = [(module.__dict__, _DEPTH) for module in model.modules()]
    seen = set()
    while held:
        own, depth = held.pop()
        for value in tree_leaves(list(own.values())):
            if isinstance(value, Tensor):
                if not value.is_leaf:
                    yield value
            elif depth and _is_object(value) and id(value) not in seen:
                seen.add(id(value))
                held.append((vars(value), depth - 1))


def _is_object(value: object) -> bool:
    return hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module))


def output_tensors(output: Any) -> list[Tensor]:
    """The floating-point and complex tensors in an output of any make: tuples, mappings, dataclasses, distributions.

    Complex ones are given as their real and imaginary parts.

    >>> [tensor.shape for tensor in output_tensors({"logits": torch.zeros(2, 3), "tokens": torch.zeros(2, 3).long()})]
    [torch.Size([2, 3])]
    """
    return [tensor for tensor in _tensors_in(output) if tensor.is_floating_point()]


def numbers_in(output: Any) -> list[Tensor]:
    """All that an output says, as floating-point tensors: whole numbers, truth values and single numbers as well.

    >>> numbers_in((torch.tensor([True, False]), 3))
    [tensor([1., 0.], dtype=torch.float64), tensor(3., dtype=torch.float64)]
    """
    return [tensor if tensor.is_floating_point() else tensor.double() for tensor in _tensors_in(output)]


def _tensors_in(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [torch.view_as_real(output) if output.is_complex() else output]
    if isinstance(output, (bool, int, float)):
        return [torch.tensor(output)]
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        output = [getattr(output, field.name) for field in dataclasses.fields(output)]
    elif isinstance(output, torch.distributions.Distribution):
        output = list(vars(output).values())
    leaves = tree_leaves(output)
    return [tensor for leaf in leaves if leaf is not output for tensor in _tensors_in(leaf)]
