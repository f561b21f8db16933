"""Every architecture of the zoo: its units are found, each reset is held against the network itself, and it trains.

A unit is silent when its consumers' weights are zero, and also when all that feeds it is zero: the first is what a
reset relies on, the second does not know about consumers. Both must give the same output, or a slice is missing, is too
much, or belongs to another unit.
"""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

import neoteny
from architectures.checks import (
    activations,
    choices,
    entries,
    feeding_alone,
    filled,
    found,
    generic,
    made,
    output_of,
    run,
    tensors_of,
    uncoupled,
)  # fmt: skip
from architectures.table import ARCHITECTURES
from neoteny.units import find, make_new, random
from neoteny.units.reset import slices_of

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


def told(network):
    """What is said of a network, on paper wide enough for the longest name."""
    out = io.StringIO()
    Console(file=out, width=500).print(network)
    return out.getvalue()


@EVERY
def test_its_units_are_found_and_no_others(name):
    architecture = ARCHITECTURES[name]
    network = found(name)
    assert {layer.name: layer.size for layer in network.layers} == dict(architecture.units)
    assert all(layer.preserving and not layer.stream for layer in network.layers)
    more = found(name, residual_stream=True)
    assert {layer.name: layer.size for layer in more.layers} == {**architecture.units, **architecture.stream}
    for module, reason in architecture.left_out.items():
        assert reason in more.skipped[module], module
    for layer in architecture.stream:
        for module in layer.split("+"):
            assert "residual stream" in network.skipped[module]
    assert all(part in told(network) for part in (*architecture.units, *network.skipped))


@EVERY
def test_by_default_units_that_a_norm_couples_are_left_out(name):
    taken = find(*generic(name), residual_stream=True, allow_none=True)
    every = {layer.name: layer for layer in found(name, residual_stream=True).layers}
    assert {layer.name for layer in taken.layers} == {n for n, layer in every.items() if not layer.coupled}
    for layer in every.values():
        assert not layer.coupled or "only_preserving=False" in taken.skipped[layer.name]
    assert "forward passes" in taken.checked or not taken.layers


@EVERY
def test_a_newborn_contributes_nothing_and_nothing_else_changes(name):
    net, inputs = generic(name)
    network, before = found(name, residual_stream=True), tensors_of(net)
    for layer in network.layers:
        for chosen in choices(layer):
            silent = filled(before, layer.outgoing, chosen, 0.0)
            reset = dict(before)
            make_new(layer, network, reset, {}, chosen, random.key(1))
            with uncoupled(net, layer):
                assert torch.equal(run(net, reset, inputs), run(net, silent, inputs))
            own = {key: torch.zeros_like(value, dtype=torch.bool) for key, value in before.items()}
            for slices in slices_of(layer):
                own[slices.name] |= entries(slices, chosen, before[slices.name])
            for key, value in before.items():
                assert torch.equal(reset[key][~own[key]], value[~own[key]]), key
            for slices in layer.incoming:
                drawn = entries(slices, chosen, before[slices.name]) & (silent[slices.name] != 0)
                assert (reset[slices.name] != before[slices.name])[drawn].all()


@EVERY
def test_a_unit_whose_input_is_cut_is_as_silent_as_one_whose_consumers_are(name):
    net, inputs = generic(name)
    # What bare parameters feed to a unit besides is cut for good.
    before = {key: value * (key not in ARCHITECTURES[name].bare) for key, value in tensors_of(net).items()}
    for layer in found(name, residual_stream=True).layers:
        heard = False
        for chosen in choices(layer):
            feeding = (*layer.incoming, *layer.biases, *(s for s in layer.norms if s.fill == 0 or "weight" in s.name))
            with uncoupled(net, layer):
                original = run(net, before, inputs)
                silent = run(net, filled(before, layer.outgoing, chosen, 0.0), inputs)
                cut = run(net, filled(before, feeding, chosen, 0.0), inputs)
            torch.testing.assert_close(cut, silent, rtol=1e-9, atol=1e-9)
            heard |= bool((silent - original).abs().max() > 1e-6)
        assert heard, f"no unit of {layer.name} matters to the output"


@EVERY
def test_what_feeds_a_unit_moves_its_own_activation_only(name):
    net, inputs = generic(name)
    tensors = tensors_of(net)
    for layer in found(name, residual_stream=True).layers:
        chosen = choices(layer)[0]
        deaf = filled(tensors, layer.outgoing, chosen, 0.0)  # what it sends on must not come back
        with uncoupled(net, layer):
            before = activations(net, layer, deaf, inputs)
            assert len(before) == layer.size
            moved_any = False
            for slices in (*layer.incoming, *layer.biases):
                value = deaf[slices.name]
                own = entries(slices, chosen, value) & (value != 0)
                moved = {**deaf, slices.name: torch.where(own, value * 3 + 1, value)}
                changed = (activations(net, layer, moved, inputs) != before).any(1)
                assert not changed[~chosen].any(), (layer.name, slices.name)
                moved_any |= bool(changed[chosen].all())
        assert moved_any, layer.name


@EVERY
def test_nothing_but_its_slices_feeds_a_unit_alone(name):
    net, inputs = generic(name)
    tensors = tensors_of(net)
    checked = 0
    for layer in found(name, residual_stream=True).layers:
        chosen = choices(layer)[0]
        deaf = filled(tensors, layer.outgoing, chosen, 0.0)
        with uncoupled(net, layer):
            if not (activations(net, layer, deaf, inputs) != 0).any(1).all():
                continue  # behind a rectifier that never opens, gradients tell nothing
            alone = feeding_alone(net, layer, deaf, inputs, chosen)
        assert any(mask.any() for mask in alone.values())
        for slices in slices_of(layer):
            if slices.name in alone:  # buffers are not
                alone[slices.name] &= ~entries(slices, chosen, tensors[slices.name])
        left = [key for key, mask in alone.items() if mask.any() and key not in ARCHITECTURES[name].bare]
        assert not left, (layer.name, left)
        checked += 1
    assert 2 * checked >= len(ARCHITECTURES[name].units) - 1


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@EVERY
def test_it_trains_with_continual_backprop(name):
    net, inputs = made(name)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], 1e-3)
    cbp = neoteny.ContinualBackprop(replacement_rate=0.3, maturity_threshold=2)
    plasticity = neoteny.attach(net, optimizer, cbp, example_inputs=inputs, only_preserving=False)
    for _ in range(8):
        optimizer.zero_grad()
        loss = (output_of(net, inputs) - 1).square().mean()
        loss.backward()
        optimizer.step()
        assert torch.isfinite(loss)
    assert all(torch.isfinite(t).all() for t in tensors_of(net).values())
    replaced = {layer: told["units_replaced"] for layer, told in plasticity.counters()["cbp"].items()}
    assert set(replaced) == set(ARCHITECTURES[name].units) and min(replaced.values()) > 0


@EVERY
def test_it_can_be_diagnosed(name):
    net, inputs = made(name)
    before = tensors_of(net)
    report = neoteny.diagnose(net, inputs)
    units = {**ARCHITECTURES[name].units, **ARCHITECTURES[name].stream}
    frozen = {module for module, reason in ARCHITECTURES[name].left_out.items() if reason == "frozen"}
    seen = {layer.layer: layer.units for layer in report.layers}  # a check-up looks at frozen layers as well
    assert {layer: size for layer, size in seen.items() if layer not in frozen} == units and frozen <= set(seen)
    assert all(torch.equal(before[key], value) for key, value in tensors_of(net).items())
