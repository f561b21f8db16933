"""FIRE against the polar factor from the singular value decomposition, and against the iterations in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import neoteny
from methods.comparing import Reference, compare, conv_net, mlp
from neoteny.errors import SettingError, UnknownNameError
from neoteny.methods import FIRE, FullReset
from neoteny.methods.fire import isometry


def iterated(matrix, iterations=10):
    """The isometry of a matrix, written out: every singular value goes through the polynomial by itself."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(iterations):
        values = 1.5 * values - 0.5 * values**3
    return np.sqrt(matrix.shape[0] / matrix.shape[1]) * (left * values) @ right


def reference(period=None, strength=1.0, keep_momentum=False, only=None):
    class Projecting(Reference):
        times = 0

        def intervene(self, update, grads, hidden):
            if period is not None and (update + 1) % period == 0:
                self.project()

        def at_task(self, update):
            if period is None:
                self.project()

        def project(self):
            self.times += 1
            for layer, w in enumerate(self.net.weights):
                if only is not None and layer not in only:
                    continue
                shape = self.draws.shapes[list(self.draws.shapes)[2 * layer]]
                kernel = w.reshape(*shape[:2], -1)
                new = [iterated(kernel[..., place]) / kernel.shape[2] for place in range(kernel.shape[2])]
                w[...] = (1 - strength) * w + strength * np.stack(new, -1).reshape(w.shape)
            if not keep_momentum:
                for state in self.optimizer.state:
                    for value in state.values():
                        value[...] = 0

    return Projecting


@pytest.mark.reference("fire")
@pytest.mark.parametrize(
    ("make", "kind", "settings"),
    [
        (mlp, "sgd", {"period": 30}),
        (mlp, "adam", {}),
        (mlp, "momentum", {"strength": 0.4, "keep_momentum": True}),
        (conv_net, "sgd", {}),
        (conv_net, "adam", {"period": 30}),
    ],
)
def test_against_numpy(make, kind, settings):
    _, own, _ = compare(FIRE(**settings), reference(**settings), make=make, kind=kind)
    assert own.times >= 4


def test_only_what_is_named():
    _, own, _ = compare(FIRE(only="2.w*", period=30), reference(period=30, only=[1]), kind="adam")
    assert own.times == 6


@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7)])
def test_the_nearest_isometry(shape):
    """Iterated to the end it is the polar factor: singular values of sqrt(d_out / d_in), and the same vectors."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    left, _, right = torch.linalg.svd(weight, full_matrices=False)
    expected = (shape[0] / shape[1]) ** 0.5 * left @ right
    torch.testing.assert_close(isometry(weight, 40), expected, rtol=1e-10, atol=1e-12)


def test_a_kernel_of_one_dimension_is_a_matrix_at_each_place():
    weight = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.stack([isometry(weight[..., place]) / 5 for place in range(5)], -1)
    torch.testing.assert_close(isometry(weight), expected)


def test_zeros_stay_zeros():
    assert torch.equal(isometry(torch.zeros(3, 4)), torch.zeros(3, 4))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 5, 6))
        self.embed, self.norm = nn.Linear(3, 6), nn.LayerNorm(6)
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 2)

    def forward(self, x):
        x = self.norm(self.embed(x) + self.place)
        return self.head(self.attention(x, x, x)[0].mean(1))


def test_the_three_maps_of_attention_are_projected_apart_and_positions_not():
    torch.manual_seed(0)
    model = Attention().double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    neoteny.attach(model, optimizer, FIRE(), torch.randn(2, 5, 3).double()).new_task()
    after = model.state_dict()
    for old, new in zip(*(tensors["attention.in_proj_weight"].chunk(3) for tensors in (before, after)), strict=True):
        np.testing.assert_allclose(new.numpy(), iterated(old.numpy()), atol=1e-12)
    for name in ("place", "norm.weight", "head.bias"):
        assert torch.equal(before[name], after[name])


def test_what_makes_no_sense_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(UnknownNameError, match="2.weigth"):
        neoteny.attach(model, optimizer, FIRE(only=["2.weigth"]), torch.zeros(1, 3))
    with pytest.raises(SettingError, match="names no parameters"):
        FIRE(only=[])
    with pytest.raises(SettingError, match="nothing is left to project"):
        neoteny.attach(model, optimizer, [FIRE(), FullReset()], torch.zeros(1, 3))
