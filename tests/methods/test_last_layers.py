"""Which layers are the last ones, where several towers stand side by side."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neoteny
from neoteny.methods.head_reset import last_layers


def tower():
    return nn.Sequential(
        nn.Linear(3, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 1)
    )


class Twins(nn.Module):
    """Two Q-functions, one after the other in order of execution, on an encoder of both."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 3)
        self.one, self.other = tower(), tower()

    def forward(self, x):
        z = self.encoder(x).relu()
        return self.one(z), self.other(z)


@pytest.mark.parametrize("layers, inside", [(1, "5"), (2, "345"), (3, "01345"), (4, "01345")])
def test_both_towers_lose_as_many(layers, inside):
    network = neoteny.units.find(Twins(), torch.zeros(2, 4))
    modules = {name.rpartition(".")[0] for name in last_layers(network, layers)}
    encoder = {"encoder"} if layers == 4 else set()
    assert modules == encoder | {f"{tower}.{i}" for tower in ("one", "other") for i in inside}


def test_a_prefix_changes_nothing():
    network = neoteny.units.find(Twins(), torch.zeros(2, 4))
    names = [f"module.{name}" for name in last_layers(network, 2)]
    assert last_layers(network.prefixed("module."), 2) == names


def test_one_tower_is_counted_in_order_of_execution():
    """The shortcut of a residual block is executed last, and is the first of its layers to go."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down, self.shortcut, self.head = (
                nn.Linear(n, m) for n, m in ((4, 8), (8, 5), (4, 5), (5, 2))
            )

        def forward(self, x):
            return self.head((self.down(self.up(x).relu()) + self.shortcut(x)).relu())

    network = neoteny.units.find(Block(), torch.zeros(2, 4), residual_stream=True)
    counted = [last_layers(network, layers)[-2:] for layers in (1, 2, 3, 4)]
    assert counted == [[f"{name}.weight", f"{name}.bias"] for name in ("head", "shortcut", "down", "up")]


def test_a_reset_reaches_both_towers():
    torch.manual_seed(0)
    model = Twins()
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    plasticity = neoteny.attach(model, optimizer, neoteny.HeadReset(layers=2, to="zero"), torch.zeros(2, 4))
    sum(q.square().mean() for q in model(torch.randn(8, 4))).backward()
    optimizer.step()
    plasticity.new_task()
    zeroed = {name for name, p in model.named_parameters() if "weight" in name and not p.any()}
    assert zeroed == {"one.3.weight", "one.5.weight", "other.3.weight", "other.5.weight"}
