"""Networks that go on learning: a PyTorch library and laboratory.

    import neoteny
    plasticity = neoteny.attach(model, optimizer, [neoteny.ContinualBackprop(replacement_rate=1e-4)], example_inputs=x)
    report = neoteny.diagnose(model, probe_inputs)
    run = neoteny.lab.run("slowly-changing-regression", method="cbp", runs=10, scale="small")

Names are imported on first use (PEP 562): `import neoteny` alone imports neither torch nor anything else heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny import lab as lab
    from neoteny import testing as testing
    from neoteny import units as units
    from neoteny.measures.diagnose import diagnose as diagnose
    from neoteny.measures.monitor import Monitor as Monitor
    from neoteny.methods.attach import attach as attach
    from neoteny.methods.continual_backprop import ContinualBackprop as ContinualBackprop
    from neoteny.methods.full_reset import FullReset as FullReset
    from neoteny.methods.head_reset import HeadReset as HeadReset
    from neoteny.methods.l2 import L2 as L2
    from neoteny.methods.l2_init import L2Init as L2Init
    from neoteny.methods.redo import ReDo as ReDo
    from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb as ShrinkAndPerturb

__version__ = "0.1.0"

_HOME = {
    "attach": "methods.attach",
    "diagnose": "measures.diagnose",
    "Monitor": "measures.monitor",
    "L2": "methods.l2",
    "L2Init": "methods.l2_init",
    "ShrinkAndPerturb": "methods.shrink_and_perturb",
    "ContinualBackprop": "methods.continual_backprop",
    "ReDo": "methods.redo",
    "HeadReset": "methods.head_reset",
    "FullReset": "methods.full_reset",
    "lab": "lab:",
    "testing": "testing:",
    "units": "units:",
}

__all__ = [  # spelt out, as type checkers do not read `_HOME`; a test holds them together
    "L2",
    "ContinualBackprop",
    "FullReset",
    "HeadReset",
    "L2Init",
    "Monitor",
    "ReDo",
    "ShrinkAndPerturb",
    "__version__",
    "attach",
    "diagnose",
    "lab",
    "testing",
    "units",
]

__getattr__, __dir__ = exports(__name__, _HOME)
