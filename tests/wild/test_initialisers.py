"""Newborn weights are drawn as a fresh network's: by whatever function, with its zeros, and norms as they began."""

from __future__ import annotations

import io
import itertools
import warnings
from functools import partial

import pytest
import torch
from torch import nn

import neoteny
from neoteny import PlasticityWarning
from neoteny.errors import SettingError, UnknownNameError
from neoteny.methods import ContinualBackprop, FullReset
from neoteny.units import Initialiser, find, random
from neoteny.units.inference import infer_initialisers

ALL = ContinualBackprop(replacement_rate=1.0, maturity_threshold=1)


def steps(model, plasticity_of, x, count=3, **options):
    """Train with every unit made new; returns the handle."""
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    plasticity = plasticity_of(model, optimizer, ALL, x, **options)
    for _ in range(count):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    plasticity.kept = optimizer  # a handle does not keep it
    return plasticity


def mlp(*sizes):
    layers = [[nn.Linear(a, b), nn.Tanh()] for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*[module for pair in layers for module in pair][:-1])


def made_new(plasticity, name="0"):
    mask = plasticity.made_new(name)
    assert mask.any()
    return mask


def test_a_function_of_torch_nn_init_draws_newborn_weights():
    torch.manual_seed(0)
    model = mlp(16, 8, 3)
    plasticity = steps(model, neoteny.attach, torch.randn(4, 16), 1, initialisers={"0.weight": nn.init.orthogonal_})
    generator = torch.get_rng_state()
    optimizer = plasticity.kept
    for _ in range(2):
        model(torch.ones(2, 16)).sum().backward()
        optimizer.step()
    assert torch.equal(generator, torch.get_rng_state())
    rows = model[0].weight[made_new(plasticity)].detach()
    torch.testing.assert_close(rows @ rows.T, torch.eye(len(rows)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(3, 4), nn.Conv2d(3, 4, 2), nn.ConvTranspose2d(3, 4, 2), nn.Conv2d(4, 4, 2, groups=2)],
    ids=lambda layer: str(layer).partition("(")[0] + ("-groups" if getattr(layer, "groups", 1) > 1 else ""),
)
@pytest.mark.parametrize("at_most", [None, 1])
def test_rows_come_from_the_right_places_whatever_the_layout(layer, at_most):
    """The function numbers the entries of the whole parameter; units' entries hold their own numbers."""
    x = torch.randn(2, layer.in_channels, 4, 4) if hasattr(layer, "in_channels") else torch.randn(2, 3)
    with torch.no_grad():
        size = layer(x)[0].numel()
    net = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(size, 2))
    numbers = torch.arange(float(layer.weight.numel())).view(layer.weight.shape)
    units = find(net, x, initialisers={"0.weight": lambda tensor: numbers})
    from neoteny.units.rewrite import make_new_in_place

    tensors = {name: p.detach() for name, p in net.named_parameters()}
    before, chosen = tensors["0.weight"].clone(), torch.arange(4) == 2
    make_new_in_place(units.layers[0], units, tensors, {}, chosen, random.key(0), shared_draw=True, at_most=at_most)
    own = torch.zeros_like(before, dtype=torch.bool)
    if isinstance(layer, nn.ConvTranspose2d):
        own[:, 2] = True
    else:
        own[2] = True
    assert torch.equal(tensors["0.weight"], torch.where(own, numbers, before))


def test_functions_may_be_given_anywhere_and_nonsense_is_refused():
    x, half = torch.zeros(1, 4), partial(nn.init.constant_, val=0.5)
    model = mlp(4, 6, 2)
    units = find(model, x)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, ALL, units=units, initialisers={"0.weight": half})
    assert plasticity.units.initialisers["0.weight"].function is half
    model[0].initialisers = {"weight": half}
    assert (find(model, x).initialisers["0.weight"].draw(random.key(0), (2, 2)) == 0.5).all()
    with pytest.raises(SettingError, match="initialisers.'0.weight'. = 3 is no Initialiser"):
        find(model, x, initialisers={"0.weight": 3})
    for given in ({"units": units}, {"example_inputs": x}):
        with pytest.raises(UnknownNameError, match="parameter to initialise"):
            neoteny.attach(model, optimizer, ALL, **given, initialisers={"wieght": half})


def block_diagonal(weight):
    weight *= torch.block_diag(*[torch.ones(5, 5)] * 4)


