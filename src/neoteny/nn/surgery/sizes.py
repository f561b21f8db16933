"""The sizes of single layers and norms, how to change them, and how weights of another size are drawn."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from neoteny.units.initialise import Initialiser
from neoteny.units.maps import LinearMap, known_map

__all__ = ["Shapes", "at_size", "fans_of", "outputs_of", "scaling_rules", "set_shapes", "shapes_at", "size_of"]

Shapes = dict[str, tuple[int, ...]]
"""Shapes of a module's own parameters and buffers, by name."""
Fans = tuple[int, int]
"""Fan-in and fan-out."""

_GAINS = (math.sqrt(2), 1.0, 5 / 3, 0.5, 0.1, 0.01)
_FIXED = (0.02, 0.01, 0.1, 1.0)
_RULES = {
    # what the variance is inversely proportional to, and which multiples of a gain the bound or deviation can be then
    "fan_in": (lambda i, o: i, {"uniform": (math.sqrt(3), 1.0), "normal": (1.0,)}),
    "fan_sum": (lambda i, o: i + o, {"uniform": (math.sqrt(6),), "normal": (math.sqrt(2),)}),
    "fan_max": (lambda i, o: max(i, o), {"normal": (1.0,)}),
    "fan_out": (lambda i, o: o, {"uniform": (math.sqrt(3),), "normal": (1.0,)}),
}


def size_of(module: nn.Module, channels: int) -> int | None:
    """Inputs of a layer, or channels of a norm; None for what has no such size.

    Args:
        module: a linear layer, a convolution or a norm.
        channels: the dimension of the channels in its inputs, counted from the end.

    >>> size_of(nn.Conv2d(3, 8, 5), -3), size_of(nn.LayerNorm([8, 4, 4]), -3), size_of(nn.LayerNorm(4), -3)
    (3, 8, None)
    """
    match module:
        case nn.modules.batchnorm._NormBase():
            return module.num_features
        case nn.GroupNorm():
            return module.num_channels
        case nn.LayerNorm() | nn.RMSNorm():
            return module.normalized_shape[channels] if -channels <= len(module.normalized_shape) else None
    known, weight = _map(module)
    assert known.inputs is not None
    return weight.shape[known.inputs]


def outputs_of(layer: nn.Module) -> int:
    """Outputs of a layer."""
    known, weight = _map(layer)
    return weight.shape[known.outputs]


def fans_of(layer: nn.Module) -> Fans:
    """Inputs and outputs of one unit of a layer, counting the positions of a kernel, as torch counts them."""
    _, weight = _map(layer)
    positions = weight[0, 0].numel()
    return weight.shape[1] * positions, weight.shape[0] * positions


def shapes_at(module: nn.Module, channels: int, inputs: int, outputs: int | None = None) -> Shapes:
    """The shapes of the tensors of a layer or norm that has other sizes.

    Args:
        module: the layer or norm.
        channels: as for `size_of`.
        inputs: its inputs or channels.
        outputs: a layer's outputs; None leaves them.

    >>> shapes_at(nn.Linear(3, 4), -1, 5)
    {'weight': (4, 5), 'bias': (4,)}
    """
    own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
    shapes: Shapes = {name: tuple(tensor.shape) for name, tensor in own}
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        whole = list(module.normalized_shape)
        whole[channels] = inputs
        return {name: tuple(whole) for name in shapes}
    if size_of(module, channels) is not None and known_map("", module) is None:
        return {name: (inputs,) if shape else () for name, shape in shapes.items()}
    known, weight = _map(module)
    assert known.inputs is not None
    sizes = list(weight.shape)
    sizes[known.inputs] = inputs
    if outputs is not None:
        sizes[known.outputs] = outputs
    return {"weight": tuple(sizes)} | ({"bias": (sizes[known.outputs],)} if "bias" in shapes else {})


def set_shapes(module: nn.Module, shapes: Mapping[str, tuple[int, ...]], channels: int, inputs: int) -> None:
    """Give a layer or norm tensors of these shapes, a norm's as new ones begin; a layer's are empty.

    Args:
        module: the layer or norm; it is changed.
        shapes: what `shapes_at` gave.
        channels: as for `size_of`.
        inputs: its inputs or channels.
    """
    for name, shape in shapes.items():
        old = getattr(module, name)
        new = torch.empty(shape, dtype=old.dtype, device=old.device)
        setattr(module, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
    match module:
        case nn.Linear():
            module.in_features, module.out_features = inputs, outputs_of(module)
        case nn.modules.conv._ConvNd():
            module.in_channels, module.out_channels = inputs, outputs_of(module)
        case nn.modules.batchnorm._NormBase():
            module.num_features = inputs
            module.reset_parameters()
        case nn.GroupNorm():
            module.num_channels = inputs
            module.reset_parameters()
        case nn.LayerNorm() | nn.RMSNorm():
            whole = list(module.normalized_shape)  # one without gains has it as well
            whole[channels] = inputs
            module.normalized_shape = tuple(whole)
            module.reset_parameters()


def _map(layer: nn.Module) -> tuple[LinearMap, Tensor]:
    known = known_map("", layer)
    assert known is not None
    return known, layer.get_parameter("weight")


def scaling_rules(drawn: Mapping[str, tuple[Initialiser, Fans]]) -> dict[str, str]:
    """For each weight the rule by which its scale follows from its fans: one of `_RULES`, or `fixed`.

    Several rules may fit one weight, for example a square one; then the rule that fits most weights is taken. Where no
    rule fits, the variance is taken to be proportional to 1 / fan_in.

    Args:
        drawn: initialiser, fan-in and fan-out, by name.

    >>> xavier = lambda i, o: (Initialiser.xavier_uniform(i, o), (i, o))
    >>> scaling_rules({"square": xavier(9, 9), "first": xavier(4, 9), "last": xavier(9, 2)})
    {'square': 'fan_sum', 'first': 'fan_sum', 'last': 'fan_sum'}
    """
    fitting = {name: _fitting(*of) for name, of in drawn.items()}
    times = Counter(rule for found in fitting.values() for rule in found)
    return {name: max(found, key=lambda rule: times[rule]) for name, found in fitting.items()}


def at_size(initialiser: Initialiser, rule: str, old: Fans, new: Fans) -> Initialiser:
    """The initialiser of a weight whose fans were `old` and are `new`.

    A pattern of zeros cannot be kept: as large a share of each row is 0, drawn anew. A function fills any size.

    >>> at_size(Initialiser.kaiming_uniform(8), "fan_in", (8, 3), (2, 3)) == Initialiser.kaiming_uniform(2)
    True
    """
    if initialiser.zeros is not None:
        share = float(initialiser.zeros.double().mean())
        initialiser = replace(initialiser, zeros=None, sparsity=share)
    if initialiser.kind in ("constant", "function") or rule == "fixed":
        return initialiser
    fan, _ = _RULES["fan_max" if initialiser.orthogonal else rule]
    return replace(initialiser, scale=initialiser.scale * math.sqrt(fan(*old) / fan(*new)))


def _fitting(initialiser: Initialiser, fans: Fans) -> Sequence[str]:
    found = []
    for name, (fan, multiples) in _RULES.items():
        unit = initialiser.scale * math.sqrt(fan(*fans))
        known = [gain * times for gain in _GAINS for times in multiples.get(initialiser.kind, ())]
        if any(math.isclose(unit, value, rel_tol=1e-6) for value in known):
            found.append(name)
    if not found and any(math.isclose(initialiser.scale, value, rel_tol=1e-6) for value in _FIXED):
        return ["fixed"]
    return found or ["fan_in"]
