"""Large networks: nothing that grows with the weights is computed, and what was found can be kept in a file."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

import neoteny
from neoteny.errors import NetworkError, SettingError
from neoteny.units import find, load, save


class Block(nn.Module):
    """A block of a transformer without biases, gated."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm, self.norm2 = heads, nn.RMSNorm(width), nn.RMSNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(a, b, bias=False) for a, b in [(width, 2 * width)] * 2 + [(2 * width, width)]
        )

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).movedim(2, 0).transpose(2, 3)
        x = x + self.project((q @ k.mT).softmax(-1).matmul(v).transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.down(nn.functional.silu(self.gate(h)) * self.up(h))


class Words(nn.Module):
    """A decoder of text."""

    def __init__(self, width, blocks, heads=4, tokens=50):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.head = nn.Linear(width, tokens, bias=False)

    def forward(self, x):
        x = self.embedding(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


WORDS = torch.arange(6).expand(2, 6)


def records(network):
    return [
        (layer.name, layer.size, *((s.name, s.dim, s.index) for s in (*layer.incoming, *layer.norms, *layer.outgoing)))
        for layer in network.layers
    ]


def test_a_network_on_meta_has_the_units_of_a_real_one():
    real = find(Words(16, 2), WORDS, only_preserving=False)
    with torch.device("meta"):
        net = Words(16, 2)
    shapes = find(net, WORDS, only_preserving=False)
    assert records(real) == records(shapes) and len(real.layers) == 4


def test_a_large_network_takes_seconds_and_no_memory():
    with torch.device("meta"):
        net = Words(1024, 6)
    assert sum(p.numel() for p in net.parameters()) > 60e6
    began = time.process_time()
    find(net, WORDS, only_preserving=False)
    assert time.process_time() - began < 20


def test_units_from_a_file_are_those_that_were_found(tmp_path):
    torch.manual_seed(0)
    net = Words(16, 2)
    found = find(net, WORDS, only_preserving=False)
    save(found, net, tmp_path / "units.json")
    again = load(tmp_path / "units.json", net)
    assert again == found
    drawn = find(net, WORDS, only_preserving=False, initialisers={"head.weight": nn.init.orthogonal_})
    save(drawn, net, tmp_path / "drawn.json")
    assert load(tmp_path / "drawn.json", net).initialisers["head.weight"].function is nn.init.orthogonal_
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    neoteny.attach(net, optimizer, [neoteny.ContinualBackprop()], units=again)


def test_a_file_of_another_network_is_refused(tmp_path):
    net = Words(16, 2)
    path = tmp_path / "units.json"
    save(find(net, WORDS, only_preserving=False), net, path)
    with pytest.raises(NetworkError, match="another structure"):
        load(path, Words(16, 3))
    text = path.read_text()
    for damaged in (
        text[:100],
        "[]",
        text.replace('"record": "Slices"', '"record": "Other"'),
        text.replace('"format": 1', '"format": 9'),
    ):
        path.write_text(damaged)
        with pytest.raises(NetworkError, match="units"):
            load(path, net)
    with pytest.raises(NetworkError, match="no file of units"):
        load(tmp_path / "none.json", net)
    with pytest.raises(SettingError, match=r"no function of torch's"):
        save(find(net, WORDS, only_preserving=False, initialisers={"head.weight": lambda t: t}), net, path)
