"""What a hidden unit is, in any network, and how to make one new again.

Names are imported on first use (PEP 562), so that records and initialisers can be read without importing torch.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