PATTERNS = {
    "sparse": lambda w: nn.init.sparse_(w, 0.5, 0.1),
    "block-diagonal": block_diagonal,
    "identity": nn.init.eye_,
    "half of torch's default": lambda w: w.mul_(torch.rand(20, 20, generator=torch.Generator().manual_seed(7)) < 0.5),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_of_zeros_is_kept(name):
    torch.manual_seed(0)
    model = mlp(20, 20, 3)
    with torch.no_grad():
        PATTERNS[name](model[0].weight)
    before = model[0].weight.detach().clone()
    plasticity = steps(model, neoteny.attach, torch.randn(4, 20))
    new = made_new(plasticity)
    after = model[0].weight.detach()
    assert torch.equal((after != 0)[new], (before != 0)[new])
    others = before != 0
    drawn = plasticity.units.initialisers["0.weight"].draw(random.key(0), (20, 20))
    assert torch.equal(drawn != 0, others)
    assert float(drawn[others].std()) == pytest.approx(float(before[others].std()), rel=0.15, abs=1e-6)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    restored = neoteny.attach(model, optimizer, ALL, units=plasticity.units)
    restored.load_state_dict(plasticity.state_dict())
    assert torch.equal(restored.units.initialisers["0.weight"].zeros, ~others)


def test_units_that_were_just_made_new_are_no_pattern():
    torch.manual_seed(0)
    model = mlp(20, 20, 20, 3)
    with torch.no_grad():
        model[2].weight[:, [1, 4, 9]] = 0
        model[2].weight[7] = 0
    assert infer_initialisers(model, {})[0]["2.weight"].zeros is None


def trained():
    torch.manual_seed(0)
    model = mlp(40, 30, 3)
    with torch.no_grad():
        model[0].weight.add_(torch.randn(30, 40) * 0.37)
    return model


def test_a_trained_network_is_warned_of_once_at_the_first_step_and_shown():
    model, x = trained(), torch.randn(4, 40)
    units, shown = find(model, x), io.StringIO()
    units.explain(shown)
    assert "drawn by guess" in shown.getvalue()
    with pytest.warns(PlasticityWarning, match=r"0\.weight \(Initialiser.*Were they trained") as caught:
        plasticity = steps(model, neoteny.attach, x)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    state = plasticity.state_dict()
    for given in ({"initialisers": {"0.weight": nn.init.xavier_uniform_}}, {}):
        optimizer = torch.optim.SGD(model.parameters(), 1e-6)
        again = neoteny.attach(model, optimizer, ALL, x, **given)
        if not given:
            again.load_state_dict(state)
        model(x).sum().backward()
        optimizer.step()  # no warning
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        steps(mlp(40, 30, 3), neoteny.attach, x)


def test_a_network_that_was_seen_before_it_was_trained_is_known():
    torch.manual_seed(0)
    model, x = mlp(40, 30, 3), torch.randn(4, 40)
    expected = steps(model, neoteny.attach, x).units.initialisers
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.37)
    again = steps(model, neoteny.attach, x)  # no warning
    assert again.units.initialisers == expected
    assert not again.units.notes


class AddsOne(nn.Module):
    """A norm that multiplies by 1 + its gain, which begins at 0 (Gemma)."""

    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))

    def forward(self, x):
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.weight)


class OneNorm(AddsOne):
    pass


def of_norm(norm, train=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 12), norm, nn.ReLU(), nn.Linear(12, 3))
    if train:
        with torch.no_grad():
            model[0].weight.exponential_()
            norm.weight.add_(torch.randn(12) * 0.3)
    return infer_initialisers(model, {})[0]["1.weight"]


def test_newborn_norms_begin_as_they_began():
    zero, drawn = nn.BatchNorm1d(12), nn.BatchNorm1d(12)
    nn.init.zeros_(zero.weight)
    nn.init.normal_(drawn.weight, 0.1, 0.1)
    assert of_norm(nn.BatchNorm1d(12)) == Initialiser("constant", 1.0)
    assert of_norm(zero) == Initialiser("constant", 0.0)
    assert of_norm(nn.BatchNorm1d(12), train=True) == Initialiser("constant", 1.0)
    assert of_norm(OneNorm(12)) == Initialiser("constant", 0.0)
    assert of_norm(OneNorm(12), train=True) == Initialiser("constant", 0.0)
    found = of_norm(drawn)
    assert (found.kind, found.mean, found.scale) == (
        "normal",
        pytest.approx(float(drawn.weight.detach().mean())),
        pytest.approx(float(drawn.weight.detach().std())),
    )


@pytest.mark.parametrize("begins", [0.0, 1.0, 2.0])
def test_a_newborn_unit_s_gain_is_that_of_the_beginning(begins):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))
    nn.init.constant_(model[1].weight, begins)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    plasticity = neoteny.attach(model, optimizer, ALL, torch.zeros(2, 5))
    for number in range(6):
        optimizer.zero_grad()
        (model(torch.randn(9, 5)) - 1).square().mean().backward()
        if number == 2:
            with torch.no_grad():
                model[1].weight.add_(0.3)
                model[1].bias.add_(0.3)
        optimizer.step()
    new = made_new(plasticity)
    assert (model[1].weight[new] == begins).all()
    assert (model[1].bias[new] == 0).all()
    assert (model[1].running_var[new] == 1).all()


def test_a_full_reset_makes_all_statistics_new():
    """Also of norms that no unit passes (at the input, in a residual stream), and the count of batches."""

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.BatchNorm1d(6, affine=False)
            self.mix, self.stream, self.head = nn.Linear(6, 6), nn.BatchNorm1d(6, momentum=None), nn.Linear(6, 2)

        def forward(self, x):
            x = self.first(x)
            return self.head(self.stream(x + torch.tanh(self.mix(x))))

    torch.manual_seed(0)
    model = Residual()
    optimizer = torch.optim.Adam(model.parameters())
    plasticity = neoteny.attach(model, optimizer, FullReset(), torch.zeros(2, 6))
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(9, 6) * 3 + 1).square().sum().backward()
        optimizer.step()
    assert int(model.first.num_batches_tracked) == 5
    plasticity.new_task()
    for norm in (model.first, model.stream):
        assert not norm.running_mean.any()
        assert (norm.running_var == 1).all()
        assert int(norm.num_batches_tracked) == 0
