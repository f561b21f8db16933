"""C-CHAIN against its formula in NumPy, finite differences, and what its running means promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, conv_net
from methods.reference_batches import (
    compare_on_reference,
    conv_layers,
    copied,
    differences,
    passed,
    pulled_back,
    setting,
)
from neoteny import lab
from neoteny.errors import SettingError
from neoteny.methods.c_chain import CChain


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def referring(method):
    class Rule(Reference):
        """The network of `lag` updates ago, whole, and the norms of both gradients so far."""

        def __init__(self, *args):
            super().__init__(*args)
            self.past, self.main, self.churn, self.pulled = [], 0.0, 0.0, 0

        def regularise(self, update, grads, hidden):
            self.past.append(copied(self.net))
            before = self.past[max(update - method.lag, 0)]
            now, then = (passed(net, self.elsewhere[update])[-1] for net in (self.net, before))
            if method.distance == "squared":
                slope = 2 * (now - then) / now.size
            else:
                slope = (softmax(now) - softmax(then)) / len(now)
            pull = pulled_back(self.net, self.elsewhere[update], [None] * (len(self.net.weights) - 1) + [slope])
            norm = np.sqrt(sum((g**2).sum() for g in pull))
            self.pulled += update > 0
            factor = method.strength
            if method.scaling == "relative":
                if update == 0:
                    return grads
                main = np.sqrt(sum((g**2).sum() for g in grads))
                self.main = method.decay * self.main + (1 - method.decay) * main
                self.churn = method.decay * self.churn + (1 - method.decay) * norm
                factor *= self.main / self.churn
            return [g + factor * p for g, p in zip(grads, pull, strict=True)]

    return Rule


@pytest.mark.reference("c-chain")
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        (CChain(strength=0.5, decay=0.9), {}),
        (CChain(strength=3.0, scaling="fixed", lag=3), {"kind": "momentum"}),
        (CChain(strength=0.2, distance="kl", lag=2), {"make": conv_net, "kind": "adam"}),
    ],
    ids=["relative", "fixed", "kl"],
)
def test_it_is_its_formula(monkeypatch, method, settings):
    _, own, _ = compare_on_reference(monkeypatch, method, referring(method), **settings)
    assert own.churn > 0 or method.scaling == "fixed"
    assert own.pulled == 199  # at every update but the first, before which nothing has moved


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_the_pull_is_the_slope_of_the_distance(distance):
    method = CChain(strength=1.0, scaling="fixed", distance=distance)
    model, network, batch, step = setting(*conv_layers())
    tensors = dict(model.state_dict())
    state = method.init(network, tensors)
    with torch.no_grad():
        before = model(batch).numpy()
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)

    def penalty():
        now = model(batch).detach().numpy()
        if distance == "squared":
            return ((now - before) ** 2).mean()
        p, q = softmax(before), softmax(now)
        return (p * np.log(p / q)).sum(1).mean()

    now = step()
    method.regularise(now, state)
    for name, slope in differences(model, penalty).items():
        torch.testing.assert_close(now.grads[name], slope, rtol=1e-6, atol=1e-8)
    assert penalty() > 0.01


def moved(step, network, method, scale):
    """A step at which the network has moved, after one at which it had not, whose gradients were `scale`."""
    first = step()
    state = method.init(network, first.tensors)
    for number in range(2):
        now = step({name: value + 0.1 * number for name, value in first.tensors.items()})
        now.grads = {name: torch.full_like(grad, scale) for name, grad in now.grads.items()}
        state = method.regularise(now, state)
        if number == 0:
            assert all((grad == scale).all() for grad in now.grads.values())  # no churn, no pull
        state = method.intervene(now, state, None)
    return {name: grad - scale for name, grad in now.grads.items()}


def test_the_pull_has_the_share_of_the_gradient_that_was_asked_for():
    _, network, _, step = setting(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), inputs=(4,))
    for strength, scale in ((0.25, 1.0), (0.25, 1e-3), (2.0, 1.0)):
        pull = moved(step, network, CChain(strength=strength), scale)
        count = sum(p.numel() for p in pull.values())
        norm = float(sum((p**2).sum() for p in pull.values())) ** 0.5
        assert norm == pytest.approx(strength * scale * count**0.5, rel=1e-9)


def test_the_term_has_the_share_of_the_loss_that_was_asked_for():
    """The paper's ratio: running means of the losses, of which the learner's step tells its own."""
    model, network, batch, step = setting(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), inputs=(4,))
    method = CChain(strength=0.05, scaling="losses", decay=0.9)
    state, main, churn = method.init(network, dict(model.state_dict())), 0.0, 0.0
    for loss in (3.0, -2.0, 5.0):
        with torch.no_grad():
            before = model(batch).numpy().copy()
            for p in model.parameters():
                p += 0.1 * torch.randn_like(p)
            distance = ((model(batch).numpy() - before) ** 2).mean()
        state = method.intervene(step(), state, None)
        now = step(loss=torch.tensor(loss, dtype=torch.float64))
        given = {name: grad.clone() for name, grad in now.grads.items()}
        fixed = step()
        CChain(strength=1.0, scaling="fixed").regularise(fixed, state)
        state = method.regularise(now, state)
        main, churn = 0.9 * main + 0.1 * abs(loss), 0.9 * churn + 0.1 * distance
        for name, grad in now.grads.items():
            expected = 0.05 * main / churn * (fixed.grads[name] - given[name])
            torch.testing.assert_close(grad - given[name], expected)


def test_a_ratio_of_losses_is_for_the_laboratory():
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(SettingError, match="the loss of each batch"):
        neoteny.attach(model, optimizer, CChain(scaling="losses"), torch.zeros(2, 4), reference=torch.zeros(2, 4))


def test_runs_of_a_stack_each_keep_their_own_ratio(tmp_path):
    given = {"method": CChain(scaling="losses", strength=0.5), "scale": "tiny"}
    stack = lab.run("slowly-changing-regression", runs=2, out=tmp_path / "both", progress=False, **given)
    alone = lab.run("slowly-changing-regression", runs=1, seed=1, out=tmp_path / "one", progress=False, **given)
    plain = lab.run("slowly-changing-regression", runs=1, seed=1, out=tmp_path / "plain", progress=False, scale="tiny")
    np.testing.assert_allclose(stack["loss"][1], alone["loss"][0], rtol=1e-4)
    assert not np.allclose(alone["loss"], plain["loss"], rtol=1e-3)


@pytest.mark.parametrize("distance", ["squared", "kl"])
def test_rounding_is_no_churn(distance):
    torch.manual_seed(1)
    layers = (nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 60), nn.Tanh(), nn.Linear(60, 5))
    _, network, _, step = setting(*layers, inputs=(40,), examples=33, dtype=torch.float32)
    method = CChain(strength=1.0, distance=distance)
    now = step()
    now.grads = {name: torch.ones_like(grad) for name, grad in now.grads.items()}
    method.regularise(now, method.init(network, now.tensors))
    assert all((grad == 1).all() for grad in now.grads.values())


def test_whatever_is_added_to_every_logit_is_no_churn():
    _, network, _, step = setting(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), inputs=(4,))
    found = {}
    for distance in ("squared", "kl"):
        method = CChain(strength=1.0, scaling="fixed", distance=distance)
        first = step()
        state = method.init(network, first.tensors)
        now = step({"2.bias": first.tensors["2.bias"] + 0.5})
        method.regularise(now, state)
        found[distance] = float(sum(grad.abs().sum() for grad in now.grads.values()))
    assert found["squared"] > 0.1
    assert found["kl"] < 1e-12


def test_asked_again_it_answers_the_same_and_remembers_once():
    _, network, _, step = setting(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), inputs=(4,))
    method = CChain(lag=2)
    state = method.init(network, step().tensors)
    remembered = []
    for number in range(4):
        now = step({"2.bias": torch.full((2,), float(number), dtype=torch.float64)})
        once = method.regularise(now, state)
        twice = method.regularise(step(now.tensors), once)
        assert all(torch.equal(once[name], twice[name]) for name in once if name != "main/next")  # other gradients
        state = method.intervene(now, once, None)
        remembered.append([float(state[f"2.bias/{ago}"][0]) for ago in range(3)])
    assert remembered[-1] == [3.0, 2.0, 1.0]


def test_it_needs_a_reference_batch():
    _, network, _, step = setting(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2), inputs=(4,))
    without = step(reference=False)
    with pytest.raises(SettingError, match="reference=batch"):
        CChain().regularise(without, CChain().init(network, without.tensors))


@pytest.mark.parametrize("wrong", [{"lag": 0}, {"scaling": "relativ"}, {"distance": "l1"}, {"decay": 1.5}])
def test_settings_out_of_range_are_refused(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(SettingError, match=name) as error:
        CChain(**wrong)
    assert repr(value) in str(error.value)
