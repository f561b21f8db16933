"""How a batch is given to a network that takes any arguments.

| given | the network is called as |
|---|---|
| a tensor, or anything else | `network(x)` |
| a tuple or a list | `network(*x)` |
| a dict | `network(**x)` |
| `(args, kwargs)`, a tuple and a dict | `network(*args, **kwargs)` |

So a list or a dict that is one argument comes in a tuple: `([image, image],)`, `({"pixels": x},)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["HOW", "arguments_of", "as_dict", "first_examples"]

HOW = (
    "a tensor, a tuple of arguments, a dict of named ones, or (args, kwargs); a list or a dict that is one argument in "
    "a tuple, (x,)"
)
"""The same for messages."""


def arguments_of(batch: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments.

    >>> arguments_of([1, 2]), arguments_of({"x": 1}), arguments_of(((1,), {"mask": 2}))
    (((1, 2), {}), ((), {'x': 1}), ((1,), {'mask': 2}))
    """
    if isinstance(batch, Mapping):
        return (), dict(batch)
    if not isinstance(batch, (tuple, list)):
        return (batch,), {}
    if _is_both(batch):
        return tuple(batch[0]), dict(batch[1])
    return tuple(batch), {}


def as_dict(batch: Any) -> Any:
    """Named arguments as a dict: torch's tree functions do not look into others, such as a tokenizer's output."""
    if isinstance(batch, Mapping):
        return dict(batch)
    return (tuple(batch[0]), dict(batch[1])) if _is_both(batch) else batch


def first_examples(batch: Any, examples: int | None = None, dtype: Any = None) -> Any:
    """A copy of a batch without the history of its tensors.

    Args:
        batch: a batch as the network takes it.
        examples: how many of the first examples; None: all, and so where its tensors disagree on their number.
        dtype: the type of floating-point numbers; None: as they are.

    >>> import torch
    >>> first_examples({"x": torch.zeros(5, 2)}, 3)["x"].shape
    torch.Size([3, 2])
    """
    import torch
    from torch import Tensor
    from torch.utils._pytree import tree_leaves, tree_map

    from neoteny.units.copying import in_precision

    batch = as_dict(batch)
    sizes = {t.shape[0] for t in tree_leaves(batch) if isinstance(t, Tensor) and t.dim()}
    several = examples is not None and len(sizes) == 1 and max(sizes) > examples

    def ready(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.detach()[:examples] if several and value.dim() else value.detach()
        if value.is_meta:  # without numbers: copies of such networks are looked into on the CPU
            value = torch.ones(value.shape, dtype=value.dtype)
        return value.clone() if dtype is None else in_precision(value, dtype).clone()

    return tree_map(ready, batch)


def _is_both(batch: Any) -> bool:
    two = isinstance(batch, tuple) and len(batch) == 2
    return two and isinstance(batch[0], (tuple, list)) and isinstance(batch[1], Mapping)
