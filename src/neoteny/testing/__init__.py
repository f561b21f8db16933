"""The contract that every method keeps, as checks that anybody can run on a method of their own.

    neoteny.testing.check_method(MyMethod)

Names are imported on first use (PEP 562).
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
