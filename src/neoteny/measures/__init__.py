"""Measures of features and weights as pure functions, a fixed probe set, and a check-up of a network.

The literature uses one word for different things. Here each name has one definition, and the axes of figures carry
these names. Functions are imported on first use (PEP 562), so that reading `FEATURE_MEASURES` does not import torch.
The check-up is `neoteny.diagnose`; `neoteny.Monitor` repeats it during training.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
