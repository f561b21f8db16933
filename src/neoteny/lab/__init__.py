"""The laboratory: learners over an axis of runs, recorders, checkpoints, and how to start them.

Names are imported on first use; what only reads and checks configurations needs no torch. No module in here may carry
the name of one of these functions (no `run.py` beside `run`): importing it would put the module in the place of the
function.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__, {"Run": "RunStack"})
