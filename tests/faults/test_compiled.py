"""Every system of every benchmark runs compiled: here the resets at task boundaries and a share that changes daily.

The share goes through all of them in some weeks; `make faults` runs all at once.
"""

from __future__ import annotations

import os
import time

import pytest
import torch

from faults.campaign import compiled_system
from faults.killing import Lives
from neoteny import registry
from neoteny.compiling import compiler
from neoteny.optim import Adam

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(compiler() is None or not hasattr(os, "fork"), reason="compiles and forks"),
]
ONE = torch.tensor(1)
ALL = [(name, system) for name in registry.BENCHMARKS for system in registry.benchmark(name).load().SYSTEMS]
AT_TASKS = ("slowly-changing-regression-v1", "head-reset")  # its state after a task had strides of its own
TODAY = ALL[int(time.time() // 86_400) * 37 % len(ALL)]


@pytest.mark.parametrize(("benchmark", "system"), dict.fromkeys([AT_TASKS, TODAY]))
def test_it_runs_compiled(benchmark, system):
    with Lives() as live:
        assert compiled_system(live, benchmark, system) == []


def test_a_rule_may_make_settings_in_a_graph():
    """As Muon makes an Adam for the tensors that are no matrices; what it is given are tensors of one run."""

    def update(weight, gradient):
        tensors, optim = {"w": weight}, Adam().init({"w": weight})
        Adam(betas=(0.9, 0.99)).bind({"step_size": weight[0]}).update(tensors, {"w": gradient}, optim, {"w": ONE})
        return tensors["w"]

    compiled = torch.compile(update, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(torch.ones(2), torch.ones(2)), torch.zeros(2))
