"""The laboratory: starts, trains, records and saves stacks of runs.

Names are imported on first use, so reading and checking a configuration does not import torch. No module here may have
the name of one of these functions (no `run.py` beside `run`): importing the module would replace the function.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__, {"Run": "RunStack"})
