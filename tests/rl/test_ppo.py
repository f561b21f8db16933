"""Whole iterations against an ordinary loop; stacks against single agents; methods, failures, checkpoints."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from neoteny.envs import MujocoVectorEnv
from neoteny.errors import CheckpointError, SettingError
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.ema import EMA
from neoteny.methods.hare_and_tortoise import HareAndTortoise
from neoteny.methods.head_reset import HeadReset
from neoteny.methods.l2 import L2
from neoteny.methods.redo import ReDo
from neoteny.optim import Adam
from neoteny.rl import PPO, OneByOne, PPOSettings
from rl.ordinary import Agent, hopper

SHORT = PPOSettings(rollout_steps=96, epochs=2, batch_size=32)
USUAL = {
    "environments": 2,
    "bootstrap_timeouts": True,
    "normalise_advantages": "minibatch",
    "max_grad_norm": 0.5,
    "ent_coef": 0.01,
    "vf_coef": 0.5,
    "clip_coef": 0.02,
    "clip_actions": True,
    "anneal_step_size": True,
}


def settings(**other):
    return PPOSettings(**{"rollout_steps": 96, "epochs": 2, "batch_size": 32, **other})


def hoppers(number, **options):
    return MujocoVectorEnv("Hopper-v5", number, max_episode_steps=12, **options)


def agents(seeds=(4, 9), s=SHORT, **options):
    environments = options.pop("environments", None) or hoppers(len(seeds) * s.environments)
    options = {"hidden": (16, 16), "optimizer": Adam(step_size=1e-3), "compile": False, **options}
    return PPO(environments, seeds=seeds, settings=s, **options)


def weights_of(ppo, agent):
    return {name: value[agent].clone() for name, value in ppo.learner.weights().items()}


def require_close(mine, theirs, atol=1e-6):
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("other", [{}, USUAL, {"normalise_advantages": "none"}], ids=["paper", "usual", "plain"])
def test_agents_are_ordinary_agents(other):
    """Three iterations of two agents beside each other, and each of them in a loop of the usual kind.

    Weights move by 1e-2 and agree to 1e-6; episodes end at the same steps with the same returns.
    """
    s = settings(**other)
    decay, betas = 0.05, (0.99, 0.99)
    ppo = agents(s=s, methods=[L2(strength=decay)], optimizer=Adam(step_size=1e-3, betas=betas), total=1_000)
    ordinary = [
        Agent(
            hopper(max_episode_steps=12), seed, weights_of(ppo, k), s, 1_000, lr=1e-3, betas=betas, weight_decay=decay
        )
        for k, seed in enumerate(ppo.seeds)
    ]
    made = [ppo.iterate() for _ in range(3)]
    for k, agent in enumerate(ordinary):
        for _ in range(3):
            agent.iterate()
        require_close(weights_of(ppo, k), dict(agent.network.named_parameters()))
        moved = max((ppo.learner.initial_weights[n][k] - w).abs().max() for n, w in weights_of(ppo, k).items())
        assert moved > 0.01
        found = [
            (int(step), float(total), int(length))
            for it in made
            for of, step, total, length in zip(
                it.episodes.agent, it.episodes.step, it.episodes.total, it.episodes.length, strict=True
            )
            if of == k
        ]
        expected = sorted(agent.episodes)
        assert [(step, length) for step, _, length in sorted(found)] == [(step, n) for step, _, n in expected]
        assert len(expected) > 8 and 12 in [length for *_, length in expected]  # falls and time-outs
        np.testing.assert_allclose([r for _, r, _ in sorted(found)], [r for _, r, _ in expected], rtol=1e-5)
    assert [it.step for it in made] == [s.iteration_steps, 2 * s.iteration_steps, 3 * s.iteration_steps]


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_an_agent_alone_is_that_agent_in_the_stack(strategy):
    """With methods at work; across strategies and beside others."""
    options = {"methods": busy(), "s": settings(environments=2)}
    stack = agents((4, 9, 6), strategy="stack", **options)
    alone = agents((9,), strategy=strategy, **options)
    for _ in range(2):
        together, own = stack.iterate(), alone.iterate()
        mine = together.episodes.agent == 1
        np.testing.assert_array_equal(together.episodes.length[mine], own.episodes.length)
        for name, value in own.losses.items():
            np.testing.assert_allclose(together.losses[name][1], value[0], rtol=1e-4, atol=1e-6, err_msg=name)
    require_close(weights_of(stack, 1), weights_of(alone, 0))
    assert {name: value[1] for name, value in stack.learner.replaced().items()} == {
        name: value[0] for name, value in alone.learner.replaced().items()
    }


@pytest.mark.slow
def test_compiled_updates_are_the_same():
    s, methods = settings(epochs=1, max_grad_norm=0.5), busy()[:1]  # three updates, so one graph
    compiled, plain = (agents(s=s, compile=compile, methods=methods, hidden=(16,)) for compile in (True, False))
    for _ in range(2):
        compiled.iterate(), plain.iterate()
    for k in range(2):
        require_close(weights_of(compiled, k), weights_of(plain, k), atol=1e-5)


def busy():
    return [
        L2(strength=1e-3),
        ContinualBackprop(replacement_rate=0.05, maturity_threshold=3, replacement="drawn"),
        ReDo(tau=0.1, period=5),
        HeadReset(period=9),
    ]


LAYERS = {"actor.layers.0", "actor.layers.2", "critic.layers.0", "critic.layers.2"}


@pytest.mark.parametrize(
    "method",
    [ContinualBackprop(replacement_rate=0.1, maturity_threshold=2, replacement="drawn"), ReDo(tau=0.5, period=6)],
    ids=lambda method: method.name,
)
def test_units_of_actor_and_critic_are_replaced(method):
    ppo = agents(methods=[method])
    ppo.iterate()
    replaced = ppo.learner.replaced()
    assert set(replaced) == LAYERS
    assert all((count > 0).all() for count in replaced.values())


def test_both_heads_are_reset():
    """After the last of the 6 updates both output layers are 0, and nothing else has changed."""
    ppo, plain = agents(methods=[HeadReset(to="zero", period=6)]), agents()
    ppo.iterate(), plain.iterate()
    for name, value in weights_of(ppo, 1).items():
        if ".layers.4." in name:
            assert not value.any(), name
            assert weights_of(plain, 1)[name].any()
        else:
            torch.testing.assert_close(value, weights_of(plain, 1)[name])


class Recording:
    """Environments that keep what they were given and what they gave, and may lie about it."""

    def __init__(self, environments, lie=lambda t, steps: steps):
        self.inner, self.lie, self.given, self.gave, self.first = environments, lie, [], [], None

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def reset(self, **options):
        self.first = self.inner.reset(**options)
        return self.first

    def step_arrays(self, actions):
        self.given.append(actions.copy())
        self.gave.append(self.lie(len(self.given), self.inner.step_arrays(actions)))
        return self.gave[-1]


def test_actions_are_clipped_for_the_environment_alone():
    clipped, free = (
        agents(s=settings(clip_actions=clip), environments=Recording(hoppers(2))) for clip in (True, False)
    )
    clipped.iterate(), free.iterate()
    inside, outside = np.array(clipped.environments.given), np.array(free.environments.given)
    assert np.abs(inside).max() == 1.0 and np.abs(outside).max() > 1.5
    # physics clips too, so up to the cost of control both live through the same
    np.testing.assert_array_equal(inside[0], np.clip(outside[0], -1, 1))


def test_normalised_observations_are_what_the_agent_sees():
    environments = Recording(hoppers(4))
    ppo = agents(s=settings(environments=2, normalise_observations=True, rollout_steps=16), environments=environments)
    ppo.iterate()
    shown = np.array([environments.first[0], *(steps.observations for steps in environments.gave)])
    shown = shown.reshape(17, 2, 2, 11)
    states = ppo.states.reshape(2, 16, 2, 11)
    for t in range(16):
        so_far = shown[: t + 1].swapaxes(0, 1).reshape(2, -1, 11)
        expected = (shown[t] - so_far.mean(1, keepdims=True)) / np.sqrt(so_far.var(1, keepdims=True) + 1e-8)
        np.testing.assert_allclose(states[:, t], np.clip(expected, -10, 10), rtol=1e-4, atol=1e-4)


def test_normalised_rewards_are_learned_from_and_true_ones_reported():
    """A task that pays a thousand times as much is the same task."""

    def rich(t, steps):
        return steps._replace(rewards=1000 * steps.rewards)

    s = settings(normalise_rewards=True)
    usual, paid = (agents(s=s, environments=Recording(hoppers(2), **lie)) for lie in ({}, {"lie": rich}))
    first, second = usual.iterate(), paid.iterate()
    np.testing.assert_allclose(second.episodes.total, 1000 * first.episodes.total, rtol=1e-12)
    for k in range(2):
        require_close(weights_of(usual, k), weights_of(paid, k), atol=1e-5)
    total = sum(steps.rewards[0] for steps in usual.environments.gave)
    mine = first.episodes.agent == 0
    assert first.episodes.total[mine].sum() + usual.state_dict()["actors"]["totals"][0, 0] == pytest.approx(total)


def test_a_step_size_is_annealed_to_nothing():
    ppo = agents(s=settings(anneal_step_size=True, epochs=1), total=2 * 96)
    changes = [ppo.iterate().losses["weight_change"].max() for _ in range(3)]
    assert changes[0] > changes[1] > changes[2] == 0.0


def poison(ppo, agent, value):
    carry = ppo.learner.strategy.carry()
    carry["tensors"] = {name: tensor.clone() for name, tensor in carry["tensors"].items()}
    carry["tensors"]["actor.layers.4.weight"][agent] = value
    ppo.learner.strategy.load(carry)


@pytest.mark.parametrize("strategy", ["stack", "loop"])
@pytest.mark.parametrize("value", [float("nan"), 3e38], ids=["not-finite", "overflowing"])
def test_an_agent_that_breaks_stops_alone(strategy, value):
    ppo, whole = (agents((4, 9, 6), strategy=strategy) for _ in range(2))
    ppo.iterate(), whole.iterate()
    poison(ppo, 1, value)
    for _ in range(2):
        made, expected = ppo.iterate(), whole.iterate()
        assert ppo.alive.tolist() == [True, False, True]
        others, same = made.episodes.agent != 1, expected.episodes.agent != 1
        np.testing.assert_array_equal(made.episodes.total[others], expected.episodes.total[same])
        for name, losses in expected.losses.items():
            np.testing.assert_array_equal(made.losses[name][[0, 2]], losses[[0, 2]])
    for k in (0, 2):
        require_close(weights_of(ppo, k), weights_of(whole, k), atol=0)


def test_a_simulation_that_blows_up_ends_an_episode_of_its_agent():
    environments = Recording(hoppers(3))
    ppo, whole = agents((4, 9, 6), environments=environments), agents((4, 9, 6))

    def blow_up(t, steps):
        if t == 50:
            environments.inner._robot.qvel[1] = 1e30
        return steps

    environments.lie = blow_up
    made, expected = ppo.iterate(), whole.iterate()
    unstable = np.flatnonzero(made.episodes.unstable)
    assert made.episodes.agent[unstable].tolist() == [1] and made.episodes.step[unstable].tolist() == [51]
    assert np.isfinite(made.episodes.total).all() and ppo.alive.all()
    same, others = expected.episodes.agent != 1, made.episodes.agent != 1
    np.testing.assert_array_equal(made.episodes.total[others], expected.episodes.total[same])
    for k in (0, 2):
        require_close(weights_of(ppo, k), weights_of(whole, k), atol=0)
    assert not ppo.iterate().episodes.unstable.any()


@pytest.mark.parametrize(
    ("strategy", "other"),
    [("stack", {}), ("loop", {"normalise_observations": True, "normalise_rewards": True, **USUAL})],
)
def test_restored_agents_go_on_as_they_would_have(other, strategy):
    """To the bit, in the middle of episodes; and a state does not change after it was taken."""
    options = {"s": settings(**other), "methods": busy(), "strategy": strategy, "total": 1_000}
    ppo, again = agents(**options), agents((4, 9), **options)
    ppo.iterate()
    state = ppo.state_dict()
    again.iterate(), again.iterate()  # somewhere else
    going_on = [ppo.iterate(), ppo.iterate()]
    again.load_state_dict(state)
    resumed = [again.iterate(), again.iterate()]
    for mine, theirs in zip(going_on, resumed, strict=True):
        assert mine.step == theirs.step
        for part in ("agent", "step", "total", "length", "unstable"):
            np.testing.assert_array_equal(getattr(mine.episodes, part), getattr(theirs.episodes, part))
        for name, losses in mine.losses.items():
            np.testing.assert_array_equal(losses, theirs.losses[name])
    for k in range(2):
        require_close(weights_of(ppo, k), weights_of(again, k), atol=0)
    assert torch.equal(ppo.states, again.states)


def test_a_checkpoint_of_other_agents_is_refused():
    state = agents().state_dict()
    with pytest.raises(CheckpointError, match=r"seeds \[4, 9\], these have \[1, 2, 3\]"):
        agents((1, 2, 3)).load_state_dict(state)
    with pytest.raises(CheckpointError, match="'observation_norm': False.*'observation_norm': True"):
        agents(s=settings(normalise_observations=True)).load_state_dict(state)
    with pytest.raises(CheckpointError, match="other names or shapes"):
        agents(hidden=(8, 8)).load_state_dict(state)
    with pytest.raises(CheckpointError, match="belongs to the methods"):
        agents(methods=busy()).load_state_dict(state)


def test_environments_without_a_state_say_so():
    ppo = agents(environments=OneByOne(lambda: gymnasium.make("Pendulum-v1"), 2))
    with pytest.raises(SettingError, match="Pendulum-v1 cannot be read"):
        ppo.state_dict()


def test_one_by_one_is_the_same_as_side_by_side():
    many, one = agents(), agents(environments=OneByOne(hopper(max_episode_steps=12), 2))
    mine, theirs = many.iterate(), one.iterate()
    np.testing.assert_array_equal(mine.episodes.total, theirs.episodes.total)
    for k in range(2):
        require_close(weights_of(many, k), weights_of(one, k), atol=0)


def spaces(**changed):
    class Wrapped(gymnasium.Wrapper):
        def __init__(self):
            super().__init__(gymnasium.make("Pendulum-v1"))
            for name, space in changed.items():
                setattr(self, name, space)

    return OneByOne(Wrapped, 2)


@pytest.mark.parametrize(
    ("environments", "message"),
    [
        (lambda: OneByOne(lambda: gymnasium.make("CartPole-v1"), 2), r"continuous action space.* is Discrete\(2\)"),
        (lambda: gymnasium.make("Pendulum-v1"), r"Pendulum.* does not step in arrays: .*OneByOne"),
        (lambda: gymnasium.make_vec("Pendulum-v1", 2), "does not step in arrays"),
        (lambda: spaces(observation_space=gymnasium.spaces.Dict()), "continuous observation space.* is Dict"),
        (lambda: spaces(observation_space=gymnasium.spaces.Box(0, 255, (4, 4))), "FlattenObservation"),
        (lambda: spaces(action_space=gymnasium.spaces.Box(0, 9, (1,), np.int64)), "continuous action space"),
    ],
)
def test_environments_that_do_not_suit_are_refused(environments, message):
    with pytest.raises(SettingError, match=message):
        agents(environments=environments())


def test_what_does_not_fit_is_refused():
    with pytest.raises(SettingError, match="3 seeds were given for 2 agents"):
        agents((1, 2, 3), environments=hoppers(2))
    with pytest.raises(SettingError, match="3 environments cannot be shared by agents of 2"):
        agents((1,), s=settings(environments=2), environments=hoppers(3))
    for total in (None, 0, -5):
        with pytest.raises(SettingError, match="anneal_step_size = True needs the length"):
            agents(s=settings(anneal_step_size=True), total=total)
    for wrong, message in (
        ({"seeds": (-1, 2)}, "seeds = -1"),
        ({"methods": ["cbp"]}, "methods: 'cbp' is none of the library's"),
        ({"optimizer": torch.optim.Adam}, r"optimizer: .*neoteny.optim.Adam"),
        ({"precision": "float16"}, "precision = 'float16' is not one of"),
    ):
        with pytest.raises(SettingError, match=message):
            agents(**wrong)
    assert agents(methods=L2(strength=0.1)).learner.methods == (L2(strength=0.1),)
    with pytest.raises(SettingError, match="network makes no agent"):
        agents(network=lambda: torch.nn.Linear(11, 7))
    with pytest.raises(SettingError, match="number = 0"):
        OneByOne(hopper(), 0)
    with pytest.raises(SettingError, match="1 seeds for 2 environments"):
        OneByOne(hopper(), 2).reset(seed=[1])


def test_what_environments_tell_is_passed_on():
    class Telling(gymnasium.Wrapper):
        def step(self, action):
            observation, reward, *ended, _ = self.env.step(action)
            return observation, reward if action[0] < 1 else np.nan, *ended, {"friction": 0.5, "unstable": True}

    told = OneByOne(lambda: Telling(gymnasium.make("Pendulum-v1")), 2)
    told.reset(seed=[0, 1])
    steps = told.step_arrays(np.zeros((2, 1), np.float32))
    assert steps.friction.tolist() == [0.5, 0.5] and steps.unstable.tolist() == [True, True]
    with pytest.raises(SettingError, match="Pendulum.* gave a reward that is not a number"):
        told.step_arrays(np.ones((2, 1), np.float32))
    silent = OneByOne(lambda: gymnasium.make("Pendulum-v1"), 1)
    silent.reset(seed=[0])
    steps = silent.step_arrays(np.zeros((1, 1), np.float32))
    assert np.isnan(steps.friction).all() and not steps.unstable.any()


@pytest.mark.parametrize("part", ["observations", "final_observations"])
def test_an_observation_that_is_not_a_number_is_named(part):
    def lie(t, steps):
        found = getattr(steps, part).copy()
        if t == 12 or part == "observations":
            found[3, 2] = np.nan
        return steps._replace(**{part: found})

    s = settings(environments=2, bootstrap_timeouts=True)
    ppo = agents(s=s, environments=Recording(hoppers(4), lie=lie))
    with pytest.raises(SettingError, match=r"Environment 3 \(of agent 1\) gave an observation .*nan"):
        ppo.iterate()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rollout_steps", 0),
        ("environments", 1.5),
        ("epochs", True),
        ("batch_size", 100),
        ("gamma", 1.1),
        ("gae_lambda", -0.1),
        ("clip_coef", 0.0),
        ("vf_coef", float("inf")),
        ("ent_coef", -1.0),
        ("max_grad_norm", 0.0),
        ("max_grad_norm", float("nan")),
        ("normalise_advantages", "epoch"),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(SettingError, match=f"{name} = {value!r}"):
        PPOSettings(**{name: value})


@pytest.mark.parametrize("how", ["batch", "minibatch"])
def test_a_single_step_has_no_deviation(how):
    with pytest.raises(SettingError, match=f"normalise_advantages = '{how}'"):
        PPOSettings(rollout_steps=1, batch_size=1, normalise_advantages=how)
    PPOSettings(rollout_steps=1, batch_size=1, normalise_advantages="none")


def test_a_pole_is_balanced():
    """InvertedPendulum pays 1 a step for at most 1,000: the mean actions hold it to the end."""

    def make():
        return gymnasium.make("InvertedPendulum-v5")

    s, total = PPOSettings(rollout_steps=1024, epochs=8, batch_size=256, anneal_step_size=True), 20 * 1024
    options = {"hidden": (32, 32), "activation": "tanh", "optimizer": Adam(step_size=5e-3), "strategy": "loop"}
    ppo = agents((1,), s=s, environments=OneByOne(make, 1), total=total, **options)
    first = ppo.iterate().episodes.total.mean()
    while ppo.step < total:
        ppo.iterate()
    ppo.policy.use(ppo.learner.tensors("actor."))
    environment, returns = make(), []
    for seed in (100, 101):
        seen, _ = environment.reset(seed=seed)
        returns.append(0.0)
        over = False
        while not over:
            with torch.no_grad():
                action = ppo.policy(seen[None, None].astype(np.float32))[0, 0]
            seen, reward, terminated, truncated, _ = environment.step(action)
            returns[-1] += reward
            over = terminated or truncated
    assert first < 50 and min(returns) >= 900


@pytest.mark.parametrize("method", [EMA(mu=0.9), HareAndTortoise(mu=0.9, period=10**6)], ids=["ema", "hare"])
def test_what_was_met_is_judged_by_the_networks_that_acted(method, monkeypatch):
    plain, averaged = agents(), agents(methods=method)
    judged = []
    for ppo in (plain, averaged):
        monkeypatch.setattr(ppo, "_judge", lambda made, own=ppo._judge: judged.append(own(made)) or judged[-1])
        ppo.iterate(), ppo.iterate()
    torch.testing.assert_close(judged[1][0], judged[3][0])  # log-probabilities of the second iteration
    np.testing.assert_allclose(judged[1][1], judged[3][1], rtol=1e-5)
    require_close(weights_of(plain, 0), weights_of(averaged, 0))
