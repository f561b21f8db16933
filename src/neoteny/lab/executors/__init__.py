"""Where stacks of runs are trained: in processes of this machine, on a Ray cluster, in the queue of SLURM.

    protocol.py    a job, how it ended, and the two classes that an executor consists of
    training.py    the loop over jobs: progress, losses and retries, Ctrl-C
    process.py     a job in a process of its own; every executor ends in one
    local.py       this machine
    ray.py         a Ray cluster
    slurm.py       SLURM, through submitit

An executor of your own is a subclass of `Executor`; see `docs/clusters.md`.
"""

from __future__ import annotations

from neoteny.lazy import exports

__getattr__, __dir__, __all__ = exports(__name__, __file__)
