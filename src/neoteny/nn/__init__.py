"""The paper's networks, modules that remember how each of their parameters was drawn; and changes to a user's network.

The files here are networks and activations; `surgery/` changes a given network before training.

Names are imported on first use (PEP 562), so that `neoteny.nn.activations` can be read without importing torch.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
