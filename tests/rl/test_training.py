"""Runs of agents in the laboratory: what is recorded, and that stopped, killed and resumed equals never stopped."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from neoteny import lab
from neoteny.envs import MujocoVectorEnv
from neoteny.errors import CheckpointError, UnknownNameError
from neoteny.lab.execution import Execution
from neoteny.lab.resolving import resolve
from neoteny.lab.running import folder_of, resume, start
from neoteny.rl.ppo import PPO
from neoteny.rl.training import Reinforcement

BENCHMARK = "slippery-ant"
EAGER = {"compile": False, "progress": False}
BUSY = {"cbp": {"replacement_rate": 0.02, "maturity_threshold": 5}}
# several environments an agent end episodes at the same step; everything that has a state is on
EVERYTHING = {
    "environments": 2,
    "normalise_observations": True,
    "normalise_rewards": True,
    "bootstrap_timeouts": True,
    "anneal_step_size": True,
    "max_grad_norm": 0.5,
    "rollout_steps": 64,
    "tasks": 2,
}


def config_of(**options):
    return resolve(BENCHMARK, **{"method": "cbp", "runs": 2, "scale": "tiny", "methods": BUSY, **options})


def require_equal(one, other):
    assert (one.folder / "metrics.parquet").read_bytes() == (other.folder / "metrics.parquet").read_bytes()
    for name, weights in one.final_weights().items():
        assert torch.equal(weights, other.final_weights()[name]), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return lab.run(config_of(), out=tmp_path_factory.mktemp("whole"), **EAGER)


def series(run, metric, layer="", of=0):
    rows = run.metrics.filter((pl.col("metric") == metric) & (pl.col("layer") == layer) & (pl.col("run") == of))
    return rows["step"].to_numpy(), rows["value"].to_numpy()


def test_what_is_recorded(whole):
    """Against agents trained by hand with the same settings."""
    problem, frame = whole.config.problem, whole.metrics
    agents = PPO(
        problem.build_environments(whole.config.seeds),
        seeds=whole.config.seeds,
        settings=problem.ppo,
        methods=whole.config.interventions,
        optimizer=problem.optimizer,
        network=problem.build_network,
        compile=False,
    )
    made, line = [], problem.timeline()
    while agents.step < problem.steps:
        if line.task(agents.step) != line.task(max(agents.step - problem.iteration_steps, 0)):
            agents.learner.new_task()
        made.append(agents.iterate())
    for name, weights in whole.final_weights().items():
        torch.testing.assert_close(weights, agents.learner.weights()[name], rtol=0, atol=0)
    for run in range(2):
        mine = [it.episodes.agent == run for it in made]
        for metric, part in (("episode_reward", "total"), ("episode_length", "length")):
            steps, values = series(whole, metric, of=run)
            assert steps.tolist() == [s for it, m in zip(made, mine, strict=True) for s in it.episodes.step[m]]
            expected = np.concatenate([getattr(it.episodes, part)[m] for it, m in zip(made, mine, strict=True)])
            np.testing.assert_array_equal(values, expected)
        steps, rewards = series(whole, "episode_reward", of=run)
        _, lengths = series(whole, "episode_length", of=run)
        ends = np.cumsum(lengths)
        np.testing.assert_array_equal(ends, steps)  # nothing is lost between two episodes
        bins, means = series(whole, "episodic_return", of=run)
        assert bins.tolist() == [256, 512, 768, 1024]
        for end, mean in zip(bins, means, strict=True):
            inside = (steps > end - 256) & (steps <= end)
            assert mean == pytest.approx(rewards[inside].mean())
        for metric in ("loss", "value_loss", "policy_loss", "entropy", "approx_kl", "clip_fraction", "weight_change"):
            _, values = series(whole, metric, of=run)
            two = np.array([it.losses[metric][run] for it in made]).reshape(4, 2)
            np.testing.assert_allclose(values, two.mean(1), rtol=1e-12)
        _, friction = series(whole, "friction", of=run)
        np.testing.assert_array_equal(friction, [it.friction[run] for it in made[1::2]])
        assert len(set(friction)) > 1
    tasks = dict(frame.filter(metric="episodic_return").select("step", "task").iter_rows())
    assert tasks == {256: 0, 512: 1, 768: 2, 1024: 2}
    layers = ["actor.layers.0", "actor.layers.2", "critic.layers.0", "critic.layers.2"]
    for metric in ("dormant_units", "dead_units", "srank_99", "units_replaced"):
        for layer in layers:
            assert series(whole, metric, layer)[0].tolist() == [128, 256, 512, 768, 1024], metric
    assert series(whole, "weight_magnitude")[0].tolist() == [128, 256, 512, 768, 1024]
    assert frame.filter(metric="units_replaced")["value"].max() > 0


def test_measures_are_of_what_was_seen_last_and_ranks_of_what_was_seen_first(tmp_path, monkeypatch):
    looks, seen = [], []
    look, iterate = Reinforcement._look, PPO.iterate
    monkeypatch.setattr(Reinforcement, "_look", lambda self, *taken: (looks.append(taken), look(self, *taken))[1])

    def watched(self):
        made = iterate(self)
        seen.append(self.states.clone())
        return made

    monkeypatch.setattr(PPO, "iterate", watched)
    lab.run(config_of(runs=1, method="backprop", methods={}), out=tmp_path, **EAGER)
    assert len(looks) == 5
    for ((measures, recent), (probed, first)), batch in zip(looks, (0, 1, 3, 5, 7), strict=True):
        assert "dormant_units" in measures and probed == ("srank_99",)
        assert torch.equal(recent, seen[batch][:, -100:]) and torch.equal(first, seen[0][:, :100])


def stopped_at(config, out, after):
    segments = iter(range(1, 10**6))
    with pytest.raises(KeyboardInterrupt):
        start(config, folder_of(config, out), Execution(compile=False), stopped=lambda: next(segments) == after)
    return folder_of(config, out)


def test_stopped_and_resumed_equals_never_stopped(whole, tmp_path):
    path = stopped_at(whole.config, tmp_path, 6)
    require_equal(resume(path, progress=False), whole)


def test_stopped_and_resumed_with_everything_that_has_a_state(tmp_path):
    config = config_of(settings=EVERYTHING, methods={**BUSY, "l2": {"strength": 1e-4}})
    reference = lab.run(config, out=tmp_path / "whole", **EAGER)
    path = stopped_at(config, tmp_path / "cut", 2)
    require_equal(resume(path, progress=False), reference)
    frame = reference.metrics.filter(metric="episode_reward")
    assert frame.group_by("run", "step").len()["len"].max() == 2  # both environments at once, in a fixed order


def test_killed_between_two_checkpoints(whole, tmp_path, monkeypatch):
    """What was recorded after the last checkpoint comes again, once."""

    class Killed(BaseException):
        pass

    iterate = PPO.iterate
    done = []

    def dying(self):
        if len(done) == 5:
            raise Killed
        done.append(1)
        return iterate(self)

    config = whole.config
    stopped_at(config, tmp_path, 2)
    monkeypatch.setattr(PPO, "iterate", dying)
    with pytest.raises(Killed):
        lab.run(config, out=tmp_path, resume=True, **EAGER)
    monkeypatch.setattr(PPO, "iterate", iterate)
    require_equal(lab.run(config, out=tmp_path, resume=True, **EAGER), whole)


def test_a_change_of_ground_is_a_change_of_task(tmp_path, monkeypatch):
    """Agents are told before the first batch that begins on new ground, and methods act."""
    told, new_task = [], PPO.new_task

    def telling(self):
        told.append(self.learner.strategy.carry()["count"][0].item())
        new_task(self)

    monkeypatch.setattr(PPO, "new_task", telling)
    config = resolve(BENCHMARK, method="full-reset", runs=1, scale="tiny")
    run = lab.run(config, out=tmp_path, **EAGER)
    assert told == [3 * 8, 5 * 8]  # stretches of 300 steps, batches of 128, each of 8 updates
    assert torch.isfinite(run.final_weights()["log_std"]).all()


def test_a_run_that_breaks_ends_alone(tmp_path):
    """The step size of the middle one is absurd; what becomes of it moves no digit of the others."""
    run, calm = (
        lab.run(
            BENCHMARK,
            runs=1,
            scale="tiny",
            settings={"tasks": 2},
            grid={"step_size": [1e-3, middle, 2e-3]},
            out=tmp_path / str(middle),
            **EAGER,
        )
        for middle in (1e30, 1.5e-3)
    )
    assert run.metrics.filter(metric="non_finite").select("run", "step").rows() == [(1, 128)]
    assert run.metrics.filter(pl.col("run") == 1)["step"].max() <= 128
    others = pl.col("run") != 1
    assert run.metrics.filter(others).equals(calm.metrics.filter(others))
    assert calm.metrics.filter(pl.col("run") == 1)["step"].max() == 640


def test_an_unstable_simulation_is_recorded(tmp_path, monkeypatch):
    step = MujocoVectorEnv.step_arrays
    count = []

    def shaken(self, actions):
        count.append(1)
        if len(count) == 70:
            self._robot.qvel[1] = 1e30
        return step(self, actions)

    monkeypatch.setattr(MujocoVectorEnv, "step_arrays", shaken)
    run = lab.run(config_of(method="backprop", methods={}), out=tmp_path, **EAGER)
    frame = run.metrics
    assert frame.filter(metric="episode_unstable").select("run", "step", "value").rows() == [(1, 70, 1.0)]
    assert 70 in series(run, "episode_length", of=1)[0] and 70 not in series(run, "episode_length", of=0)[0]
    assert frame["step"].max() == 1024 and frame.filter(metric="non_finite").is_empty()
    assert frame.filter(metric="episode_reward")["value"].is_finite().all()


@pytest.mark.parametrize("method", ["redo", "l2", "shrink-and-perturb"])
def test_other_systems_run(method, tmp_path):
    run = lab.run(BENCHMARK, method=method, runs=1, scale="tiny", settings={"tasks": 2}, out=tmp_path, **EAGER)
    assert run.metrics.filter(metric="episodic_return").height == 3


def test_where_the_time_went_and_which_robot_it_was(whole):
    from neoteny.lab.folder import RunFolder

    found = RunFolder(whole.folder).read_provenance()
    assert found["environment"]["id"] == "Ant-v5" and found["environment"]["observation"] == "paper"
    assert set(found["environment"]) >= {"gymnasium", "mujoco"}
    assert set(found["phases"]) == {"physics", "policy", "update"} and min(found["phases"].values()) > 0
    assert sum(found["phases"].values()) <= found["seconds"] + 0.01


def test_a_checkpoint_of_other_settings_is_refused(whole, tmp_path):
    path = stopped_at(whole.config, tmp_path, 1)
    other = config_of(settings={"max_episode_steps": 49})
    with pytest.raises(CheckpointError, match="max_episode_steps"):
        start(other, path, Execution(compile=False), resume=True)
    with pytest.raises(UnknownNameError, match="discuont"):
        config_of(settings={"discuont": 0.9})
