"""Optimizers, one in each file: pure updates over dicts of tensors, named in `neoteny.registry`.

In the laboratory they are mapped over runs and compiled; `TorchOptimizer` makes of each a `torch.optim.Optimizer`.
Names are imported on first use, so that the settings can be read without torch.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
