"""The laboratory: learners over an axis of runs, recorders, checkpoints, and how to start them.

Names are imported on first use; what only reads and checks configurations needs no torch. No module in here may carry
the name of one of these functions (no `run.py` beside `run`): importing it would put the module in the place of the
function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.lab.config import RunConfig, resolve, resolve_all
    from neoteny.lab.executor import compare
    from neoteny.lab.running import RunStack, folder_of, resume, run

__all__ = ["RunConfig", "RunStack", "compare", "folder_of", "resolve", "resolve_all", "resume", "run"]

_HOME = {
    "RunConfig": "config",
    "resolve": "config",
    "resolve_all": "config",
    "compare": "executor",
    "RunStack": "running",
    "folder_of": "running",
    "resume": "running",
    "run": "running",
}

__getattr__, __dir__ = exports(__name__, _HOME, {"Run": "RunStack"})
