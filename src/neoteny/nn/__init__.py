"""The paper's networks: ordinary modules that remember how each of their parameters was drawn.

Names are imported on first use (PEP 562), so that `neoteny.nn.activations` can be read without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoteny.nn.imagenet import ContinualImageNetNet as ContinualImageNetNet
    from neoteny.nn.linear import LinearNetwork as LinearNetwork
    from neoteny.nn.mlp import MLP as MLP

_LAZY = {
    "MLP": "neoteny.nn.mlp",
    "LinearNetwork": "neoteny.nn.linear",
    "ContinualImageNetNet": "neoteny.nn.imagenet",
}

__all__ = ["MLP", "ContinualImageNetNet", "LinearNetwork"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
