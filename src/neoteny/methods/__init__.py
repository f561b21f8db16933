"""Interventions that keep a network able to learn, one a file. Names are imported on first use (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.methods.attach import Plasticity as Plasticity
    from neoteny.methods.attach import PlasticityWarning as PlasticityWarning
    from neoteny.methods.base import Method as Method
    from neoteny.methods.base import Schedule as Schedule
    from neoteny.methods.base import Step as Step
    from neoteny.methods.continual_backprop import ContinualBackprop as ContinualBackprop
    from neoteny.methods.full_reset import FullReset as FullReset
    from neoteny.methods.head_reset import HeadReset as HeadReset
    from neoteny.methods.l2 import L2 as L2
    from neoteny.methods.l2_init import L2Init as L2Init
    from neoteny.methods.redo import ReDo as ReDo
    from neoteny.methods.schedule import Periodic as Periodic
    from neoteny.methods.schedule import Replacements as Replacements
    from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb as ShrinkAndPerturb

_HOME = {
    "ContinualBackprop": "continual_backprop",
    "FullReset": "full_reset",
    "HeadReset": "head_reset",
    "L2": "l2",
    "L2Init": "l2_init",
    "Method": "base",
    "Periodic": "schedule",
    "Plasticity": "attach",
    "PlasticityWarning": "attach",
    "ReDo": "redo",
    "Replacements": "schedule",
    "Schedule": "base",
    "ShrinkAndPerturb": "shrink_and_perturb",
    "Step": "base",
}

__all__ = [  # spelt out for type checkers; a test holds it together with `_HOME`
    "L2",
    "ContinualBackprop",
    "FullReset",
    "HeadReset",
    "L2Init",
    "Method",
    "Periodic",
    "Plasticity",
    "PlasticityWarning",
    "ReDo",
    "Replacements",
    "Schedule",
    "ShrinkAndPerturb",
    "Step",
]

__getattr__, __dir__ = exports(__name__, _HOME)
