"""Networks that go on learning: a PyTorch library and laboratory.

    import neoteny
    plasticity = neoteny.attach(model, optimizer, [neoteny.ContinualBackprop(replacement_rate=1e-4)], example_inputs=x)
    report = neoteny.diagnose(model, probe_inputs)
    found = neoteny.compare(build, optimizer, batches)
    stack = neoteny.lab.run("slowly-changing-regression", method="cbp", runs=10, scale="small")

Names are imported on first use (PEP 562): `import neoteny` alone imports neither torch nor anything else heavy.
"""

from __future__ import annotations

from neoteny.lazy import exports
from neoteny.methods import RENAMED

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = exports(__name__, __file__, RENAMED)
__all__ += ["__version__"]
