"""Streaming agents against plain loops; stacks against single agents; what is refused; what breaks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from neoteny import compiling
from neoteny.envs import MinAtarGame, MujocoVectorEnv, OneByOne, make_classic
from neoteny.errors import SettingError
from neoteny.methods import ContinualBackprop
from neoteny.nn import MLP, MinAtarNet
from neoteny.nn.networks import Networks
from neoteny.optim import Adam, ObGD, TraceSGD
from neoteny.rl.avg import AVG
from neoteny.rl.kernel import read_chain
from neoteny.rl.stream_ac import StreamAC
from neoteny.rl.stream_q import BestValue, StreamQ
from neoteny.rl.stream_sarsa import StreamSARSA
from neoteny.rl.stream_settings import AVGSettings, StreamACSettings, StreamQSettings, StreamSARSASettings
from rl import streaming_ordinary as ordinary
from rl.ordinary import hopper

NET = {"activation": "leaky_relu", "initialisation": "sparse", "normalisation": "plain_layer"}
LIMIT = 12


def actor_critic():
    return Networks({"actor": MLP(12, [10, 8], 6, **NET), "critic": MLP(12, [10, 8], 1, **NET)})


def ac(seeds=(4,), *, settings=None, environments=None, **options):
    return StreamAC(
        environments or MujocoVectorEnv("Hopper-v5", len(seeds), max_episode_steps=LIMIT),
        settings=settings or StreamACSettings(segment=50),
        time_limit=LIMIT,
        seeds=seeds,
        **{"network": actor_critic, "optimizer": ObGD(), "compile": False, **options},
    )


def values(kind, settings, seeds=(4,), total=2_000, **options):
    return kind(
        OneByOne(lambda: make_classic("CartPole-v1", 30), len(seeds)),
        settings=settings,
        network=lambda: MLP(4, [10, 8], 2, **NET),
        optimizer=ObGD(),
        seeds=seeds,
        total=total,
        **{"compile": False, **options},
    )


def own_weights(agents, run=0):
    return {name: value[run].double().clone() for name, value in agents.learner.weights().items()}


def require_close(mine, theirs, rtol=1e-7, atol=1e-9):
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=atol, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("other", "steps"),
    [({}, 400), ({"reward_moment": "mean", "bootstrap_timeouts": True, "entropy": 0.1}, 200)],
    ids=["paper", "other"],
)
def test_stream_ac_is_a_plain_loop(other, steps):
    s = StreamACSettings(segment=50, **other)
    agents = ac(settings=s, precision="float64")
    loop = ordinary.AC(
        own_weights(agents),
        hopper(max_episode_steps=LIMIT)(),
        4,
        s,
        lambda rng, segment: rng.standard_normal((1 if segment < 0 else s.segment, 3), dtype=np.float32),
        limit=LIMIT,
    )
    start = own_weights(agents)
    loop.run(steps)
    for _ in range(steps // s.segment):
        agents.iterate()
    mine = own_weights(agents)
    nets = {"actor": loop.actor, "critic": loop.critic}
    theirs = {name: nets[name.partition(".")[0]].w[name.partition(".")[2].replace(".", "_")].detach() for name in mine}
    require_close(mine, theirs, atol=1e-7)
    assert max((mine[name] - start[name]).abs().max() for name in mine) > 0.05
    assert loop.ended > steps // LIMIT // 2


@pytest.mark.parametrize(
    ("kind", "plain", "settings", "steps"),
    [
        (StreamQ, ordinary.Q, StreamQSettings(), 400),
        (StreamQ, ordinary.Q, StreamQSettings(cut="after"), 200),
        (StreamSARSA, ordinary.SARSA, StreamSARSASettings(exploration=0.2), 400),
        (StreamSARSA, ordinary.SARSA, StreamSARSASettings(first_action="carried", normalise_rewards=True), 200),
    ],
    ids=["q", "q-cut-after", "sarsa", "sarsa-carried"],
)
def test_stream_values_are_a_plain_loop(kind, plain, settings, steps):
    s, total = replace(settings, segment=50, last_epsilon=0.2), 2_000
    agents = values(kind, s, total=total, precision="float64")

    def drawn(rng, segment):
        count = 1 if segment < 0 else s.segment
        random, chosen = rng.random(count), rng.integers(2, size=count)
        share = [s.epsilon(max(segment, 0) * s.segment + k, total) for k in range(count)]
        return np.where(random < share, chosen, -1)[:, None]

    loop = plain(own_weights(agents), gymnasium.make("CartPole-v1", max_episode_steps=30), 4, s, drawn)
    loop.run(steps)
    for _ in range(steps // s.segment):
        agents.iterate()
    mine = own_weights(agents)
    require_close(mine, {name: loop.net.w[name.replace(".", "_")].detach() for name in mine})
    assert loop.ended > steps // 40
    if plain is ordinary.Q:
        assert loop.cuts > steps // 40


def avg(seeds=(4,), *, settings=None, environments=None, **options):
    net = {"activation": "leaky_relu", "initialisation": "orthogonal", "unit_features": True}
    return AVG(
        environments or MujocoVectorEnv("Hopper-v5", len(seeds), max_episode_steps=LIMIT),
        settings=settings or AVGSettings(segment=50, actor_step_size=2e-3),
        network=lambda: Networks({"actor": MLP(11, [10, 8], 6, **net), "critic": MLP(14, [10, 8], 1, **net)}),
        seeds=seeds,
        **{"optimizer": Adam(step_size=3e-3, betas=(0.0, 0.999)), "compile": False, **options},
    )


@pytest.mark.parametrize(
    ("other", "steps", "limit"),
    [({}, 300, LIMIT), ({"returns": "termination", "bootstrap_timeouts": False, "entropy": 0.3}, 150, 100)],
    ids=["paper", "other"],
)
def test_avg_is_a_plain_loop(other, steps, limit):
    """Adam with beta 0 divides by second moments near 0, which multiplies rounding."""
    s = AVGSettings(segment=50, actor_step_size=2e-3, **other)
    agents = avg(settings=s, environments=MujocoVectorEnv("Hopper-v5", 1, max_episode_steps=limit), precision="float64")
    start = own_weights(agents)
    loop = ordinary.AVG(
        start,
        hopper(max_episode_steps=limit)(),
        4,
        s,
        lambda rng, segment: rng.standard_normal((1 if segment < 0 else s.segment, 6), dtype=np.float32),
        rates=(2e-3, 3e-3),
    )
    loop.run(steps)
    for _ in range(steps // s.segment):
        agents.iterate()
    mine, nets = own_weights(agents), {"actor": loop.actor, "critic": loop.critic}
    theirs = {name: nets[name.partition(".")[0]][name.partition(".")[2]].detach() for name in mine}
    require_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert all((mine[name] - start[name]).abs().max() > 0.02 for name in mine)
    assert loop.ended > steps // limit // 2 and loop.squared


def minatar(settings, seeds=(4,), **options):
    return StreamQ(
        OneByOne(lambda: MinAtarGame("asterix"), len(seeds)),
        settings=settings,
        network=lambda: MinAtarNet(4, 5, 16),
        optimizer=ObGD(step_size=0.9),
        seeds=seeds,
        total=200,
        **options,
    )


OTHER = {"normalise_observations": False, "normalise_rewards": False, "bootstrap_timeouts": True, "clip_actions": False}


@pytest.mark.skipif(compiling.compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize(
    "make",
    [
        partial(ac, settings=StreamACSettings(segment=20)),
        partial(ac, settings=StreamACSettings(segment=20, reward_moment="mean", entropy=0.5, trace_lambda=0.3)),
        partial(ac, settings=StreamACSettings(segment=20, actor_kappa=1.5, **OTHER)),
        partial(values, StreamQ, StreamQSettings(segment=20, exploration=1.0)),
        partial(values, StreamQ, StreamQSettings(segment=20, exploration=1.0, cut="after", **OTHER)),
        partial(minatar, StreamQSettings(segment=20, exploration=1.0)),
    ],
    ids=["ac", "ac-moment", "ac-plain", "q", "q-after", "minatar"],
)
def test_the_kernel_is_the_formulas(make):
    """Two agents by hand and two by the formulas: what they see and do, their weights, traces and records."""
    by_hand, formulas = (make(seeds=(4, 9), compile=compile) for compile in (True, False))
    assert by_hand.learner.strategy._kernels and not formulas.learner.strategy._kernels
    for _ in range(2):
        mine, theirs = by_hand.iterate(), formulas.iterate()
        for name, value in theirs.losses.items():
            np.testing.assert_allclose(mine.losses[name], value, rtol=2e-3, atol=1e-4, err_msg=name)
    mine, theirs = (agents.learner.state_dict()["carry"] for agents in (by_hand, formulas))
    for part in ("tensors", "interaction"):
        require_close(mine[part], theirs[part], rtol=2e-3, atol=1e-4)
    for name, state in theirs["optim"].items():
        require_close(mine["optim"][name], state, rtol=2e-3, atol=2e-3)
    assert torch.equal(mine["count"], theirs["count"])


def test_the_kernel_takes_what_it_knows():
    """Methods, other optimizers and networks go through the formulas."""
    net = {"actor": MLP(12, [4], 6, "tanh"), "critic": MLP(12, [4], 1, "tanh")}
    assert read_chain(net["actor"]) is None
    assert read_chain(MLP(3, [4], 1, "leaky_relu", normalisation="layer")) is None
    assert read_chain(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))) is None

    class Around(nn.Sequential):
        def forward(self, input):
            return input + super().forward(input)

    assert read_chain(nn.Sequential(Around(nn.Linear(3, 3)), nn.LeakyReLU(), nn.Linear(3, 1))) is None
    grid = [nn.Unflatten(1, (1, 5, 5)), nn.Conv2d(1, 2, 3), nn.LayerNorm(3, elementwise_affine=False)]
    assert read_chain(nn.Sequential(*grid, nn.LeakyReLU(), nn.Flatten(), nn.Linear(18, 1))) is None
    frozen = MLP(12, [10, 8], 6, **NET).requires_grad_(False)
    frozen.layers[-1].requires_grad_()
    partly = Networks({"actor": frozen, "critic": MLP(12, [10, 8], 1, **NET)})
    assert ac(compile=True, network=lambda: partly).learner.strategy._kernels is None
    for other in ({"methods": busy()}, {"optimizer": TraceSGD(step_size=1e-3)}, {"precision": "float64"}):
        assert ac(compile=True, **other).learner.strategy._kernels is None


def test_watkins_cut_does_not_credit_earlier_actions():
    """The authors' way credits the pair before with the error of an action that is not greedy; the paper's does not."""
    moved = {}
    for cut in ("before", "after"):
        said = BestValue(0.99 * 0.8, True, cut == "before").signals(
            torch.tensor(1.0), torch.tensor(False), torch.tensor(False)
        )
        moved[cut] = float(said["trace_decay"]), bool(said["ended"])
    assert moved == {"before": (0.0, False), "after": (pytest.approx(0.792), True)}


def busy():
    return [ContinualBackprop(replacement_rate=0.05, maturity_threshold=3, replacement="drawn")]


@pytest.mark.parametrize("strategy", ["one-call", "stack"])
def test_an_agent_alone_is_that_agent_in_the_stack(strategy):
    s = StreamACSettings(segment=12)
    stack = ac((4, 9, 6), settings=s, methods=busy(), strategy=strategy)
    alone = ac((9,), settings=s, methods=busy())
    for _ in range(2):
        together, own = stack.iterate(), alone.iterate()
        mine = together.episodes.agent == 1
        np.testing.assert_array_equal(together.episodes.length[mine], own.episodes.length)
        np.testing.assert_allclose(together.losses["td_error"][1], own.losses["td_error"][0], rtol=1e-3)
    require_close(own_weights(stack, 1), own_weights(alone), rtol=1e-3)
    assert sum(int(value[0]) for value in alone.learner.replaced().values()) > 10


def test_newborns_of_a_sparse_initialisation_are_sparse():
    agents = ac(methods=[ContinualBackprop(replacement_rate=0.2, maturity_threshold=2, replacement="drawn")])
    before = own_weights(agents)["actor.layers.3.weight"] == 0
    assert (before.sum(1) == 9).all()  # nine of ten inputs
    agents.iterate()
    state = agents.learner.state_dict()["carry"]
    young = state["methods"][0]["actor.layers.3/age"][0] == 0
    assert young.any()
    rows = own_weights(agents)["actor.layers.3.weight"][young]
    assert ((rows == 0).sum(1) == 9).all()
    assert (state["optim"]["actor.layers.3.weight"]["trace"][0][young] == 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: values(StreamQ, StreamQSettings(segment=40), (4, 9)),
        lambda: avg((4, 9), settings=AVGSettings(segment=40), methods=busy()),
    ],
    ids=["q", "avg"],
)
def test_killed_and_resumed_is_never_killed(make):
    whole, cut = make(), make()
    for _ in range(3):
        whole.iterate()
    cut.iterate()
    again = make()
    again.load_state_dict(cut.state_dict())
    again.iterate()
    made = again.iterate()
    assert made.step == whole.step == 120
    for name, value in whole.learner.weights().items():
        torch.testing.assert_close(again.learner.weights()[name], value, rtol=0, atol=0)


class Lying(OneByOne):
    def __init__(self, lie, number=1):
        super().__init__(lambda: make_classic("Pendulum-v1"), number)
        self.lie, self.steps = lie, 0

    def step_arrays(self, actions):
        self.steps += 1
        made = super().step_arrays(actions)
        return self.lie(made) if self.steps == 5 else made


@pytest.mark.parametrize(
    ("lie", "match"),
    [
        (lambda made: made._replace(rewards=np.array([np.nan])), "gave the reward nan after 4 steps"),
        (lambda made: made._replace(observations=made.observations[:, :2]), r"shape \(1, 2\) after 4 steps"),
        (lambda made: made._replace(final_observations=made.observations * np.nan), "not finite after 5 steps"),
    ],
    ids=["reward", "shape", "observation"],
)
def test_what_environments_may_not_give(lie, match):
    agents = StreamAC(
        Lying(lie),
        settings=StreamACSettings(segment=10, time_input=False),
        network=lambda: Networks({"actor": MLP(3, [4], 2, **NET), "critic": MLP(3, [4], 1, **NET)}),
        optimizer=ObGD(),
        compile=False,
    )
    with pytest.raises(SettingError, match=match):
        agents.iterate()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: StreamACSettings(trace_lambda=1.5), r"trace_lambda = 1.5 .*\[0, 1\]"),
        (lambda: StreamACSettings(environments=2), "environments = 2 .*traces add up"),
        (
            lambda: StreamAC(
                MujocoVectorEnv("Hopper-v5", 1), settings=StreamACSettings(), network=actor_critic, optimizer=ObGD()
            ),
            "time_input = True needs",
        ),
        (partial(ac, optimizer=Adam()), "Adam keeps no traces: give trace_lambda = 0"),
        (
            partial(ac, settings=StreamACSettings(trace_lambda=0.0, actor_step_size=0.1), optimizer=Adam()),
            "actor_step_size = 0.1: without traces",
        ),
        (partial(ac, settings=StreamACSettings(actor_kappa=2.0), optimizer=TraceSGD()), "TraceSGD has no kappa"),
        (partial(avg, optimizer=ObGD()), "AVG descends losses"),
        (partial(avg, environments=OneByOne(lambda: make_classic("Pendulum-v1"), 1)), "actions between -2 and 2"),
        (partial(ac, environments=OneByOne(lambda: make_classic("CartPole-v1"), 1)), "continuous action space"),
        (partial(values, StreamQ, StreamQSettings(), total=None), "give total"),
        (
            lambda: StreamQ(
                MujocoVectorEnv("Hopper-v5", 1), settings=StreamQSettings(), network=actor_critic, optimizer=ObGD()
            ),
            "choose from a few actions",
        ),
    ],
)
def test_what_is_refused(make, match):
    with pytest.raises(SettingError, match=match):
        make()


def test_a_run_that_overflows_ends_alone():
    s = StreamACSettings(segment=20)
    both, alone = ac((4, 9), settings=s), ac((9,), settings=s)
    state = both.learner.state_dict()
    state["carry"]["tensors"]["critic.layers.0.bias"][0] = torch.inf
    both.learner.load_state_dict(state)
    for _ in range(2):
        both.iterate(), alone.iterate()
    assert both.alive.tolist() == [False, True]
    require_close(own_weights(both, 1), own_weights(alone), rtol=1e-5)


def test_without_traces_it_is_the_classic_actor_critic():
    """Adam descends delta^2 / 2 and -delta log pi - c H."""
    s = StreamACSettings(segment=20, trace_lambda=0.0)
    agents = ac(settings=s, optimizer=Adam(step_size=1e-3))
    before = own_weights(agents)
    agents.iterate()
    moved = [float((value - before[name]).abs().max()) for name, value in own_weights(agents).items()]
    assert all(0 < size < 0.03 for size in moved)
