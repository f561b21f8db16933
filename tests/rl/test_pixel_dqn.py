"""Agents that learn from pixels: losses in NumPy, updates beside plain PyTorch, resets, stops, one beside others."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch

from neoteny.errors import NetworkError, SettingError
from neoteny.methods import CChain, HareAndTortoise, HeadReset, ShrinkAndPerturb
from neoteny.optim import Adam
from neoteny.rl import OneByOne, PixelDQN, PixelSettings, ReplayBuffer, augmenting
from neoteny.rl.augmenting import brightened, moved
from neoteny.rl.pixel_loss import PixelLearning, projected
from neoteny.rl.pixel_settings import BBF
from neoteny.units import random

SMALL = {"learning_starts": 8, "segment": 16, "batch_size": 4, "capacity": 64, "hidden": (6,), "replay_ratio": 0.5}
DRQ_HERE = {"width": 0.125}
BBF_HERE = {**BBF, "width": 0.25, "atoms": 7, "jumps": 2, "anneal": 8, "reset_every": 16}
SIDES = {"nature": 36, "impala": 12}


class Game(gymnasium.Env):
    """Pictures that depend on what was done; episodes of nine steps."""

    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, side):
        self.observation_space = gymnasium.spaces.Box(0, 255, (2, side, side), np.uint8)

    def seen(self):
        rng = np.random.default_rng([self.now, *self.done])
        return rng.integers(0, 256, self.observation_space.shape, dtype=np.uint8)

    def reset(self, *, seed=None, options=None):
        self.now, self.done = 0, [0 if seed is None else seed % 97]
        return self.seen(), {}

    def step(self, action):
        self.now, self.done = self.now + 1, [*self.done[-2:], int(action)]
        return self.seen(), float(action) - 1, self.now == 9, False, {}

    def saved_state(self):
        return {"now": self.now, "done": self.done}

    def restore_state(self, state):
        self.now, self.done = state["now"], list(state["done"])


def agents_of(seeds=(0,), methods=(), optimizer=None, strategy="auto", precision="float64", **settings) -> PixelDQN:
    own = PixelSettings(**{**settings, **SMALL})
    side = SIDES[own.encoder]
    return PixelDQN(
        OneByOne(lambda: Game(side), len(seeds) * own.environments),
        settings=own,
        methods=methods,
        optimizer=optimizer,
        seeds=seeds,
        total=100,
        strategy=strategy,
        compile=False,
        precision=precision,
    )


def carry_of(agents):
    return agents.learner.strategy.carry()


# What a loss is made of


def test_the_projected_distribution_equals_a_loop():
    rng = np.random.default_rng(0)
    z, chances = np.linspace(-2, 3, 6), rng.dirichlet(np.ones(6), 5)
    rewards, discounts = np.array([0.3, -9.0, 9.0, 0.0, 1.0]), np.array([0.9, 0.5, 0.5, 1.0, 0.0])
    expected = np.zeros((5, 6))
    for row in range(5):
        for chance, value in zip(chances[row], z, strict=True):
            place = np.clip(rewards[row] + discounts[row] * value, -2, 3) + 2  # the distance of two values is 1
            low = int(place)
            expected[row, low] += chance * (1 - (place - low))
            if place > low:
                expected[row, low + 1] += chance * (place - low)
    found = projected(*(torch.from_numpy(array) for array in (chances, z, rewards, discounts)))
    np.testing.assert_allclose(found, expected, atol=1e-14)


class Given:
    """Outputs as they are given, as `Forward`."""

    def __init__(self, outputs, predictions, came):
        self.outputs, self.predictions, self.came = outputs, predictions, came

    def __call__(self, images, part, ahead=None, slow=None, observed=True):
        return self.came if part == "projections" else (self.outputs, self.predictions)


def test_the_self_predictive_loss_and_its_gradient_equal_numpy():
    rng, count, steps = np.random.default_rng(0), 4, 3
    u, v = rng.standard_normal((2, count, steps, 5))
    goes_on, weights = rng.integers(2, size=(count, steps)).astype(float), rng.random(count)
    settings = PixelSettings(jumps=steps, augment=False, dueling=False, prediction_weight=2.0)
    learning = PixelLearning(settings=settings)
    images = torch.zeros(count, 2, 2, 1, dtype=torch.uint8)
    batch = {
        "states": images,
        "next_states": images,
        "following": images.unsqueeze(1).expand(-1, steps, -1, -1, -1),
        "ahead": torch.zeros(count, steps, dtype=torch.int64),
        "actions": torch.zeros(count, dtype=torch.int64),
        "rewards": torch.zeros(count, dtype=torch.float64),
        "discounts": torch.ones(count, dtype=torch.float64),
        "goes_on": torch.from_numpy(goes_on),
        "weights": torch.from_numpy(weights),
    }
    predictions = torch.from_numpy(u).requires_grad_()
    forward = Given(torch.zeros(count, 3, dtype=torch.float64), predictions, torch.from_numpy(v).flatten(0, 1))
    found = learning(forward, batch, random.key(0))
    unit, aim = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (u, v))
    likeness = (unit * aim).sum(-1)
    each = ((2 - 2 * likeness) * goes_on).mean(1)
    assert found.metrics["prediction_loss"].item() == pytest.approx(each.mean(), rel=1e-12)
    assert found.value.item() == pytest.approx((weights * 2.0 * each).mean(), rel=1e-12)
    found.value.backward()
    slope = -2 * (aim - likeness[..., None] * unit) / np.linalg.norm(u, axis=-1, keepdims=True)
    slope *= 2.0 * goes_on[..., None] * weights[:, None, None] / (steps * count)
    np.testing.assert_allclose(predictions.grad, slope, atol=1e-14)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("channels", [3, 4])
def test_a_stack_moves_as_one(channels, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(augmenting, "_kernel", lambda: None)
    rng, reach = np.random.default_rng(0), 7  # further than the image is wide
    images = rng.integers(0, 256, (50, channels, 5, 6), dtype=np.uint8)
    offsets = rng.integers(-reach, reach + 1, (50, 2))
    found = moved(torch.from_numpy(images), torch.from_numpy(offsets)).numpy()
    for image, (down, right), seen in zip(images, offsets, found, strict=True):
        padded = np.pad(image, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
        crop = padded[:, reach + down : reach + down + 5, reach + right : reach + right + 6]
        assert (seen == crop.transpose(1, 2, 0)).all()


def test_all_offsets_are_alike_and_brightness_is_clipped():
    agents, count = agents_of((3, 4), **DRQ_HERE), 2_000
    frame = np.zeros((9, 9), np.uint8)
    agents._shape, frame[4, 4] = (1, 9, 9), 1
    rows = torch.from_numpy(frame.reshape(1, 1, -1)).expand(2, count, -1)
    found = agents._shifted(rows, [np.random.default_rng(seed) for seed in (3, 4)])
    assert torch.equal(found[1], agents._shifted(rows[:1], [np.random.default_rng(4)])[0])
    counts = found.sum((0, 1)).numpy()[:, :, 0] / (2 * count)
    assert counts == pytest.approx(np.full((9, 9), 1 / 81), abs=0.008)
    bright = brightened(torch.ones(count, 1, 2, 2), random.key(1), 0.05).numpy()
    noise = (bright[:, 0, 0, 0] - 1) / 0.05
    assert (bright == bright[:, :1, :1, :1]).all() and abs(noise).max() == pytest.approx(2, rel=1e-5)
    assert abs(noise.mean()) < 0.05 and noise.std() == pytest.approx(0.96, abs=0.03)  # of a normal, clipped


def test_n_and_the_discount_go_there_exponentially():
    own = PixelSettings(**BBF)
    for updates in (0, 1, 2_500, 7_777, 10_000, 30_000):
        x = min(updates / 10_000, 1)
        assert own.steps_ahead(updates) == round(float(np.exp(np.log(10) + x * np.log(0.3))))
        expected = 1 - np.exp((1 - x) * np.log(0.03) + x * np.log(0.003))
        assert own.discount(updates) == pytest.approx(expected, rel=1e-12)
    plain = PixelSettings()
    assert (plain.steps_ahead(0), plain.discount(0), plain.correction(1.0)) == (10, 0.99, 1.0)
    assert [own.correction(share) for share in (0.0, 0.7, 1.0)] == [0.5] * 3


def test_what_follows_equals_a_walk_through_the_episodes():
    rng, own, capacity, length = np.random.default_rng(0), 2, 12, 4
    buffer, told = ReplayBuffer(2, capacity, 1, None, environments=own), []
    for number in range(9):  # the oldest are overwritten
        seen = rng.random((2, own, 1))
        taken, ends = rng.integers(5, size=(2, own)), rng.choice(3, size=(2, own), p=[0.7, 0.15, 0.15])
        buffer.add(seen, taken, np.zeros((2, own)), seen, ends == 1, ends == 2)
        told.append((number, seen, taken, ends))
    places = np.stack([np.arange(capacity)] * 2)
    found = buffer.sequences(places, length)
    for run in range(2):
        for step in range(len(told) - capacity // own, len(told)):
            for environment in range(own):
                place = (step * own + environment) % capacity
                alive = True
                for k in range(1, length + 1):
                    before = told[step + k - 1] if step + k <= len(told) else None
                    alive = alive and step + k < len(told) and not before[3][run, environment]
                    assert found["goes_on"][run, place, k - 1] == alive
                    if alive:
                        assert found["ahead"][run, place, k - 1] == before[2][run, environment]
                        later = np.float32(told[step + k][1][run, environment, 0])
                        assert found["following"][run, place, k - 1, 0] == later


# Updates beside plain PyTorch


@functools.cache
def plain():
    path = Path(__file__).parents[2] / "bench" / "plain_pixels.py"
    spec = importlib.util.spec_from_file_location("plain_pixels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plain_agent(agents):
    """The same agent with the same weights; the dueling head is cut in two."""
    s, side = agents.settings, agents._shape[1]
    weights = {name: value[0] for name, value in agents.learner.weights().items()}
    of_encoder = {name: value for name, value in weights.items() if name.startswith("encoder.")}
    sizes = [len(value) for name, value in of_encoder.items() if name.endswith("weight")]
    if s.encoder == "nature":
        encoder = plain().nature(2, sizes)
    else:
        encoder = plain().impala(2, [len(of_encoder[f"encoder.{stage}.conv.weight"]) for stage in range(3)])
    maps = len([*of_encoder.values()][-1])
    features = weights["projection.weight"].shape[1]
    network = plain().Network(encoder, maps, features, s.hidden[0], 3, s.atoms, s.jumps).double()
    targets = [*network.encoder.parameters()]
    for own, value in zip(targets, of_encoder.values(), strict=True):
        own.data.copy_(value)
    for name in ("projection", *(("predictor", "transition") if s.jumps else ())):
        module = getattr(network, name)
        kept = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
        module.load_state_dict(kept)
    for kind in ("weight", "bias"):
        value, advantage = weights[f"head.{kind}"].split([network.atoms, 3 * network.atoms])
        getattr(network.value, kind).data.copy_(value)
        getattr(network.advantage, kind).data.copy_(advantage)
    assert side == SIDES[s.encoder]
    return network


def brightness(agents, update, what, count):
    """Of some images of an update."""
    key = random.fold_in(agents.learner.strategy.keys[0], torch.tensor(update))
    for number in (-2, -1, what):
        key = random.fold_in(key, number)
    return random.normal(key, (count, 1, 1, 1)).clamp(-2, 2).double()


@pytest.mark.parametrize("own", [DRQ_HERE, {**DRQ_HERE, "tau": 0.05}, BBF_HERE], ids=["drq", "target", "bbf"])
def test_updates_equal_plain_pytorch(own):
    decay = 0.1 if "jumps" in own else 0.0
    agents = agents_of(optimizer=Adam(step_size=1e-3, eps=1.5e-4, weight_decay=decay), **own)
    s, rng, (frames, side, _) = agents.settings, np.random.default_rng(0), agents._shape
    network = plain_agent(agents)
    other = plain().PlainPixels(network, 1e-3, s.tau, weight_decay=decay)
    for update in range(50):
        k = s.jumps
        batch = {
            "states": torch.from_numpy(rng.integers(0, 256, (4, frames, side, side)).astype(np.uint8)),
            "next_states": torch.from_numpy(rng.integers(0, 256, (4, frames, side, side)).astype(np.uint8)),
            "actions": torch.from_numpy(rng.integers(3, size=4)),
            "rewards": torch.from_numpy(2 * rng.standard_normal(4)),
            "discounts": torch.from_numpy(rng.choice([0.0, 0.9], 4)),
        }
        if s.priority:
            batch["weights"] = torch.from_numpy(rng.random(4))
        if k:
            batch["following"] = torch.from_numpy(rng.integers(0, 256, (4, k, frames, side, side)).astype(np.uint8))
            batch["ahead"] = torch.from_numpy(rng.integers(3, size=(4, k)))
            batch["goes_on"] = torch.from_numpy(rng.integers(2, size=(4, k)).astype(float))
        given, names = dict(batch), ("states", "next_states", *(("following",) if k else ()))
        for what, name in enumerate(names):
            images = batch[name].view(-1, frames, side, side)
            offsets = torch.from_numpy(rng.integers(-4, 5, (len(images), 2)))
            given[name] = moved(images, offsets).unflatten(0, batch[name].shape[:-3])
            noise = brightness(agents, update, what, len(images))
            batch[name] = plain().shifted(images.double(), 4, 0.05, offsets + 4, noise).view(batch[name].shape)
        agents.learner.learn({name: value.unsqueeze(0) for name, value in given.items()})
        errors = other.update(batch)
        if s.priority:
            torch.testing.assert_close(agents.learner.interaction()["td_errors"][0], errors, rtol=1e-7, atol=1e-9)
    own_now, other_now = agents.learner.weights(), dict(network.named_parameters())
    for name in ("encoder.0.conv.weight", "encoder.0.weight", "projection.weight", "predictor.weight"):
        if name in own_now:
            plain_name = "encoder.0.weight" if "encoder" in name else name
            torch.testing.assert_close(own_now[name][0], other_now[plain_name].data, rtol=1e-5, atol=1e-8)
    head = torch.cat([network.value.weight, network.advantage.weight])
    torch.testing.assert_close(own_now["head.weight"][0], head.data, rtol=1e-5, atol=1e-8)


# Whole agents


@pytest.mark.parametrize("own", [DRQ_HERE, BBF_HERE], ids=["drq", "bbf"])
def test_an_agent_alone_equals_itself_beside_others_and_after_a_stop(own, tmp_path):
    methods = [ShrinkAndPerturb(when="at_task", shrink=0.5), HeadReset(layers=2)] if own is BBF_HERE else []
    both, alone, stopped = (agents_of(seeds, methods, **own) for seeds in ((4, 5), (5,), (4, 5)))
    stopped.iterate()
    state = stopped.state_dict(tmp_path)
    again = agents_of((4, 5), methods, **own)
    again.load_state_dict(state, tmp_path)
    again.iterate()
    for _ in range(2):
        both.iterate()
        alone.iterate()
    for name, value in alone.learner.weights().items():
        torch.testing.assert_close(both.learner.weights()[name][1], value[0], rtol=1e-8, atol=1e-10)
        assert torch.equal(both.learner.weights()[name], again.learner.weights()[name])


def test_stacked_agents_learn_as_one_after_the_other():
    stacked, apart = (agents_of((4, 5), strategy=strategy, **BBF_HERE) for strategy in ("stack", "auto"))
    stacked.iterate()
    apart.iterate()
    for name, value in apart.learner.weights().items():
        torch.testing.assert_close(stacked.learner.weights()[name], value, rtol=1e-7, atol=1e-9)


def test_products_in_bfloat16_come_near():
    coarse, fine = (agents_of(precision=precision, **BBF_HERE) for precision in ("bfloat16", "float32"))
    found, expected = (agents.iterate().losses for agents in (coarse, fine))
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=0.03, atol=0.03)
    for name, value in fine.learner.weights().items():
        assert coarse.learner.weights()[name].dtype == torch.float32
        assert not torch.equal(coarse.learner.weights()[name], value)


def test_the_reset_of_bbf_halves_the_encoder_and_draws_the_heads_anew():
    reset = [ShrinkAndPerturb(when="at_task", shrink=0.5), HeadReset(layers=2, also=("predictor",))]
    agents = agents_of((0,), reset, **BBF_HERE)
    agents.iterate()
    before = carry_of(agents)
    assert agents.settings.steps_ahead(agents._phase - agents._reset) < 10
    agents.new_task()
    after = carry_of(agents)
    assert agents._phase == agents._reset and agents.settings.steps_ahead(0) == 10
    bounds = {name: how.scale for name, how in agents.learner.network.initialisers.items()}
    for name, new in after["tensors"].items():
        if name == "support":
            continue
        old, moments = before["tensors"][name], after["optim"][name]["exp_avg"]
        assert torch.equal(after["slow"]["target"][name], new)
        if name.startswith(("projection", "head", "predictor")):
            assert (new.abs() <= bounds[name] + 1e-12).all() and not moments.any()
        else:
            fresh = (new - 0.5 * old) / 0.5
            assert (fresh.abs() <= bounds[name] + 1e-12).all()
            assert torch.equal(moments, before["optim"][name]["exp_avg"])
            if name.endswith("weight"):
                assert fresh.std().item() == pytest.approx(bounds[name] / 3**0.5, rel=0.3)


@pytest.mark.parametrize("keep_momentum", [True, False])
@pytest.mark.parametrize("keep_layers", [0, 2])
def test_when_the_hare_goes_back_to_its_target(keep_momentum, keep_layers):
    hare = HareAndTortoise(tortoise="target", keep_momentum=keep_momentum, keep_layers=keep_layers)
    agents = agents_of((0,), hare, **DRQ_HERE, tau=0.05)
    agents.iterate()
    before = carry_of(agents)
    agents.new_task()
    after = carry_of(agents)
    for name, now in after["tensors"].items():
        target, stays = before["slow"]["target"][name], keep_layers and name.startswith(("projection", "head"))
        assert torch.equal(after["slow"]["target"][name], target)
        assert torch.equal(now, before["tensors"][name] if stays else target)
        moments, count = after["optim"][name]["exp_avg_sq"], after["optim"][name]["step"]
        if keep_momentum or stays:
            assert torch.equal(moments, before["optim"][name]["exp_avg_sq"]) and count == agents._phase
        else:
            assert not moments.any() and count == 0
    agents.iterate()
    assert agents.alive.all()


def test_the_hare_goes_back_to_a_target_whose_head_is_new():
    methods = [HareAndTortoise(tortoise="target"), HeadReset(layers=2)]
    agents = agents_of((0,), methods, **DRQ_HERE, tau=0.05)
    agents.iterate()
    before = carry_of(agents)
    agents.new_task()
    after = carry_of(agents)
    for name, now in after["tensors"].items():
        was, target = before["slow"]["target"][name], after["slow"]["target"][name]
        assert torch.equal(now, target)
        assert torch.equal(target, was) == (name.startswith("encoder") or not was.any())  # biases are drawn as 0
    assert agents._reset == agents._phase


def test_methods_that_look_at_past_examples_get_images():
    agents = agents_of((0,), CChain(), **DRQ_HERE)
    agents.iterate()
    assert agents.alive.all() and carry_of(agents)["reference"].shape[2:] == (36, 36, 2)


def test_n_does_not_begin_anew_where_nothing_is_drawn_anew():
    agents = agents_of((0,), HareAndTortoise(tortoise="target"), **BBF_HERE)
    agents.iterate()
    agents.new_task()
    assert agents._reset == 0 and agents._phase > 0


@pytest.mark.parametrize("acts", ["network", "target"])
def test_the_network_that_is_asked_for_acts(acts):
    agents = agents_of((0, 1), **{**BBF_HERE, "acts": acts, "tau": 0.05})
    agents.iterate()
    seen = np.random.default_rng(0).integers(0, 256, (2, 3, 2 * 12 * 12)).astype(np.float32)
    carry = carry_of(agents)
    tensors = carry["tensors"] if acts == "network" else carry["slow"]["target"]
    assert not torch.equal(carry["tensors"]["head.weight"], carry["slow"]["target"]["head.weight"])
    for run in range(2):
        own = {name: value[run] for name, value in tensors.items()}
        expected = torch.func.functional_call(agents._networks().double(), own, (torch.from_numpy(seen[run]),))
        np.testing.assert_allclose(agents._policy(seen)[run], expected.detach(), rtol=1e-6)
    kept = agents.acting_tensors(agents.settings, carry)
    assert torch.equal(kept["head.weight"], tensors["head.weight"])


def test_where_the_target_is_the_network_no_copy_is_kept():
    assert "slow" not in carry_of(agents_of(**DRQ_HERE))
    assert "slow" in carry_of(agents_of(**DRQ_HERE, target_every=2))


def test_bytes_stay_bytes_until_the_loss():
    agents = agents_of(**DRQ_HERE)
    agents.iterate()
    batch = agents._batches(1, agents._generators(0))
    assert batch["states"].dtype == batch["next_states"].dtype == agents.states.dtype == torch.uint8


# Bad input


def test_what_does_not_fit_is_refused():
    for wrong, match in (
        ({"atoms": 1}, "0 or a number of values from 2 on"),
        ({"v_min": 1.0, "v_max": -1.0}, "the smaller one first"),
        ({"hidden": (5, 5)}, "the size of one hidden layer"),
        ({"first_gamma": 1.0}, "below 1"),
        ({"first_n_step": 0}, "first_n_step"),
        ({"encoder": "resnet"}, "encoder"),
    ):
        with pytest.raises(SettingError, match=match):
            PixelSettings(**wrong)
    with pytest.raises(SettingError, match=r"images of bytes.*take DQN"):
        PixelDQN(OneByOne(lambda: gymnasium.make("CartPole-v1"), 1), settings=PixelSettings(), compile=False)
    with pytest.raises(NetworkError, match="keep_layers = 9 keeps all"):
        agents_of((0,), HareAndTortoise(keep_layers=9), **DRQ_HERE)
    with pytest.raises(NetworkError, match="nothing of 'predictor' is trained here"):
        agents_of((0,), HeadReset(also=("predictor",)), **DRQ_HERE)
