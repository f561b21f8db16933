from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from measures.plastic import INPUTS, mlp
from neoteny.errors import CheckpointError, NetworkError
from neoteny.measures.copies import copy_with, fresh_copy, initialisers_of
from neoteny.units.copying import bare_copy
from neoteny.units.random import key


def with_norm():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 64), nn.BatchNorm1d(64, momentum=0.3), nn.ReLU(), nn.Linear(64, 3))


def test_a_young_copy_is_drawn_anew_but_for_what_is_frozen():
    net = with_norm()
    net[3].requires_grad_(False)
    for _ in range(20):
        net(INPUTS + 5)
    found, notes = initialisers_of(net, None, None)
    young = fresh_copy(net, found, key(0), INPUTS)
    assert notes == {}
    assert not torch.equal(young[0].weight, net[0].weight)
    assert young[0].weight.abs().max() <= 1 / 10**0.5
    assert young[0].weight.std().item() == pytest.approx(net[0].weight.std().item(), rel=0.1)
    assert torch.equal(young[3].weight, net[3].weight)
    with torch.no_grad():
        seen = young[0](INPUTS)
    torch.testing.assert_close(young[1].running_mean, seen.mean(0))
    torch.testing.assert_close(young[1].running_var, seen.var(0))
    assert young[1].momentum == 0.3
    assert not any(module.training for module in young.modules())
    again = fresh_copy(net, found, key(0), INPUTS)
    assert all(torch.equal(a, b) for a, b in zip(young.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_bare_copy_keeps_torchs_hooks_and_no_others():
    net = mlp()
    net[0] = nn.utils.spectral_norm(net[0])
    net[2].register_forward_pre_hook(lambda *_: None)
    net[2].register_full_backward_hook(lambda *_: None)
    copied = bare_copy(torch.nn.DataParallel(net))
    assert len(copied[0]._forward_pre_hooks) == 1
    assert not copied[2]._forward_pre_hooks
    assert not copied[2]._backward_hooks
    assert len(net[2]._forward_pre_hooks) == 1
    net[4].kept = net[4](torch.randn(1, 32))  # torch copies no results of computations
    assert torch.equal(bare_copy(net)[4].kept, net[4].kept)
    net[4].lock = threading.Lock()
    with pytest.raises(NetworkError, match="cannot be copied"):
        bare_copy(net)


def test_weights_from_behind_a_wrapper_fit():
    net, other = mlp(0), mlp(1)
    for prefix in ("", "module.", "_orig_mod.", "_orig_mod.module."):
        copied = copy_with(net, {prefix + name: value for name, value in other.state_dict().items()})
        assert torch.equal(copied[0].weight, other[0].weight)
    with pytest.raises(CheckpointError, match="not this network's"):
        copy_with(net, {})


def test_given_and_declared_initialisers_count():
    from neoteny.nn import MLP
    from neoteny.units import Initialiser

    net = MLP(10, [8], 3)
    said, _ = initialisers_of(net, None, None)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.37)
    assert initialisers_of(net, None, None) == (said, {})
    mine = Initialiser("normal", 0.5)
    found, notes = initialisers_of(mlp(), None, {"0.weight": mine})
    assert (found["0.weight"], notes) == (mine, {})
