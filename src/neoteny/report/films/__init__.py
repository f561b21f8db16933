"""Films of networks that learn: which units and connections there are, and how they change."""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
