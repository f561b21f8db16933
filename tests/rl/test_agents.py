"""A step of the actors, the log of episodes, and an agent of another kind than PPO in the laboratory."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.func import functional_call

from neoteny import lab
from neoteny.benchmarks.locomotion import Locomotion
from neoteny.envs import MujocoVectorEnv
from neoteny.lab.execution import Execution
from neoteny.lab.folder import RunFolder
from neoteny.lab.learner import Learner
from neoteny.lab.objective import Evaluation, Objective, Phase
from neoteny.lab.running import folder_of, resume, start
from neoteny.nn import MLP
from neoteny.rl import PPOSettings, load_policy
from neoteny.rl.actors import Actors
from neoteny.rl.agents import Agents, Iteration
from neoteny.rl.episodes import EpisodeLog
from neoteny.rl.settings import AgentSettings


def hoppers(number):
    return MujocoVectorEnv("Hopper-v5", number, max_episode_steps=7)


def actors(**settings):
    s = PPOSettings(environments=2, **settings)
    return Actors(hoppers(4), 2, s, (3, 1, 4, 1))


def lots(steps, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, 2, 2, 3)).astype(np.float32)


def test_a_transition_is_what_a_step_led_to():
    """Next observations are those of the episode that ended; `observations` those of the next one."""
    mine, environments = actors(), hoppers(4)
    seen, _ = environments.reset(seed=[3, 1, 4, 1])
    ended = 0
    for action in lots(40):
        made, steps = mine.step(action), environments.step_arrays(action.reshape(4, 3))
        expected = {
            "observations": seen.astype(np.float32),
            "actions": action,
            "rewards": steps.rewards,
            "next_observations": steps.final_observations.astype(np.float32),
            "terminated": steps.terminations,
            "truncated": steps.truncations,
        }
        for name, value in expected.items():
            found = getattr(made, name)
            assert found.shape[:2] == (2, 2), name
            np.testing.assert_array_equal(found, value.reshape(found.shape), err_msg=name)
        seen = steps.observations
        np.testing.assert_array_equal(mine.observations.reshape(4, -1), seen.astype(np.float32))
        ended += (made.terminated | made.truncated).sum()
    assert ended > 8 and mine.steps == 80


def test_last_observations_are_normalised_by_what_was_seen_before():
    mine = actors(normalise_observations=True, normalise_rewards=True)
    for action in lots(20):
        norm = mine.state_dict()["observation_norm"]
        made = mine.step(action)
        over = made.terminated | made.truncated
        np.testing.assert_array_equal(made.next_observations[~over], mine.observations[~over])
        if over.any():
            assert not np.array_equal(made.next_observations[over], mine.observations[over])
            assert norm["count"] > 0 and np.isfinite(made.next_observations).all()


def test_an_agent_whose_actions_are_not_finite_does_nothing():
    mine, still = actors(), actors()
    action = lots(1)[0]
    action[1, 0, 2] = np.nan
    expected = action.copy()
    expected[1] = 0.0
    made = mine.step(action)
    np.testing.assert_array_equal(made.actions, expected)
    np.testing.assert_array_equal(made.next_observations, still.step(expected).next_observations)
    assert np.isnan(action[1, 0, 2])  # what was given is not written to


def same(one, other):
    for field in fields(one):
        np.testing.assert_allclose(getattr(one, field.name), getattr(other, field.name), rtol=1e-12)


def test_episodes_are_the_same_however_often_the_log_is_flushed():
    rng = np.random.default_rng(0)
    often, once, restored = (EpisodeLog(2, 3) for _ in range(3))
    parts = []
    for t in range(60):
        row = (rng.normal(size=6), *(rng.random(6) < p for p in (0.1, 0.05, 0.02)))
        often.add(*row), once.add(*row), restored.add(*row)
        if rng.random() < 0.3:
            parts.append(often.flush())
        if t == 41:
            again = EpisodeLog(2, 3)
            again.load_state_dict(restored.state_dict())
            restored = again
        assert often.steps == once.steps == 3 * (t + 1)
    parts.append(often.flush())
    whole = once.flush()
    assert len(whole.total) > 20 and whole.unstable.any()
    same(whole, restored.flush())
    same(whole, type(whole)(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(whole))))
    assert once.flush().total.shape == (0,)


@dataclass(frozen=True, kw_only=True)
class StreamingSettings(AgentSettings):
    """Of an agent that learns from every transition once."""

    ITERATION: ClassVar[str] = "64"

    environments: int = 1
    gamma: float = 0.99
    max_grad_norm: float = np.inf
    normalise_observations: bool = True
    normalise_rewards: bool = False
    clip_actions: bool = True
    anneal_step_size: bool = False

    @property
    def iteration_steps(self) -> int:
        return 64


class Streaming(Agents):
    """Acts at random, and learns the value of that, TD(0): a transition, an update."""

    settings: StreamingSettings

    def __init__(self, environments, *, seeds, settings, network, optimizer, methods, strategy, **rest):
        super().__init__(environments, settings, seeds)
        phase = Phase(evaluate=self.evaluate, optimizer=optimizer, metrics=("td_error",))
        inputs = torch.zeros(1, self._observations)
        objective = Objective(phases=(phase,), inputs="states")
        self.learner = Learner(
            network, inputs, objective=objective, methods=methods, seeds=seeds, strategy=strategy, **rest
        )

    def evaluate(self, forward, batch, key):
        following = forward(batch["next_states"], observed=False).detach() * batch["goes_on"]
        error = batch["rewards"] + self.settings.gamma * following - forward(batch["states"])
        return Evaluation(error.square().mean(), {"td_error": error.detach().abs().mean()})

    def iterate(self):
        seen = []
        for _ in range(self.settings.iteration_steps):
            rng = np.random.default_rng([self.step, *self.seeds])
            made = self.actors.step(rng.normal(size=(self.agents, 1, self._actions)).astype(np.float32))
            batch = {
                "states": made.observations,
                "rewards": made.rewards[..., None].astype(np.float32),
                "next_states": made.next_observations,
                "goes_on": 1 - made.terminated[..., None].astype(np.float32),
            }
            batch = {name: torch.from_numpy(value) for name, value in batch.items()}
            self.learner.learn(batch)
            seen.append(batch["states"])
        self._drop_broken()
        self.states = torch.cat(seen, 1)
        sums = self.learner.take_sums()
        losses = {name: value.double().numpy() / self.settings.iteration_steps for name, value in sums.items()}
        return Iteration(self.step, self.actors.episodes.flush(), losses, self.actors.friction)

    @classmethod
    def acting(cls, network, tensors):
        def act(states, lots):
            value = functional_call(network, {name: tensor[0] for name, tensor in tensors.items()}, states)
            return np.repeat(value.numpy(), 3, -1)

        def run(states, lots):
            return act(torch.from_numpy(states), lots)

        return run


@dataclass(frozen=True, kw_only=True)
class StreamingHopper(Locomotion, StreamingSettings):
    """A hopper that is judged as it moves at random."""

    ID: ClassVar[str] = "streaming-hopper-v1"
    ROBOT: ClassVar[str] = "Hopper-v5"

    task_length: int = 512
    bin_size: int = 128
    measure_every: int = 256
    hidden: tuple[int, ...] = (8,)
    probe_size: int = 40
    max_episode_steps: int = 20

    def network_settings(self):
        return {"kind": "mlp", "sizes": [self.observations, *self.hidden, 1]}

    def build_network(self):
        return MLP(self.observations, self.hidden, 1)

    def agent_class(self):
        return Streaming

    def build_agents(self, seeds, threads=1, **learning):
        environments = self.build_environments(seeds, threads)
        return Streaming(environments, seeds=seeds, settings=self, network=self.build_network, **learning)


def test_an_agent_of_another_kind_is_trained_recorded_resumed_and_loaded(tmp_path):
    config = lab.resolve(StreamingHopper, method="l2", runs=2)
    run = lab.run(config, out=tmp_path / "whole", compile=False, progress=False)
    frame = run.metrics
    assert frame.filter(metric="td_error", run=1)["step"].to_list() == [128, 256, 384, 512]
    assert frame.filter(metric="loss")["value"].is_finite().all()
    assert set(frame["metric"]) >= {"episode_reward", "episodic_return", "dormant_units", "srank_99"}
    lengths = frame.filter(metric="episode_length", run=0)
    assert lengths["value"].sum() == lengths["step"].max() and lengths["value"].max() <= 20

    segments = iter(range(1, 1_000))
    folder = folder_of(config, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        start(config, folder, Execution(compile=False), stopped=lambda: next(segments) == 3)
    again = resume(folder, progress=False)
    assert (again.folder / "metrics.parquet").read_bytes() == (run.folder / "metrics.parquet").read_bytes()
    policy = load_policy(run.folder, 1)
    assert policy.step == 512 and policy(np.zeros(11)).shape == (3,)


def test_a_policy_is_loaded_with_the_average_that_evaluations_measure(tmp_path):
    config = lab.resolve("slippery-ant", method="ema", runs=2, scale="tiny")
    stack = lab.run(config, out=tmp_path, compile=False, progress=False)
    state = RunFolder(stack.folder).state(config)["agents"]["learner"]
    kept = state["carry"]["methods"][state["methods"].index("ema")]
    policy = load_policy(stack.folder, 1)
    (ema,) = config.interventions
    expected = ema.evaluated(
        {name: value[1] for name, value in state["carry"]["tensors"].items()},
        {name: value[1] for name, value in kept.items()},
    )
    observation = np.random.default_rng(0).standard_normal(policy.problem.observations)
    act = policy.problem.agent_class().acting(
        policy.problem.build_network(), {name: value[None] for name, value in expected.items()}
    )
    rows = policy._see(observation.reshape(1, 1, -1)).astype(np.float32)
    np.testing.assert_allclose(policy(observation), np.clip(act(rows, None)[0, 0], -1, 1), rtol=1e-5)
    plain = state["carry"]["tensors"]
    assert any(not torch.equal(expected[name], plain[name][1]) for name in expected)
