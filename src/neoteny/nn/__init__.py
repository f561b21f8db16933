"""The paper's networks, modules that remember how each of their parameters was drawn; and changes to a user's network.

The files here are networks and activations; `surgery/` changes a given network before training.

Names are imported on first use (PEP 562), so that `neoteny.nn.activations` can be read without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.nn.imagenet import ContinualImageNetNet as ContinualImageNetNet
    from neoteny.nn.mlp import MLP as MLP
    from neoteny.nn.mlp import LinearNetwork as LinearNetwork
    from neoteny.nn.resnet import ResNet18 as ResNet18

_HOME = {
    "MLP": "mlp",
    "LinearNetwork": "mlp",
    "ContinualImageNetNet": "imagenet",
    "ResNet18": "resnet",
}

__all__ = ["MLP", "ContinualImageNetNet", "LinearNetwork", "ResNet18"]

__getattr__, __dir__ = exports(__name__, _HOME)
