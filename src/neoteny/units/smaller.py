"""Smaller images for the search: what reads what among channels does not depend on how many positions there are.

A smaller batch is taken only if the network does the same operations on it, one after the other, as on the one given.
Both are run without numbers, on the meta device, which costs little; a network that cannot be run so keeps its batch.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from neoteny.units.inputs import arguments_of, as_dict, first_examples
from neoteny.units.light import traceable_copy
from neoteny.units.tracing import apart

__all__ = ["smaller"]

_SIDES = (64, 96, 128, 160)  # so many positions along each side, or a few more; one after the other is tried
_STRIDE = 32  # the same remainder is kept, since networks that halve their maps treat odd ones in another way

Course = list[tuple[str, list[tuple[int, ...]]]]


def smaller(model: nn.Module, example_inputs: Any) -> Any:
    """The example inputs with smaller images, if the network does the same with them; else as they are.

    Args:
        model: the network.
        example_inputs: as for `neoteny.units.find`.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> smaller(net, torch.zeros(2, 3, 224, 224)).shape
    torch.Size([2, 3, 64, 64])
    >>> smaller(nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 5)), torch.zeros(2, 3, 224, 224)).shape
    torch.Size([2, 3, 224, 224])
    """
    dtype = next((t.dtype for t in model.parameters() if t.is_floating_point()), torch.float32)
    with apart(model):
        try:
            tries = [small for side in _SIDES if (small := _cut(example_inputs, side)) is not None]
            ghost = traceable_copy(model, dtype).to("meta") if tries else model
            own = _course(ghost, example_inputs, dtype) if tries else []
        except Exception:  # whatever a network cannot do without numbers
            return example_inputs
        for small in tries:
            with suppress(Exception):  # nor with smaller images
                if _alike(own, _course(ghost, small, dtype)):
                    return small
    return example_inputs


def _cut(example_inputs: Any, side: int) -> Any:
    """With smaller images, or None if there are none to be made smaller."""
    cut = []

    def part(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.dim() != 4 or not value.is_floating_point():
            return value
        height, width = (min(n, side + n % _STRIDE) for n in value.shape[2:])
        cut.append((height, width) != tuple(value.shape[2:]))
        return value[..., :height, :width]

    small = tree_map(part, as_dict(example_inputs))
    return small if any(cut) else None


class _Recorded(TorchDispatchMode):
    """Keeps the names of operations and the shapes of what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.course: Course = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.course.append((str(func), [tuple(t.shape) for t in tree_leaves(made) if isinstance(t, Tensor)]))
        return made


def _course(ghost: nn.Module, example_inputs: Any, dtype: torch.dtype) -> Course:
    given = arguments_of(first_examples(example_inputs, 2, dtype))
    args, kwargs = tree_map(lambda value: value.to("meta") if isinstance(value, Tensor) else value, given)
    with torch.no_grad(), _Recorded() as recorded:
        ghost(*args, **kwargs)
    return recorded.course


def _alike(own: Course, other: Course) -> bool:
    """Whether operations are the same, and no lengths but those that are 1, or one number, in the first are so in both.

    Where an image has as many positions as channels, these could be taken for each other.
    """
    return len(own) == len(other) and all(
        name == same
        and [len(shape) for shape in shapes] == [len(shape) for shape in others]
        and all(_special(b) <= _special(a) for a, b in zip(shapes, others, strict=True))
        for (name, shapes), (same, others) in zip(own, other, strict=True)
    )


def _special(shape: tuple[int, ...]) -> set[tuple[int, int]]:
    """Which dimensions have a length of 1, and which have one length, beside the batch's."""
    ones = {(d, d) for d, n in enumerate(shape) if n == 1}
    return ones | {(c, d) for d in range(2, len(shape)) for c in range(1, d) if shape[c] == shape[d]}
