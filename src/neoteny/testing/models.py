"""Tiny networks of the usual kinds, each with what a check needs to know to train it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from neoteny.methods.base import Method
from neoteny.methods.shared.combining import prepare
from neoteny.units import find
from neoteny.units.records import Network

__all__ = ["MODELS", "Model", "mlp"]


@dataclass(frozen=True)
class Model:
    """A kind of network that methods are tried on.

    Args:
        name: what reports call it.
        make: builds one, its weights drawn from torch's global generator.
        inputs: shape of one example.
        outputs: numbers that it gives for one example, all its outputs together.
        freeze: the submodule that the check of frozen parameters freezes; hidden units must be left without it.
        batch_statistics: whether an example's output depends on the others of its batch (batch normalisation).
        draws: whether it draws random numbers in training (dropout).
        original: what it was before it was prepared for a method.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: tuple[int, ...]
    outputs: int
    freeze: str
    batch_statistics: bool = False
    draws: bool = False
    original: Model | None = None

    def build(self, seed: int = 0, dtype: torch.dtype = torch.float32, device: str = "cpu") -> nn.Module:
        """The network of a seed; torch's generators stay as they were."""
        if self.original is None:
            return _built(self, seed).to(device, dtype)
        return copy.deepcopy(_prepared(self, seed)).to(device, dtype)  # to prepare a network takes longer

    def prepared(self, method: Method) -> Model:
        """The network as a method wants it; the same one where it has no wish.

        Raises:
            NetworkError: the method does not know how to change it.
        """
        if not method.prepares:
            return self
        changed = replace(self, make=lambda: prepare(self.make(), method, torch.zeros(2, *self.inputs)), original=self)
        network = changed.build()
        with torch.random.fork_rng(devices=[]):
            before = torch.get_rng_state()
            network(self.batches(1)[0][0])
            draws = not torch.equal(before, torch.get_rng_state())
        norms = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())
        return replace(changed, draws=draws, batch_statistics=norms)

    @property
    def frozen(self) -> Model:
        """The same with the submodule `freeze` frozen."""
        return _frozen(self)

    def units(self) -> Network:
        """Its hidden units, found once."""
        return _units(self)

    def batches(
        self, count: int, seed: int = 0, size: int = 6, dtype: torch.dtype = torch.float32, device: str = "cpu"
    ) -> list[tuple[Tensor, Tensor]]:
        """Random inputs and targets."""
        generator = torch.Generator().manual_seed(seed)
        return [
            (
                torch.randn(size, *self.inputs, generator=generator).to(device, dtype),
                torch.randn(size, self.outputs, generator=generator).to(device, dtype),
            )
            for _ in range(count)
        ]


def _built(model: Model, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return model.make()


_prepared = lru_cache(_built)


@lru_cache
def _frozen(model: Model) -> Model:
    def make() -> nn.Module:
        network = model.make()
        network.get_submodule(model.freeze).requires_grad_(False)
        return network

    return replace(model, make=make)


@lru_cache
def _units(model: Model) -> Network:
    return find(model.build(), torch.zeros(2, *model.inputs), only_preserving=False, verify=False, allow_none=True)


def loss(output: Tensor | tuple[Tensor, ...], target: Tensor) -> Tensor:
    """Mean squared error over all outputs of a network."""
    parts = (output,) if isinstance(output, Tensor) else output
    return functional.mse_loss(torch.cat([part.flatten(1) for part in parts], 1), target)


def mlp(*widths: int) -> nn.Sequential:
    """A multilayer perceptron, its activations by turns ReLU and tanh."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.Linear(before, after), (nn.ReLU, nn.Tanh)[number % 2]()]
    return nn.Sequential(*layers[:-1])


def _convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 6), nn.Tanh(), nn.Linear(6, 2)
    )


class _Residual(nn.Module):
    """Two blocks on a residual stream."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 4), nn.Linear(4, 2)
        self.blocks = nn.ModuleList(mlp(4, 6, 4) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


class _Transformer(nn.Module):
    """One block: attention with one head and a gated MLP, each behind a LayerNorm, on a sequence."""

    def __init__(self, width: int = 4, hidden: int = 6):
        super().__init__()
        self.embed, self.head = nn.Linear(3, width), nn.Linear(width, 2)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.gate, self.up, self.down = nn.Linear(width, hidden), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        y = self.norm1(x)
        x = x + self.out(functional.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y)))
        y = self.norm2(x)
        x = x + self.down(functional.silu(self.gate(y)) * self.up(y))
        return self.head(x.mean(1))


class _TwoHeads(nn.Module):
    """A policy and a value on one trunk: the last hidden layer has two consumers."""

    def __init__(self):
        super().__init__()
        self.trunk, self.policy, self.value = mlp(3, 6, 5), nn.Linear(5, 2), nn.Linear(5, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.tanh(self.trunk(x))
        return self.policy(x), self.value(x)


class _Recurrent(nn.Module):
    """A cell written by hand, whose units read themselves."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(3, 4), nn.Linear(5, 2)
        self.input, self.recurrent = nn.Linear(4, 5), nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.embed(x))
        h = x.new_zeros(len(x), 5)
        for moment in range(x.shape[1]):
            h = torch.tanh(self.input(x[:, moment]) + self.recurrent(h))
        return self.head(h)


def _table(models: Iterable[Model]) -> dict[str, Model]:
    return {model.name: model for model in models}


MODELS = _table([
    Model("mlp", partial(mlp, 3, 7, 5, 2), (3,), 2, freeze="0"),
    Model("convolutional", _convolutional, (1, 3, 3), 2, freeze="0", batch_statistics=True),
    Model("residual", _Residual, (3,), 2, freeze="blocks.0"),
    Model("transformer", _Transformer, (5, 3), 2, freeze="norm1"),
    Model("two-heads", _TwoHeads, (3,), 3, freeze="trunk.0"),
    Model("recurrent", _Recurrent, (3, 3), 2, freeze="embed"),
])  # fmt: skip
"""The networks of the contract suite, by name."""
