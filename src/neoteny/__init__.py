"""Networks that go on learning: a PyTorch library and laboratory.

    import neoteny
    plasticity = neoteny.attach(model, optimizer, [neoteny.ContinualBackprop(replacement_rate=1e-4)], example_inputs=x)
    report = neoteny.diagnose(model, probe_inputs)
    run = neoteny.lab.run("slowly-changing-regression", method="cbp", runs=10, scale="small")

Names are imported on first use (PEP 562): `import neoteny` alone imports neither torch nor anything else heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neoteny import lab as lab
    from neoteny.measures.diagnose import diagnose as diagnose
    from neoteny.methods.attach import attach as attach
    from neoteny.methods.continual_backprop import ContinualBackprop as ContinualBackprop
    from neoteny.methods.full_reset import FullReset as FullReset
    from neoteny.methods.head_reset import HeadReset as HeadReset
    from neoteny.methods.l2 import L2 as L2
    from neoteny.methods.l2_init import L2Init as L2Init
    from neoteny.methods.redo import ReDo as ReDo
    from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb as ShrinkAndPerturb

__version__ = "0.1.0"

_LAZY = {
    "attach": "neoteny.methods.attach:attach",
    "diagnose": "neoteny.measures.diagnose:diagnose",
    "L2": "neoteny.methods.l2:L2",
    "L2Init": "neoteny.methods.l2_init:L2Init",
    "ShrinkAndPerturb": "neoteny.methods.shrink_and_perturb:ShrinkAndPerturb",
    "ContinualBackprop": "neoteny.methods.continual_backprop:ContinualBackprop",
    "ReDo": "neoteny.methods.redo:ReDo",
    "HeadReset": "neoteny.methods.head_reset:HeadReset",
    "FullReset": "neoteny.methods.full_reset:FullReset",
    "lab": "neoteny.lab",
}

__all__ = [  # spelt out, as type checkers do not read `_LAZY`; a test holds them together
    "L2",
    "ContinualBackprop",
    "FullReset",
    "HeadReset",
    "L2Init",
    "ReDo",
    "ShrinkAndPerturb",
    "__version__",
    "attach",
    "diagnose",
    "lab",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'neoteny' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    value = importlib.import_module(module)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
