"""What handles, methods and steps show of themselves."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import neoteny
from neoteny.methods import Method, Step

LONGEST = 2000


def attached(*methods, updates=12):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters())
    plasticity = neoteny.attach(model, optimizer, methods, torch.zeros(1, 3))
    for _ in range(updates):
        optimizer.zero_grad()
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
    plasticity.optimizer = optimizer  # the handle itself does not keep it
    return plasticity


def test_a_handle_says_what_it_does_and_has_done():
    plasticity = attached(
        neoteny.ContinualBackprop(replacement_rate=0.1, maturity_threshold=3),
        neoteny.SelectiveReinitialisation(factor=0.1, period=4),
        neoteny.L2(strength=0.5),
    )
    before = plasticity.state_dict()
    head, *lines = str(plasticity).splitlines()
    assert head == "Plasticity on Adam: 28 units in 2 layers, 12 updates so far"
    assert lines[0] == "  cbp: ContinualBackprop(replacement_rate=0.1, decay_rate=0.99, maturity_threshold=3)"
    assert lines[1].strip().startswith("continual backpropagation")
    counters = plasticity.counters()["cbp"]
    replaced = sum(layer["units_replaced"] for layer in counters.values())
    mature = sum(counters[layer.name]["mature_share"] * layer.size for layer in plasticity.units.layers) / 28
    assert lines[2] == f"    {replaced:,} units replaced, {mature:.0%} of the units are mature"
    assert replaced > 0
    assert re.fullmatch(r"    [1-9]\d* weights made new", lines[5])
    assert lines[6] == "  l2: L2(strength=0.5)"
    assert len(lines) == 8
    torch.testing.assert_close(plasticity.state_dict()["since"], before["since"])
    plasticity.new_task()
    assert ", 1 change of task so far" in repr(plasticity)


def test_several_optimizers_and_a_method_of_ones_own():
    @dataclass(frozen=True, kw_only=True)
    class Own(Method):
        """Does nothing, <slowly>.

        And says no more.
        """

        name = "own"
        rate: float
        words: tuple[str, ...] = ()

    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    optimizers = [torch.optim.SGD(layer.parameters(), 0.1) for layer in (model[0], model[2])]
    plasticity = neoteny.attach(model, optimizers, Own(rate=0.5), torch.zeros(1, 3))
    assert str(plasticity) == (
        "Plasticity on 2 SGD: 8 units in 1 layer, 0 updates so far\n  own: Own(rate=0.5)\n    Does nothing, <slowly>."
    )
    assert "<td>Does nothing, &lt;slowly&gt;.</td>" in plasticity._repr_html_()


def test_texts_stay_short():
    @dataclass(frozen=True, kw_only=True)
    class Wordy(Method):
        """Has much to say."""

        name = "wordy"
        words: tuple[str, ...] = ("word" * 1000,) * 1000
        text: str = "word" * 1000

    assert len(repr(Wordy())) < LONGEST
    assert len(repr(attached(*[Wordy() for _ in range(40)], updates=0))) < LONGEST
    tensors = {str(number): torch.zeros(50, 50) for number in range(500)}
    step = Step(attached(neoteny.L2(), updates=0).units, tensors, {}, {}, {}, {}, torch.zeros(2))
    assert repr(step) == "Step: 500 tensors, 0 gradients, 28 units in 2 layers"


@pytest.mark.parametrize("method", [neoteny.L2(), neoteny.FIRE(), neoteny.UPGD()])
def test_a_method_is_a_table_of_its_settings(method):
    html = method._repr_html_()
    assert f"<caption>{type(method).__name__} ({method.name})</caption>" in html
    for name, value in method.settings().items():
        assert f"<tr><td>{name}</td><td>{value}</td></tr>" in html


def test_a_step_is_a_table_of_its_tensors():
    seen = []

    @dataclass(frozen=True, kw_only=True)
    class Shown(Method):
        """Shows the step."""

        name = "shown"

        def intervene(self, step, state, due):
            """Show it."""
            seen.append((repr(step), step._repr_html_()))
            return state

    attached(Shown(), updates=1)
    ((text, html),) = seen
    assert text.endswith(": 6 tensors, 6 gradients, 28 units in 2 layers")
    assert "<tr><td>0.weight</td><td>[20, 3]</td><td>yes</td><td>step, exp_avg, exp_avg_sq</td></tr>" in html
