"""What a hidden unit is, in any network, and how to make one new again.

Names are imported on first use (PEP 562), so that records and initialisers can be read without importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoteny.units.finding import find as find
    from neoteny.units.initialise import Initialiser as Initialiser
    from neoteny.units.observe import Observer as Observer
    from neoteny.units.records import Network as Network
    from neoteny.units.records import Reader as Reader
    from neoteny.units.records import Slices as Slices
    from neoteny.units.records import UnitLayer as UnitLayer
    from neoteny.units.reset import make_new as make_new

_LAZY = {
    "find": "neoteny.units.finding",
    "Initialiser": "neoteny.units.initialise",
    "Observer": "neoteny.units.observe",
    "Network": "neoteny.units.records",
    "Reader": "neoteny.units.records",
    "Slices": "neoteny.units.records",
    "UnitLayer": "neoteny.units.records",
    "make_new": "neoteny.units.reset",
}

__all__ = ["Initialiser", "Network", "Observer", "Reader", "Slices", "UnitLayer", "find", "make_new"]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
