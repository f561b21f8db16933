"""Recurrent trace units against back-propagation through the whole history; TD(lambda) on them against a plain loop."""

from __future__ import annotations

import torch

from neoteny.lab.learner import Learner
from neoteny.lab.recurrent import recurrent_temporal_difference
from neoteny.nn import RecurrentTraceNetwork
from neoteny.optim import TraceSGD

INPUTS, UNITS, STEPS = 3, 4, 25


def network(seed=0):
    torch.manual_seed(seed)
    made = RecurrentTraceNetwork(INPUTS, UNITS, 1, "tanh").double()
    torch.nn.init.normal_(made.output.weight)
    return made


def unrolled(w, xs):
    """The output after all xs, by complex numbers."""
    turn = torch.exp(-torch.exp(w["layer.nu"])) * torch.exp(1j * torch.exp(w["layer.theta"]))
    incoming = torch.complex(*w["layer.input.weight"].chunk(2))
    h = torch.zeros(UNITS, dtype=torch.complex128)
    for x in xs:
        h = turn * h + torch.sqrt(1 - turn.abs() ** 2) * (incoming @ x.to(torch.complex128))
    return (w["output.weight"] @ torch.tanh(torch.cat([h.real, h.imag])) + w["output.bias"])[0]


def test_the_gradient_is_that_of_the_whole_history():
    net, xs = network(), torch.randn(STEPS, INPUTS, dtype=torch.float64)
    weights = {name: value.detach().clone().requires_grad_() for name, value in net.named_parameters()}
    expected = unrolled(weights, xs)
    gradients = torch.autograd.grad(expected, list(weights.values()))
    state = net.layer.state(1)
    for x in xs[:-1]:
        state = net(x[None], state)[1]
    outputs, _ = net(xs[-1:], state)
    mine = torch.autograd.grad(outputs.sum(), list(net.parameters()))
    torch.testing.assert_close(outputs[0, 0], expected, rtol=1e-12, atol=1e-12)
    for name, own, theirs in zip(weights, mine, gradients, strict=True):
        torch.testing.assert_close(own, theirs, rtol=1e-10, atol=1e-12, msg=lambda said, name=name: f"{name}: {said}")
        assert theirs.abs().max() > 1e-3
    forgetful = torch.autograd.grad(
        net(xs[-1:], {**state, "sensitivity": state["sensitivity"] * 0})[0].sum(), net.layer.nu
    )[0]
    assert not torch.allclose(forgetful, gradients[0], rtol=1e-2)


def test_the_state_takes_a_number_a_weight():
    net = network()
    weights = sum(value.numel() for value in net.layer.parameters())
    assert sum(value.numel() for value in net.layer.state(1).values()) <= 2 * weights + 2 * UNITS


def test_td_is_a_plain_loop():
    """Each run of a stack against one network with autograd, traces by hand, over 40 steps with changing weights."""
    rate, discount, decay, runs, steps = 0.05, 0.9, 0.8, 2, 40
    first = {name: value[0] for name, value in network().layer.state(1).items()}
    learner = Learner(
        network,
        torch.zeros(1, INPUTS, dtype=torch.float64),
        objective=recurrent_temporal_difference(TraceSGD(step_size=rate), discount, decay, first),
        seeds=range(runs),
        strategy="stack",
        compile=False,
    )
    xs = torch.randn(runs, steps + 1, 1, INPUTS, dtype=torch.float64)
    rewards = torch.randn(runs, steps, 1, 1, dtype=torch.float64)
    start = {name: value.clone() for name, value in learner.weights().items()}
    for part in (slice(0, 15), slice(15, steps)):  # the state goes on from call to call
        given = {"inputs": xs[:, :-1][:, part], "next": xs[:, 1:][:, part], "cumulants": rewards[:, part]}
        learner.advance({**given, "returns": rewards[:, part]})
    for run in range(runs):
        net = network()
        net.load_state_dict({name: value[run] for name, value in start.items()})
        state, traces = net.layer.state(1), [torch.zeros_like(value) for value in net.parameters()]
        for t in range(steps):
            value, after = net(xs[run, t], state)
            gradient = torch.autograd.grad(value.sum(), list(net.parameters()))
            traces = [discount * decay * z + g for z, g in zip(traces, gradient, strict=True)]
            with torch.no_grad():
                delta = rewards[run, t] + discount * net(xs[run, t + 1], after)[0] - value
                for weight, z in zip(net.parameters(), traces, strict=True):
                    weight += rate * delta.squeeze() * z
            state = after
        for name, value in net.named_parameters():
            torch.testing.assert_close(learner.weights()[name][run], value.detach(), rtol=1e-9, atol=1e-10)
            assert not torch.allclose(value.detach(), start[name][run], rtol=1e-3)
