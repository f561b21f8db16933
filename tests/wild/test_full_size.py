"""Large networks: nothing that grows with the weights is computed, and what was found can be kept in a file."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

import neoteny
from neoteny.errors import NetworkError, SettingError
from neoteny.units import find, load, save
from neoteny.units.smaller import smaller


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


class Images(nn.Module):
    """Convolutions at half the side; `special` does something else on large images."""

    def __init__(self, special=lambda net, x: x, width=40):
        super().__init__()
        self.special = special
        self.conv, self.conv2 = nn.Conv2d(3, width, 3, 2, padding=1), nn.Conv2d(width, 8, 3, padding=1)
        self.aside, self.head = nn.Linear(width, 4), nn.Linear(8, 4)

    def forward(self, x):
        h = self.conv(x).relu()
        beside = self.special(self, h)
        return self.head(self.conv2(h).relu().mean((2, 3))) + (0 if beside is h else beside)


IMAGES = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_smaller_images_show_the_same_units():
    net = Images()
    assert smaller(net, IMAGES).shape == (2, 3, 64, 64)
    assert smaller(net, {"x": IMAGES})["x"].shape == (2, 3, 64, 64)
    assert records(find(net, IMAGES)) == records(find(net, IMAGES[..., :64, :64]))


@pytest.mark.parametrize(
    "special",
    [
        lambda net, x: net.aside(x.mean((2, 3))) if x.shape[-1] > 90 else x,  # another operation
        lambda net, x: net.aside(x[..., 90:, :].sum((2, 3)) * (x.sum() > 0)) if x.sum() > -1e9 else x,  # asks numbers
        lambda net, x: net.aside(x[:, :, -90:, -90].mean(-1)),  # out of a smaller one
        lambda net, x: net.aside(nn.functional.max_pool2d(x, 50).amax((2, 3))),  # one position in it
    ],
)
def test_images_stay_as_they_are_where_the_network_does_something_else(special):
    net = Images(special)
    assert smaller(net, IMAGES) is IMAGES
    assert records(find(net, IMAGES))[0][:2] == ("conv", 40)


def test_a_smaller_image_has_not_as_many_positions_as_channels():
    assert smaller(Images(width=32), IMAGES).shape == (2, 3, 96, 96)


def test_the_generator_stays_where_it_is():
    net = Images(lambda net, x: x + torch.randn(x.shape) if x.is_meta else x)
    before = torch.get_rng_state()
    smaller(net, IMAGES)
    assert torch.equal(before, torch.get_rng_state())


def test_units_of_windows_that_are_folded_and_of_kernels_that_are_parameters():
    """Rules instead of gradients: `F.fold`, and a depthwise kernel that no module owns."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.kernel = nn.Conv2d(2, 12, 1), nn.Parameter(torch.randn(3, 1, 3, 3))
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            h = nn.functional.fold(self.conv(x).relu().flatten(2), (8, 8), 2, stride=2)
            return self.head(nn.functional.conv2d(h, self.kernel, padding=1, groups=3).relu().mean((2, 3)))

    (layer,) = find(Net(), torch.randn(2, 2, 4, 4)).layers
    assert [units for units in layer.incoming[0].index] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]
    assert layer.stays_old == ("kernel",)
