"""NumPy references of the methods that need a reference batch: networks on it, and derivatives by hand."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import nn

import neoteny
from methods.comparing import STEPS, batches, compare, mlp, patches
from methods.numpy_reference import Net
from neoteny.methods.base import Step
from neoteny.methods.shared.reference import ReferencePass
from neoteny.units import find, random

EXAMPLES = 9


def elsewhere(make, count=STEPS):
    """The reference batches, another one at every update."""
    return [x for x, _ in batches(make(), 2 * count, EXAMPLES)][count:]


def compare_on_reference(monkeypatch, method, reference, *, make=mlp, **settings):
    """`compare`, with a reference batch at every update; the reference gets them as `elsewhere`, patches in NumPy."""
    others = elsewhere(make)
    given = iter(others)
    attach = partial(neoteny.attach, reference=lambda: next(given))
    monkeypatch.setattr(neoteny, "attach", attach)

    def made(*args):
        own = reference(*args)
        own.elsewhere = [patches(x) for x in others]
        return own

    return compare(method, made, make=make, **settings)


def copied(net):
    """A network of the same weights."""
    return Net(net.weights, net.biases)


def passed(net, x):
    """What each layer does, `[batch, units, positions]`, the output last, without the rectifier there."""
    seen, flat, last = [], None, len(net.weights) - 1
    for number, (w, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        z = np.einsum("bpk,ok->bop", x, w) + b[:, None] if number == 0 else (flat @ w.T + b)[:, :, None]
        seen.append(z if number == last else np.maximum(z, 0))
        flat = seen[-1].reshape(len(x), -1)
    return seen


def pulled_back(net, x, cotangents):
    """The gradient by `net.parameters()` of what has these derivatives by each layer's activations; None is 0."""
    seen, delta = passed(net, x), None
    grads_w, grads_b = [np.zeros_like(w) for w in net.weights], [np.zeros_like(b) for b in net.biases]
    for number in range(len(seen) - 1, -1, -1):
        if cotangents[number] is not None:
            delta = cotangents[number] if delta is None else delta + cotangents[number]
        if delta is None:
            continue
        through = delta if number == len(seen) - 1 else delta * (seen[number] > 0)
        grads_b[number] = through.sum((0, 2))
        if number == 0:
            grads_w[0] = np.einsum("bop,bpk->ok", through, x)
        else:
            grads_w[number] = through[:, :, 0].T @ seen[number - 1].reshape(len(x), -1)
            delta = (through[:, :, 0] @ net.weights[number]).reshape(seen[number - 1].shape)
    return [*grads_w, *grads_b]


def setting(*layers, inputs=(1, 3, 3), examples=7, dtype=torch.float64):
    """A network with its units, and a function that makes a step by hand with gradients 0 and a reference batch."""
    torch.manual_seed(0)
    model = nn.Sequential(*layers).to(dtype)
    network = find(model, torch.zeros(2, *inputs, dtype=dtype), only_preserving=False)
    batch = torch.randn(examples, *inputs, dtype=dtype)
    reference_pass = ReferencePass(model, network)

    def step(tensors=None, reference=True, **given):
        tensors = {name: value.detach().clone() for name, value in model.state_dict().items()} | (tensors or {})
        grads = {name: torch.zeros_like(tensors[name]) for name, _ in model.named_parameters()}
        on_reference = reference_pass.on(batch) if reference else None
        return Step(network, tensors, grads, {}, {}, {}, random.key(0), on_reference=on_reference, **given)

    return model, network, batch, step


def conv_layers():
    """A convolution whose four positions each are the last hidden layer."""
    return nn.Conv2d(1, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)


def deep_layers():
    """Two hidden layers, the first with positions."""
    return nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 3)


def differences(model, penalty, width=1e-6):
    """Central differences of `penalty()` by each parameter of a model, entry by entry."""
    found = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            slopes, flat = [], p.view(-1)
            for i in range(p.numel()):
                kept = float(flat[i])
                flat[i] = kept + width
                above = penalty()
                flat[i] = kept - width
                slopes.append((above - penalty()) / (2 * width))
                flat[i] = kept
            found[name] = torch.tensor(slopes, dtype=p.dtype).view_as(p)
    return found
