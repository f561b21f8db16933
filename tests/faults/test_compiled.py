"""Every system of every benchmark runs compiled: here the resets at task boundaries and a share that changes daily.

The share goes through all of them in some weeks; `make faults` runs all at once.
"""

from __future__ import annotations

import os
import time

import pytest

from faults.campaign import compiled_system
from faults.killing import Lives
from neoteny import registry
from neoteny.lab.compiling import compiler

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler() is None or not hasattr(os, "fork"), reason="compiles and forks"),
]
ALL = [(name, system) for name in registry.BENCHMARKS for system in registry.benchmark(name).load().SYSTEMS]
AT_TASKS = ("slowly-changing-regression-v1", "head-reset")  # its state after a task had strides of its own
TODAY = ALL[int(time.time() // 86_400) * 37 % len(ALL)]


@pytest.mark.parametrize(("benchmark", "system"), dict.fromkeys([AT_TASKS, TODAY]))
def test_it_runs_compiled(benchmark, system):
    with Lives() as live:
        assert compiled_system(live, benchmark, system) == []
