"""A method attached to a network, side by side with its rule in NumPy: the same data, the same draws, 200 steps.

A reference is a class with the hooks of `Reference`, written from the paper's formula in float64 and from nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

import neoteny
from methods import numpy_reference
from neoteny.methods.shared.order import method_seed
from neoteny.units import random

STEPS, SEED = 200, 5


class Reference:
    """The base of references: it does nothing at any of the places where a method may act.

    Attributes:
        net: `numpy_reference.Net`; `weights[l]` `[out, in]` (kernels flattened) and `biases[l]`, which hooks change.
        optimizer: `numpy_reference.SGD` or `Adam`; `state[n]` belongs to `net.parameters()[n]`.
        draws: what the method draws, by the same keys; see `Draws`.
    """

    def __init__(self, net: Any, optimizer: Any, draws: Draws):
        self.net, self.optimizer, self.draws = net, optimizer, draws

    def regularise(self, update: int, grads: list, hidden: list) -> list:
        """Before the step of update `update` (from 0): the gradients that it is made with, as `net.parameters()`.

        `hidden[l]` is what hidden layer l did on the batch, `[batch, units, positions]`.
        """
        return grads

    def intervene(self, update: int, grads: list, hidden: list) -> None:
        """After the step; `grads` are the batch's own, without what `regularise` added."""

    def at_task(self, update: int) -> None:
        """At a change of task; `update` updates were made so far."""


class Draws:
    """What one attached method draws, from the keys that lead to it.

    Args:
        network: the units, with the initialisers.
        number: which of the attached methods it is.
    """

    def __init__(self, network: Any, number: int = 0):
        self.network, self.number = network, number
        self._root = random.key(method_seed(SEED))

    def regularising(self, update: int) -> torch.Tensor:
        """`Step.key` in `regularise`."""
        return random.fold_in(random.fold_in(self._root, update), 2 * self.number)

    def intervening(self, update: int) -> torch.Tensor:
        """`Step.key` in `intervene`."""
        return random.fold_in(random.fold_in(self._root, update), 2 * self.number + 1)

    def at_task(self, update: int) -> torch.Tensor:
        """`Step.key` in `at_task`."""
        return random.fold_in(random.fold_in(random.fold_in(self._root, update), -1), self.number)

    def fresh(self, key: torch.Tensor, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """What `initialisers[name].draw(key, shape)` gives; kernels flattened to `[out, in]`."""
        drawn = self.network.initialisers[name].draw(key, shape).double().numpy()
        return drawn.reshape(len(drawn), -1) if drawn.ndim > 1 else drawn

    def new_weights(self, key: torch.Tensor, layer: int, shared: bool = False) -> np.ndarray:
        """The incoming weights that `Step.make_new(layers[layer], ..., key)` gives to its units, `[units, in]`.

        With `shared` the one row of a draw for all units, `[1, in]`.
        """
        record = self.network.layers[layer]
        name = record.incoming[0].name
        shape = self.shapes[name]
        return self.fresh(random.fold_in(key, 0), name, (1, *shape[1:]) if shared else shape)

    shapes: dict[str, tuple[int, ...]]


def mlp(hidden: tuple[int, ...] = (10, 7)) -> nn.Sequential:
    """6-10-7-2 with ReLU, in double precision."""
    torch.manual_seed(0)
    sizes = (6, *hidden)
    layers: list[nn.Module] = []
    for inputs, outputs in zip(sizes, hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 2)).double()


def conv_net() -> nn.Sequential:
    """A convolution, flattened into two linear layers, in double precision."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 6, 2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 2))
    return net.double()


def batches(model: nn.Sequential, count: int, size: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Inputs and targets."""
    generator = np.random.default_rng(1)
    shape = (size, 2, 3, 3) if isinstance(model[0], nn.Conv2d) else (size, 6)
    return [
        (torch.tensor(generator.normal(size=shape)), torch.tensor(generator.normal(size=(size, 2))))
        for _ in range(count)
    ]


def patches(x: torch.Tensor) -> np.ndarray:
    """What layer 0 reads, `[batch, positions, inputs]`."""
    return x.numpy()[:, None] if x.dim() == 2 else nn.functional.unfold(x, 2).movedim(2, 1).numpy()


def weighted(model: nn.Sequential) -> list[Any]:
    """The layers with weights, whose order is that of `net.weights`."""
    return [module for module in model if hasattr(module, "weight")]


def compare(
    method: neoteny.methods.Method,
    reference: type[Reference] | Any,
    /,
    *,
    make: Any = mlp,
    kind: str = "sgd",
    steps: int = STEPS,
    task_length: int = 40,
    rtol: float = 1e-7,
    atol: float = 1e-10,
    **attaching: Any,
) -> tuple[neoteny.Plasticity, Reference, nn.Sequential]:
    """Train both for 200 steps and more, with a change of task every `task_length`, and hold weight against weight.

    `reference(net, optimizer, draws)` makes the reference; `attaching` goes to `neoteny.attach`. The biases of a
    reference's network come after its weights in `parameters()`. Returns what was attached, the reference and the
    network, for what else there is to be compared.
    """
    model = make()
    layers = weighted(model)
    net = numpy_reference.Net(
        [m.weight.detach().flatten(1).numpy() for m in layers], [m.bias.detach().numpy() for m in layers]
    )
    ours, theirs = {
        "sgd": lambda: (torch.optim.SGD(model.parameters(), 0.02), numpy_reference.SGD(net.parameters(), 0.02)),
        "momentum": lambda: (
            torch.optim.SGD(model.parameters(), 0.01, momentum=0.9),
            numpy_reference.SGD(net.parameters(), 0.01, momentum=0.9),
        ),
        "adam": lambda: (torch.optim.Adam(model.parameters(), 0.003), numpy_reference.Adam(net.parameters(), 0.003)),
    }[kind]()
    data = batches(model, steps)
    plasticity = neoteny.attach(model, ours, method, data[0][0], seed=SEED, **{"only_preserving": False, **attaching})
    draws = Draws(plasticity.units)
    draws.shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    own = reference(net, theirs, draws)
    for update, (x, y) in enumerate(data):
        if update and update % task_length == 0:
            plasticity.new_task()
            own.at_task(update)
        ours.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        ours.step()
        grads, hidden = net.gradients(patches(x), y.numpy())
        theirs.step(net.parameters(), own.regularise(update, [g.copy() for g in grads], hidden))
        own.intervene(update, grads, hidden)
        if update % 20 == 19:
            same_weights(model, net, rtol, atol)
    return plasticity, own, model


def same_weights(model: nn.Sequential, net: Any, rtol: float = 1e-7, atol: float = 1e-10) -> None:
    """Every weight and bias of the network is the reference's."""
    for module, w, b in zip(weighted(model), net.weights, net.biases, strict=True):
        np.testing.assert_allclose(module.weight.detach().flatten(1).numpy(), w, rtol=rtol, atol=atol)
        np.testing.assert_allclose(module.bias.detach().numpy(), b, rtol=rtol, atol=atol)
