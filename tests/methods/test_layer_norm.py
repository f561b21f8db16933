"""Layer norms: the NumPy network, and where they are put and refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import conv_net, mlp
from methods.prepared import Part, compare, slope_by_differences
from neoteny.errors import NetworkError, SettingError
from neoteny.methods import WithBatchNorm, WithLayerNorm
from neoteny.nn import MLP, ContinualImageNetNet

EPSILON = 1e-3


class Normalised(Part):
    """Over all of an example; gain and shift for each unit or map."""

    def __init__(self, module):
        self.parameters = [module.weight.detach().numpy().copy(), module.bias.detach().numpy().copy()]

    def forward(self, x):
        self.axes, self.over = tuple(range(1, x.ndim)), (0, *range(2, x.ndim))
        self.gain, shift = (p.reshape(-1, *[1] * (x.ndim - 2)) for p in self.parameters)
        self.deviation = np.sqrt(x.var(self.axes, keepdims=True) + EPSILON)
        self.z = (x - x.mean(self.axes, keepdims=True)) / self.deviation
        return self.gain * self.z + shift

    def backward(self, dy):
        self.grads = [(dy * self.z).sum(self.over), dy.sum(self.over)]
        dz = dy * self.gain
        own = dz.mean(self.axes, keepdims=True) + self.z * (dz * self.z).mean(self.axes, keepdims=True)
        return (dz - own) / self.deviation


@pytest.mark.reference("layer-norm")
@pytest.mark.parametrize("make", [mlp, conv_net])
def test_two_hundred_steps(make):
    kinds = {nn.LayerNorm: Normalised, nn.GroupNorm: Normalised}
    _, parts, _ = compare(WithLayerNorm(epsilon=EPSILON), kinds, make)
    assert sum(isinstance(part, Normalised) for part in parts) == 2


def test_the_references_slope_is_that_of_its_value():
    generator = np.random.default_rng(0)
    part = Normalised(nn.LayerNorm(4).double())
    part.parameters[0][...] = generator.normal(size=4)
    x, dy = generator.normal(size=(3, 4)), generator.normal(size=(3, 4))
    expected = slope_by_differences(part, x, dy)
    part.forward(x)
    np.testing.assert_allclose(part.backward(dy), expected, rtol=1e-6)


@pytest.mark.parametrize("make", [lambda **k: MLP(5, [4, 3], 2, **k), lambda **k: ContinualImageNetNet(width=0.1, **k)])
def test_it_is_where_our_own_networks_have_it(make):
    torch.manual_seed(3)
    ours = make(normalisation="layer")
    x = torch.randn(2, 5) if isinstance(ours, MLP) else torch.randn(2, 3, 32, 32)
    torch.manual_seed(3)
    new = neoteny.prepare(make(), WithLayerNorm(), x)
    torch.testing.assert_close(new(x), ours(x), rtol=0, atol=0)
    assert set(new.initialisers) == {name for name, _ in new.named_parameters()}
    for (name, p), (_, q) in zip(new.named_parameters(), ours.named_parameters(), strict=True):
        assert torch.equal(p, q), name
    new.reset_parameters()
    assert torch.isfinite(new(x)).all()


def test_norms_that_are_there_already_are_refused():
    for there in ("layer", "batch"):
        for method in (WithLayerNorm(), WithBatchNorm()):
            with pytest.raises(NetworkError, match=r"'layers\.1'.*normalises what 'layers\.2' reads already"):
                neoteny.prepare(MLP(4, [5], 2, normalisation=there), method, torch.zeros(2, 4))
    with pytest.raises(SettingError, match="both change the network's norms"):
        neoteny.prepare(MLP(4, [5], 2), [WithLayerNorm(), WithBatchNorm()], torch.zeros(2, 4))
    with pytest.raises(SettingError, match="epsilon"):
        WithLayerNorm(epsilon=-1)


def test_an_activation_called_twice_has_no_norm_of_its_own():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.second, self.out = nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 1)

        def forward(self, x):
            return self.out(self.act(self.second(self.act(self.first(x)))))

    with pytest.raises(NetworkError, match="'act' is called 2 times in a forward pass; give each place"):
        neoteny.prepare(Twice(), WithLayerNorm(), torch.zeros(2, 3))
    assert isinstance(neoteny.prepare(Twice(), neoteny.WithIntervalDropout(), torch.zeros(2, 3)).act, nn.Module)
