"""A run that is killed with SIGKILL at random moments and resumed writes the same bits as an uninterrupted one."""

from __future__ import annotations

import os
import random

import polars as pl
import pytest

from faults.killing import Lives, Trial
from neoteny.compiling import compiler

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

# Settings under which they act often in so few steps.
BUSY = {"cbp": {"replacement_rate": 0.02, "maturity_threshold": 5}, "redo": {"tau": 0.1, "period": 30}}


@pytest.fixture(scope="module")
def live():
    with Lives() as lives:
        yield lives


# Once anywhere in a life, twice in the part of it that follows a checkpoint.
THRICE = ("life", "training", "training")


def killed_equals_whole(live, tmp_path, config, execution, kills, unroll=None):
    trial = Trial(live, tmp_path, config, execution, unroll)
    found = trial.interrupted(random.Random(str(config)), kills)
    assert found.wrong == []
    assert found.kills == len(kills)
    return trial.whole


# One system for each kind of state and clock; `test_every_method.py` saves and loads the learner with every method.
REGRESSION, MNIST = "slowly-changing-regression", "online-permuted-mnist"
SYSTEMS = {"shrink-and-perturb": REGRESSION, "redo": MNIST, "snr": REGRESSION,
           "hare-and-tortoise": MNIST, "c-chain": REGRESSION, "aid": MNIST}  # fmt: skip
# One benchmark for each way of training; `make faults` kills runs of all of them.
BENCHMARKS = (
    "trainability", "continual-imagenet", "incremental-cifar100", "warm-start", "representation-search",
    "slippery-ant", "stream-minatar", "primacy-bias", "offline-to-online", "minatar-100k",
    "atari-100k",
)  # fmt: skip


@pytest.mark.parametrize(
    ("benchmark", "method", "kills"),
    [
        (REGRESSION, "cbp", THRICE),
        *((benchmark, method, ["training"]) for method, benchmark in SYSTEMS.items()),
        *((benchmark, "cbp", ["training"]) for benchmark in BENCHMARKS),
    ],
)
def test_killed_equals_never_killed(live, tmp_path, benchmark, method, kills):
    config = {"benchmark": benchmark, "method": method, "runs": 2, "scale": "tiny"}
    if method in BUSY:
        config["methods"] = {method: BUSY[method]}
    run = killed_equals_whole(live, tmp_path, config, {"compile": False}, kills)
    if method in ("cbp", "redo"):
        assert run.metrics.filter(pl.col("metric") == "units_replaced")["value"].max() > 0


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize(
    ("benchmark", "strategy"),
    [
        ("slowly-changing-regression", "lanes"),
        ("online-permuted-mnist", "rank-one"),
    ],
)
def test_killed_equals_never_killed_compiled(live, tmp_path, benchmark, strategy):
    config = {"benchmark": benchmark, "method": "cbp", "runs": 2, "scale": "tiny", "methods": {"cbp": BUSY["cbp"]}}
    killed_equals_whole(live, tmp_path, config, {"compile": True, "strategy": strategy}, ["training"], unroll=2)
