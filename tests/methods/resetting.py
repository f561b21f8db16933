"""What references of methods that make units new have in common: how units are made new, in NumPy."""

from __future__ import annotations

import numpy as np

from methods.comparing import Reference
from neoteny.units import random


class ResettingReference(Reference):
    """Counts in `replaced[layer]`; weights of conv layers are `[units, entries]`, read in blocks of positions."""

    def __init__(self, net, optimizer, draws):
        super().__init__(net, optimizer, draws)
        self.replaced = [0 for _ in net.weights[:-1]]

    def make_new(self, update: int, layer: int, chosen: np.ndarray, positions: int, shared: bool = False) -> None:
        """Make the units of the mask new: w_in drawn, bias 0, w_out 0, the optimizer's state of all these 0."""
        if not chosen.any():
            return
        fresh = self.draws.new_weights(random.fold_in(self.draws.intervening(update), layer), layer, shared)
        columns = np.repeat(chosen, positions)
        depth = len(self.net.weights)
        self.net.weights[layer][chosen] = fresh[0] if shared else fresh[chosen]
        self.net.biases[layer][chosen] = 0
        self.net.weights[layer + 1][:, columns] = 0
        for number in (layer, depth + layer):
            for value in self.optimizer.state[number].values():
                value[chosen] = 0
        for value in self.optimizer.state[layer + 1].values():
            value[:, columns] = 0
        self.replaced[layer] += int(chosen.sum())


def replaced(plasticity, name: str) -> list[int]:
    """What an attached method counted, layer by layer."""
    return [entry["units_replaced"] for entry in plasticity.counters()[name].values()]
