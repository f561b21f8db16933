"""The robots: the paper's settings, spaces as the environments have them, friction that changes when it should."""

from __future__ import annotations

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from neoteny import registry
from neoteny.benchmarks.locomotion import ROBOTS as SIZES
from neoteny.benchmarks.streaming import Streaming
from neoteny.errors import SettingError
from neoteny.lab.resolving import resolve
from neoteny.optim import Adam
from neoteny.rl.settings import PPOSettings

ROBOTS = {
    name: cls
    for name, cls in ((n, e.load()) for n, e in registry.BENCHMARKS.items())
    if issubclass(cls, PPOSettings) and not issubclass(cls, Streaming)
}
each = pytest.mark.parametrize("cls", ROBOTS.values(), ids=ROBOTS)
simulated = pytest.mark.skipif(
    not (find_spec("gymnasium") and find_spec("mujoco")), reason="the packages of reinforcement learning are missing"
)


def test_which_there_are():
    assert {"ant-v1", "slippery-ant-v1", "hopper-v1", "walker2d-v1"} <= ROBOTS.keys()


@each
def test_agents_are_those_of_the_paper(cls):
    problem = cls()
    assert (problem.rollout_steps, problem.environments, problem.epochs, problem.batch_size) == (2_048, 1, 10, 128)
    assert problem.ppo.updates == 10 * 16
    assert (problem.gamma, problem.gae_lambda, problem.clip_coef) == (0.99, 0.95, 0.2)
    assert problem.normalise_advantages == "batch"
    assert (problem.vf_coef, problem.ent_coef, problem.max_grad_norm) == (1.0, 0.0, math.inf)
    assert not (problem.normalise_observations or problem.normalise_rewards or problem.bootstrap_timeouts)
    assert not (problem.anneal_step_size or problem.clip_actions)
    assert problem.hidden == (256, 256) and problem.activation == "relu" and problem.precision == "float32"
    assert problem.max_episode_steps == 1_000
    assert problem.optimizer == Adam(step_size=1e-4, betas=(0.9, 0.999), eps=1e-8)


def test_lengths_are_those_of_the_paper():
    for name in ("ant", "hopper", "walker2d"):
        problem = registry.benchmark(name).load()()
        assert (problem.tasks, problem.task_length) == (1, 50_000_000) and problem.friction() is None
    problem = registry.benchmark("slippery-ant").load()()
    assert (problem.tasks, problem.task_length) == (10, 2_000_000)


@pytest.mark.parametrize("name", ["ant", "slippery-ant", "hopper", "walker2d"])
def test_systems_are_those_of_the_paper(name):
    found = {
        system: resolve(name, method=system, scale="paper")
        for system in ("backprop", "tuned-adam", "l2", "cbp", "redo")
    }
    betas = {system: config.problem.optimizer.betas for system, config in found.items()}
    assert betas == {"backprop": (0.9, 0.999), **dict.fromkeys(("tuned-adam", "l2", "cbp", "redo"), (0.99, 0.99))}
    assert {system: list(config.methods) for system, config in found.items()} == {
        "backprop": [],
        "tuned-adam": [],
        "l2": ["l2"],
        "cbp": ["l2", "cbp"],
        "redo": ["redo"],
    }
    assert found["l2"].methods["l2"]["strength"] == 1e-3 and not found["l2"].methods["l2"]["decoupled"]
    assert found["cbp"].methods["l2"]["strength"] == 1e-4
    cbp = found["cbp"].methods["cbp"]
    assert (cbp["replacement_rate"], cbp["maturity_threshold"], cbp["utility"]) == (1e-4, 10_000, "contribution")
    assert cbp["replacement"] == "drawn"
    assert (found["redo"].methods["redo"]["tau"], found["redo"].methods["redo"]["period"]) == (0.1, 100)


