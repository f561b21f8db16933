"""What a hidden unit is, in any network, and how to make one new again.

Names are imported on first use (PEP 562), so that records and initialisers can be read without importing torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.units.activations import Activations as Activations
    from neoteny.units.declaring import declare as declare
    from neoteny.units.finding import find as find
    from neoteny.units.initialise import Initialiser as Initialiser
    from neoteny.units.observe import Observer as Observer
    from neoteny.units.records import Network as Network
    from neoteny.units.records import Reader as Reader
    from neoteny.units.records import UnitLayer as UnitLayer
    from neoteny.units.reset import make_new as make_new
    from neoteny.units.slices import Slices as Slices

_HOME = {
    "Activations": "activations",
    "declare": "declaring",
    "find": "finding",
    "Initialiser": "initialise",
    "Observer": "observe",
    "Network": "records",
    "Reader": "records",
    "Slices": "slices",
    "UnitLayer": "records",
    "make_new": "reset",
}

__all__ = [
    "Activations",
    "Initialiser",
    "Network",
    "Observer",
    "Reader",
    "Slices",
    "UnitLayer",
    "declare",
    "find",
    "make_new",
]

__getattr__, __dir__ = exports(__name__, _HOME)
