"""What holds for the units of every network here: a unit that is made new takes out what it did and adds nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from architectures.checks import choices, filled, run, tensors_of
from neoteny.units import find, make_new, random

__all__ = ["units_made_new_in_place"]


def units_made_new_in_place(net: nn.Module, inputs: Tensor) -> dict[str, int]:
    """Check it with numbers for every layer of units; returns their sizes by name."""
    network, before = find(net, inputs), tensors_of(net)
    for layer in network.layers:
        chosen = choices(layer)[1]
        silent, reset = filled(before, layer.outgoing, chosen, 0.0), dict(before)
        make_new(layer, network, reset, {}, chosen, random.key(1))
        assert torch.equal(run(net, reset, inputs), run(net, silent, inputs)), layer.name
        assert any(not torch.equal(reset[part.name], silent[part.name]) for part in layer.incoming), layer.name
    return {layer.name: layer.size for layer in network.layers}
