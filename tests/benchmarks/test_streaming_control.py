"""The benchmarks of streaming agents: what they build, and that a killed run goes on as one that was not."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from neoteny import lab
from neoteny.errors import SettingError
from neoteny.lab.execution import Execution
from neoteny.lab.running import folder_of, resume, start
from neoteny.registry import benchmark
from neoteny.rl import load_policy

pytestmark = pytest.mark.skipif(not (find_spec("gymnasium") and find_spec("minatar")), reason="needs neoteny[rl]")
IDS = ("stream-mujoco-v1", "stream-minatar-v1", "stream-control-v1")


@pytest.mark.parametrize(
    ("name", "system", "settings"),
    [
        ("stream-control-v1", "cbp", {"problem": "Pendulum-v1"}),
        ("stream-mujoco-v1", "ppo", {}),
        ("stream-minatar-v1", "backprop", {"game": "seaquest"}),
        ("stream-control-v1", "sarsa", {}),
        ("stream-mujoco-v1", "intentional", {}),
    ],
)
def test_a_killed_run_goes_on_as_one_that_was_not(name, system, settings, tmp_path):
    runs = 2 if system == "sarsa" else 1
    config = lab.resolve(name, method=system, runs=runs, scale="tiny", settings=settings)
    run = lab.run(config, out=tmp_path / "whole", compile=False, progress=False)
    frame = run.metrics
    last = frame["step"].max()
    assert last == config.problem.steps
    assert frame.filter(metric="episodic_return", step=last, run=runs - 1)["value"].is_not_null().all()
    policy = load_policy(run.folder, runs - 1)
    action = policy(np.zeros((2, config.problem.observations)))
    assert len(action) == 2 and np.isfinite(action).all()
    segments = iter(range(1, 1_000))
    folder = folder_of(config, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        start(config, folder, Execution(compile=False), stopped=lambda: next(segments) == 2)
    again = resume(folder, progress=False)
    assert (again.folder / "metrics.parquet").read_bytes() == (run.folder / "metrics.parquet").read_bytes()


@pytest.mark.parametrize("name", IDS)
def test_each_part_can_be_left_out(name):
    """The ablation changes the network or the optimizer as it says."""
    cls = benchmark(name).load()
    whole = cls.preset("tiny")
    weights = {key: value for key, value in whole.build_network().named_parameters() if value.dim() > 1}
    assert all((value == 0).float().mean() > 0.6 for value in weights.values())
    configs = {system: lab.resolve(name, method=system, scale="tiny") for system in cls.SYSTEMS if system[:3] == "no-"}
    assert configs["no-obgd"].optimizer["name"] == "trace-sgd"
    assert getattr(configs["no-obgd"].problem, "actor_step_size", 0) <= 1e-3  # ObGD's 1 would be far too large
    dense = configs["no-sparse-init"].problem.build_network()
    assert all((value != 0).all() for value in dense.parameters())
    norms = [str(configs[s].problem.build_network()).count("Norm") for s in ("no-layer-norm", "no-scaling")]
    assert norms[0] == 0 and norms[1] > 0
    plain = configs["no-scaling"].problem
    assert not plain.normalise_observations and not plain.normalise_rewards


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("stream-mujoco-v1", {"trace_lambda": 2.0}, r"trace_lambda = 2.0 .*\[0, 1\]"),
        ("stream-mujoco-v1", {"agent": "ppo"}, "time_input = True"),
        ("stream-minatar-v1", {"hidden": (8, 8)}, "one hidden layer"),
        ("stream-minatar-v1", {"game": "pong"}, "pong"),
        ("stream-control-v1", {"problem": "Pendulum-v1", "agent": "stream-sarsa"}, "usual for continuous actions"),
        ("stream-control-v1", {"precision": "bfloat16"}, "float32"),
        ("stream-control-v1", {"environments": 2}, "traces add up"),
    ],
)
def test_what_is_refused(name, settings, match):
    with pytest.raises(SettingError, match=match):
        benchmark(name).load().preset("tiny", **settings)


def test_robots_see_the_time_and_games_do_not():
    assert benchmark(IDS[0]).load().preset("tiny").network_settings()["sizes"][0] == 12
    net = benchmark(IDS[1]).load()(game="asterix").build_network()
    assert net(torch.zeros(1, 400)).shape == (1, 5)
