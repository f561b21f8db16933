"""Methods that need the network on a reference batch, and methods that evaluate it with other weights."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import neoteny
from neoteny.errors import SettingError
from neoteny.lab.building import REFERENCES
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.methods.base import Method
from neoteny.optim import SGD


@dataclass(frozen=True, kw_only=True)
class Quiet(Method):
    """Pulls the outputs on the reference batch, and the mean activations there, towards 0."""

    name = "quiet"
    needs_reference = True

    def regularise(self, step, state):
        """Add the gradient."""

        def penalty(own):
            outputs, features = step.on_reference({**step.tensors, **own})
            return (outputs**2).mean() + sum(h.mean() for h in features.values())

        for name, more in torch.func.grad(penalty)({name: step.tensors[name] for name in step.grads}).items():
            step.grads[name] = step.grads[name] + more
        return state


@dataclass(frozen=True, kw_only=True)
class Halved(Method):
    """Is evaluated with half of each weight."""

    name = "halved"

    def evaluated(self, tensors, state):
        """Half."""
        return {name: value / 2 for name, value in tensors.items()}


@dataclass(frozen=True, kw_only=True)
class Scaled(Method):
    """Is evaluated with a multiple of each weight."""

    name = "scaled"
    varies = ("factor",)
    factor: float = 1.0

    def evaluated(self, tensors, state):
        """The multiple."""
        return {name: value * self.factor for name, value in tensors.items()}


def network():
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def by_hand(model, x, y, past, optimizer):
    """A step in plain torch on the loss and the penalty."""
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    model.eval()
    hidden = model[1](model[0](past))
    ((model[3](hidden) ** 2).mean() + hidden.mean()).backward()
    model.train()
    optimizer.step()


def test_attached_it_is_the_penalty_on_the_reference_batch():
    torch.manual_seed(0)
    ours = network().double()
    theirs = network().double()
    theirs.load_state_dict(ours.state_dict())
    pasts = list(torch.randn(20, 5, 3).double())
    handed = iter(pasts)
    a, b = torch.optim.SGD(ours.parameters(), 0.05), torch.optim.SGD(theirs.parameters(), 0.05)
    neoteny.attach(ours, a, Quiet(), pasts[0], reference=lambda: next(handed))
    for past in pasts:
        x, y = torch.randn(4, 3).double(), torch.randn(4, 2).double()
        state = torch.get_rng_state()
        a.zero_grad()
        nn.functional.mse_loss(ours(x), y).backward()
        a.step()
        torch.set_rng_state(state)
        by_hand(theirs, x, y, past, b)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_in_the_laboratory_it_is_the_examples_before_the_batch(strategy):
    def build():
        return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Identity(), nn.Linear(8, 2))

    first = torch.randn(2, REFERENCES, 3)
    learner = Learner(
        build,
        torch.zeros(4, 3),
        loss="mse",
        optimizer=SGD(step_size=0.05),
        methods=[Quiet()],
        seeds=[0, 1],
        strategy=strategy,
        compile=False,
        reference=first,
    )
    models = []
    for run in range(2):
        model = build()
        model.load_state_dict({name: value[run].clone() for name, value in learner.weights().items()})
        models.append(model)
    x, y = torch.randn(2, 12, 4, 3), torch.randn(2, 12, 4, 2)
    learner.advance(examples(x[:, :5], y[:, :5]))
    learner.advance(examples(x[:, 5:], y[:, 5:]))
    for run, model in enumerate(models):
        optimizer, past = torch.optim.SGD(model.parameters(), 0.05), first[run]
        for k in range(12):
            by_hand(model, x[run, k], y[run, k], past, optimizer)
            past = torch.cat([past, x[run, k]])[-REFERENCES:]
        for name, value in learner.weights().items():
            torch.testing.assert_close(value[run], model.get_parameter(name).detach(), rtol=1e-4, atol=1e-6)


def test_without_a_reference_it_says_so():
    model = network()
    with pytest.raises(SettingError, match="Quiet needs the network on a batch other.*reference=batch"):
        neoteny.attach(model, torch.optim.SGD(model.parameters(), 0.1), Quiet(), torch.zeros(1, 3))


def test_tied_weights_and_several_outputs():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

        def forward(self, x, scale):
            return {"first": self.b(torch.relu(self.a(x))) * scale, "second": x.sum(-1)}

    from neoteny.methods.shared.reference import ReferencePass
    from neoteny.units import find

    model = Tied()
    batch = {"x": torch.randn(4, 3), "scale": torch.tensor(2.0)}
    on_reference = ReferencePass(model, find(model, batch, allow_none=True)).on(batch)
    outputs, _ = on_reference({name: p * 2 for name, p in model.named_parameters()})
    with torch.no_grad():
        for p in model.parameters():
            p *= 2
    found = model(**batch)
    torch.testing.assert_close(outputs, torch.cat([found["first"], found["second"].unsqueeze(1)], 1))


def test_evaluated_with_other_weights_and_back():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, Halved(), torch.zeros(1, 3))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(RuntimeError, match="in between"), plasticity.evaluating():
        for name, p in model.named_parameters():
            assert torch.equal(p, before[name] / 2)
        raise RuntimeError("in between")
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_the_laboratory_evaluates_with_them_and_trains_with_its_own(strategy):
    def learner(*methods):
        return Learner(
            lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)),
            torch.zeros(4, 3),
            loss="mse",
            optimizer=SGD(step_size=0.05),
            methods=methods,
            seeds=[0, 1],
            strategy=strategy,
            compile=False,
        )

    x, y = torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 2)
    plain, halved = learner(), learner(Halved())
    for each in (plain, halved):
        each.advance(examples(x, y))
    for name, value in plain.weights().items():
        assert torch.equal(value, halved.weights()[name])
    w = {name: value / 2 for name, value in plain.weights().items()}
    hidden = x[:, 0] @ w["0.weight"].mT + w["0.bias"].unsqueeze(1)
    torch.testing.assert_close(halved.outputs(x[:, 0]), hidden @ w["1.weight"].mT + w["1.bias"].unsqueeze(1))


def test_each_run_of_a_stack_is_evaluated_with_its_own_settings():
    def learner(seeds, varied=None, factor=0.9):
        return Learner(
            lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)),
            torch.zeros(4, 3),
            loss="mse",
            optimizer=SGD(step_size=0.05),
            methods=[Scaled(factor=factor)],
            seeds=seeds,
            varied=varied,
            compile=False,
        )

    x, y = torch.randn(2, 5, 4, 3), torch.randn(2, 5, 4, 2)
    both = learner([0, 1], {"scaled.factor": [0.5, 2.0]})
    both.advance(examples(x, y))
    for run, factor in enumerate((0.5, 2.0)):
        alone = learner([run], factor=factor)
        alone.advance(examples(x[run : run + 1], y[run : run + 1]))
        torch.testing.assert_close(both.outputs(x[:, 0])[run], alone.outputs(x[run : run + 1, 0])[0])
