"""A run that is killed with SIGKILL at random moments and resumed writes the same bits as an uninterrupted one."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch

from neoteny import lab, registry
from neoteny.lab.compiling import compiler
from neoteny.lab.folder import RunFolder

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

# Settings under which they act often in so few steps.
BUSY = {"cbp": {"replacement_rate": 0.02, "maturity_threshold": 5}, "redo": {"tau": 0.1, "period": 30}}


@pytest.fixture(scope="module")
def life():
    """A function that lets a child work until it is done or killed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("forking.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )

    def live(**job):
        assert process.stdin and process.stdout
        print(json.dumps(job), file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    yield live
    process.communicate()


# Once anywhere in a life, twice in the part of it that follows a checkpoint.
THRICE = ("life", "training", "training")


def killed_equals_whole(life, tmp_path, config, execution, kills=THRICE, **more):
    resolved = lab.resolve(**config)
    cut, reference = (lab.RunStack(lab.folder_of(resolved, tmp_path / out), resolved) for out in ("cut", "whole"))

    def job(out, **kill):
        path = str(lab.folder_of(resolved, tmp_path / out) / "checkpoint.pt")
        return life(config=config, out=str(tmp_path / out), execution=execution, checkpoint=path, **more, **kill)

    whole = job("whole")
    assert whole["status"] == 0
    chance, killed, pace = random.Random(str(config)), 0, 1.0
    for counted in kills:
        for _ in range(5):
            one = job("cut", kill=counted, after=pace * chance.uniform(0.05, 0.8) * whole[counted])
            if one["status"] != 0:
                killed += 1
                break
            shutil.rmtree(cut.folder)  # done already: faster than the whole one, which had to compile
            pace /= 2
    assert killed == len(kills)
    assert job("cut")["status"] == 0
    assert RunFolder(cut.folder).status == "finished"
    assert (cut.folder / "metrics.parquet").read_bytes() == (reference.folder / "metrics.parquet").read_bytes()
    weights = reference.final_weights()
    for name, value in cut.final_weights().items():
        assert torch.equal(value, weights[name])
    return reference


ONLINE = ("slowly-changing-regression", "online-permuted-mnist")
# One method for each kind of state and clock; test_every_method.py saves and loads the learner with every method.
SYSTEMS = ("backprop", "cbp", "shrink-and-perturb", "redo", "snr", "hare-and-tortoise", "c-chain", "aid")
OTHER_ROBOTS = ("ant", "hopper", "walker2d", "slippery-half-cheetah")  # which go through the same code as slippery-ant


@pytest.mark.parametrize(
    ("benchmark", "method"),
    [
        *zip(itertools.cycle(ONLINE), SYSTEMS, strict=False),
        ("slowly-changing-regression", "cbp"),
        *((name, "cbp") for name in registry.BENCHMARKS if not name.startswith((*ONLINE, *OTHER_ROBOTS))),
    ],
)
def test_killed_equals_never_killed(life, tmp_path, benchmark, method):
    config = {"benchmark": benchmark, "method": method, "runs": 2, "scale": "tiny"}
    if method in BUSY:
        config["methods"] = {method: BUSY[method]}
    run = killed_equals_whole(life, tmp_path, config, {"compile": False})
    if method in ("cbp", "redo"):
        assert run.metrics.filter(pl.col("metric") == "units_replaced")["value"].max() > 0


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize(
    ("benchmark", "strategy"),
    [
        ("slowly-changing-regression", "stack"),
        ("slowly-changing-regression", "lanes"),
        ("online-permuted-mnist", "rank-one"),
    ],
)
def test_killed_equals_never_killed_compiled(life, tmp_path, benchmark, strategy):
    config = {"benchmark": benchmark, "method": "cbp", "runs": 2, "scale": "tiny", "methods": {"cbp": BUSY["cbp"]}}
    killed_equals_whole(life, tmp_path, config, {"compile": True, "strategy": strategy}, ["training"], unroll=2)