@each
def test_networks_begin_as_the_paper_s(cls):
    torch.manual_seed(0)
    network = cls().build_network()
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    sizes = [SIZES[cls.ROBOT][0], 256, 256]
    for part, outputs in (("actor", SIZES[cls.ROBOT][1]), ("critic", 1)):
        for place, (fan_in, fan_out) in zip((0, 2, 4), zip(sizes, [256, 256, outputs], strict=True), strict=True):
            assert shapes[f"{part}.layers.{place}.weight"] == (fan_out, fan_in)
    for name, value in network.named_parameters():
        if name.endswith("weight"):
            bound = math.sqrt(3 / value.shape[1])
            assert 0.97 * bound < value.abs().max() <= bound
            assert value.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.15)
        else:
            assert not value.any(), name


@simulated
@each
def test_spaces_are_the_environment_s(cls):
    problem = cls.preset("tiny")
    environments = problem.build_environments([3, 4])
    assert environments.num_envs == 2
    assert environments.single_observation_space.shape == (SIZES[cls.ROBOT][0],)
    assert environments.single_action_space.shape == (SIZES[cls.ROBOT][1],)
    first, _ = environments.reset(seed=[0, 1])
    assert first.shape == (2, SIZES[cls.ROBOT][0])
    assert problem.build_network()(torch.zeros(5, SIZES[cls.ROBOT][0])).shape == (5, 2 * SIZES[cls.ROBOT][1] + 1)
    for _ in range(problem.max_episode_steps):
        steps = environments.step_arrays(np.zeros((2, SIZES[cls.ROBOT][1]), np.float32))
        if steps.truncations.any():
            break
    else:
        assert steps.truncations.any() or steps.terminations.any()


@simulated
@pytest.mark.parametrize("own", [1, 2], ids=["one environment", "two environments"])
def test_friction_changes_with_the_first_episode_after_a_stretch(own):
    problem = registry.benchmark("slippery-ant").load().preset("tiny", environments=own, max_episode_steps=40)
    environments = problem.build_environments([5, 6])
    assert environments.num_envs == 2 * own
    environments.reset(seed=range(2 * own))
    every, schedule = math.ceil(problem.task_length / own), problem.friction()
    actions = np.random.default_rng(0).standard_normal((2 * every + 60, 2 * own, 8)).astype(np.float32)
    friction, ended = [], []
    for action in actions:
        steps = environments.step_arrays(action)
        friction.append(steps.friction)
        ended.append(steps.terminations | steps.truncations)
    friction, ended = np.array(friction), np.array(ended)
    for place in range(2 * own):
        seed = (5, 6)[place // own]
        expected, change = [], 0
        for t in range(len(friction)):
            expected.append(schedule.friction(change, seed))
            if ended[t, place]:
                change = (t + 1) // every
        np.testing.assert_array_equal(friction[:, place], expected)
        assert len(set(expected)) == 3 and 0.02 <= min(expected) and max(expected) <= 2.0
    assert friction[0, 0] != friction[0, own]  # agents draw by themselves, and an agent's environments agree
    assert own == 1 or friction[0, 0] == friction[0, 1]


@pytest.mark.parametrize("sizes", [64, [], [64, 0], [64, "x"]])
def test_hidden_layers_are_a_list_of_sizes(sizes):
    with pytest.raises(SettingError, match="hidden = .* is not a list of whole numbers"):
        resolve("ant", settings={"hidden": sizes})


def test_bins_of_whole_batches_are_proposed():
    cls = registry.benchmark("ant").load()
    with pytest.raises(SettingError, match=r"bin_size = 20480 is not a multiple of the 8192 .* such as 24576"):
        cls(environments=4)
    with pytest.raises(SettingError, match=r"measure_every = 102400 .* such as 106496"):
        cls(environments=4, bin_size=24_576)
    assert cls(environments=4, bin_size=24_576, measure_every=106_496).iteration_steps == 8_192


def test_a_small_run_is_made_of_whole_batches():
    problem = registry.benchmark("ant").load().preset("small")
    assert problem.steps == math.ceil(2_000_000 / 2_048) * 2_048
