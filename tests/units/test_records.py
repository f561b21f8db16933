"""The records as they are shown: short in a terminal, a table in a notebook."""

from __future__ import annotations

import io

import torch

from neoteny.nn import MLP
from neoteny.units import Network, Slices, UnitLayer, find


def large(layers=3000, units=5000):
    """Many layers that share their parameters' index maps."""
    own = tuple((i,) for i in range(units))
    name = "blocks.17.feed_forward.projection" * 20
    parts = tuple(Slices(f"{name}.{number}.weight", 0, own) for number in range(30))
    layer = UnitLayer("+".join([name] * 30), units, parts, (), (), parts, (None,) * 30, ())
    return Network((layer,) * layers, {}, ("head.weight",) * 1000, skipped={f"{i}": "why" * 100 for i in range(1000)})


def test_reprs_stay_short():
    network = large()
    for record in (network, network.layers[0], network.layers[0].incoming[0]):
        assert len(repr(record)) < 2000


def test_what_reprs_say():
    network = find(MLP(3, [6, 4], 2), torch.zeros(1, 3))
    layer = network.layers[0]
    assert repr(network) == "Network(10 hidden units in 2 layers: layers.0 (6), layers.2 (4))"
    assert repr(layer) == "UnitLayer('layers.0', 6 units, fed by layers.0.weight, read by layers.2.weight)"
    assert repr(layer.incoming[0]) == "Slices('layers.0.weight', dim=0, units=6)"
    assert repr(Slices("w", 1, ((0, 1), (2, 3)))) == "Slices('w', dim=1, units=2 of 2 positions)"
    assert "index" not in repr(layer.readers[0])
    assert repr(Network((), {}, (), skipped={"0": "it is the head"})).endswith("0 layers: none, 1 left out)")


def test_the_table_in_a_terminal_and_in_a_notebook():
    network = find(MLP(3, [6, 4], 2), torch.zeros(1, 3))
    printed = io.StringIO()
    network.explain(printed)
    for text in (printed.getvalue(), network._repr_html_()):
        assert all(word in text for word in ("10 hidden units, layers: 2", "layers.2.weight", "function-preserving"))
    assert network._repr_html_().startswith("<pre>")
