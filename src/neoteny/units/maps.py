"""What is known of single modules: which are linear maps and how their weights lie, which are norms, which wrap others.

A linear map's outputs are the candidates for hidden units, its inputs are what reads others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "LinearMap",
    "beside_weight",
    "is_channelwise",
    "is_linear",
    "is_norm",
    "known_map",
    "newborn_norm",
    "over_channels",
    "recognised",
    "unwrapped",
    "unwrapped_optimizer",
]

_NEWBORN = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}


@dataclass(frozen=True)
class LinearMap:
    """How a linear map's inputs and outputs lie in its weight.

    Args:
        label: what its outputs are called, the module's name as a rule.
        weight: the weight's qualified name.
        bias: the bias's qualified name, or None.
        inputs: dimension of the weight that its inputs run along; None for an embedding, whose inputs are indices.
        outputs: dimension of the weight that its outputs run along.
        spatial: dimensions of its input behind that of the units (those of the kernel).
        groups: of a grouped convolution; they split dimension 0 of the weight.
        offset: the first of its outputs in a weight that several maps share (query, key and value; gates).
        fused: how many maps share that weight.
        shared: what else uses the weight, in words, or None.
        trains: whether the weight is trained.
    """

    label: str
    weight: str
    bias: str | None
    inputs: int | None
    outputs: int
    spatial: int = 0
    groups: int = 1
    offset: int = 0
    fused: int = 1
    shared: str | None = None
    trains: bool = True

    @property
    def unzeroable(self) -> str | None:
        """Why a newborn's consumer weights here cannot be set to zero; None where they can."""
        return self.shared if self.shared else None if self.trains else "its weight is frozen"

    def groups_along(self, dim: int) -> int:
        """In how many groups positions along a dimension of the weight are counted: those of dimension 0 divide it."""
        return self.groups if dim == 1 else 1


def known_map(name: str, module: nn.Module) -> LinearMap | None:
    """The linear map that a module of torch's own is; None for others.

    None also where its weight is no parameter of it, is complex, or is not all that it computes with.
    """
    weight = module._parameters.get("weight")
    if weight is None or weight.is_complex() or beside_weight(module):
        return None
    prefix = f"{name}." if name else ""
    bias = f"{prefix}bias" if module._parameters.get("bias") is not None else None
    found = LinearMap(name, f"{prefix}weight", bias, 1, 0, trains=weight.requires_grad)
    match module:
        case nn.Linear():
            return found
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return replace(found, spatial=len(module.kernel_size), groups=module.groups)
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            return replace(found, inputs=0, outputs=1, spatial=len(module.kernel_size), groups=module.groups)
        case nn.Embedding():
            return replace(found, inputs=None, outputs=1)
    return None


def recognised(name: str, module: nn.Module, value: Tensor, output: Tensor) -> LinearMap | None:
    """The linear map that an unknown module turns out to be, from what it made of `value`: x W, or x Wᵀ, and a bias.

    >>> class Own(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.kernel = nn.Parameter(torch.randn(3, 4))
    ...     def forward(self, x):
    ...         return x @ self.kernel
    >>> x = torch.randn(2, 3)
    >>> recognised("own", Own(), x, Own()(x)) is None, (own := Own()) is None
    (True, False)
    >>> recognised("own", own, x, own(x)).weight
    'own.kernel'
    """
    parameters = {own: p for own, p in module._parameters.items() if p is not None}
    matrices = [own for own, p in parameters.items() if p.dim() == 2]
    vectors = [own for own, p in parameters.items() if p.dim() == 1]
    if any(p.is_complex() for p in parameters.values()):
        return None
    if len(matrices) != 1 or len(vectors) + 1 != len(parameters) or len(vectors) > 1:
        return None
    weight, bias = parameters[matrices[0]], parameters[vectors[0]] if vectors else None
    for inputs in (0, 1):
        matrix = weight if inputs == 0 else weight.T
        if value.shape[-1] != matrix.shape[0] or output.shape != (*value.shape[:-1], matrix.shape[1]):
            continue
        if bias is not None and bias.shape[0] != matrix.shape[1]:
            continue
        expected = value.to(matrix.dtype) @ matrix + (0 if bias is None else bias)
        if torch.allclose(expected, output.to(expected.dtype), rtol=1e-4, atol=1e-6):
            full = [f"{name}.{own}" if name else own for own in (*matrices, *vectors, "")]
            return LinearMap(
                name, full[0], full[1] if vectors else None, inputs, 1 - inputs, trains=weight.requires_grad
            )
    return None


def is_linear(module: nn.Module) -> bool:
    """Whether it is one of torch's linear maps, wherever its weight comes from."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return isinstance(module, (nn.Linear, *convolutions))


def beside_weight(module: nn.Module) -> list[str]:
    """The parameters that a subclass of torch's linear maps has beside its weight and bias, in it or inside it."""
    if not (is_linear(module) or isinstance(module, nn.Embedding)):
        return []
    return [name for name, _ in module.named_parameters() if name not in ("weight", "bias")]


def is_channelwise(module: nn.Module) -> bool:
    """Whether it is a depthwise convolution of one filter a channel: each goes on alone, as through a norm."""
    convolution = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    return convolution and 1 < module.groups == module.in_channels == module.out_channels


def is_norm(module: nn.Module) -> bool:
    """Whether it is a norm: torch's, and others by their name and one-dimensional parameters."""
    torchs = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
    if isinstance(module, torchs):
        return True
    parameters = list(module.parameters())
    named = type(module).__name__.lower().endswith(("norm", "norm1d", "norm2d", "norm3d"))
    return named and bool(parameters) and all(parameter.dim() == 1 for parameter in parameters)


def over_channels(module: nn.Module) -> bool:
    """Whether a norm's statistics run over channels, so that one unit reaches the others through them."""
    return not isinstance(module, nn.modules.batchnorm._NormBase)  # batch and instance norms keep each channel's own


def newborn_norm(name: str, module: nn.Module, units: int) -> Iterator[tuple[str, float]]:
    """A norm's parameters and statistics of so many units, and what they are for a newborn."""
    for full, tensor in (*module.named_parameters(name, False), *module.named_buffers(name, False)):
        if tensor.dim() and tensor.shape[0] == units:
            yield full, _NEWBORN.get(full.rpartition(".")[2], 0.0)


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """The module inside wrappers (torch.compile's, data parallelism's, Fabric's), and the prefix of names there."""
    prefix = ""
    while True:
        if hasattr(model, "_orig_mod"):
            model, prefix = model._orig_mod, prefix + "_orig_mod."  # pyright: ignore
        elif hasattr(model, "_forward_module") and hasattr(model, "_original_module"):  # Lightning Fabric
            model, prefix = model._forward_module, prefix + "_forward_module."  # pyright: ignore
        elif isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model, prefix = model.module, prefix + "module."
        else:
            return model, prefix


def unwrapped_optimizer(optimizer: Any) -> Any:
    """The optimizer inside the wrappers of trainers (Accelerate, Lightning), which make its steps."""
    while isinstance(own := getattr(optimizer, "optimizer", None), torch.optim.Optimizer):
        optimizer = own
    return optimizer
