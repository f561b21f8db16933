"""What tracing a network finds out: who reads whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from neoteny.units.decompose import View, reads_input
from neoteny.units.maps import LinearMap
from neoteny.units.reading import Codes

__all__ = ["Role", "Trace"]

Role = Literal["plain", "norm", "channelwise", "opaque"]


Masks = dict[str, np.ndarray]
"""For each producer a bool mask of its units."""


@dataclass
class Trace:
    """Who reads whom.

    Attributes:
        say: tells the user how far it is, where that takes long.
        order: the modules with parameters of their own, and the norms, in order of execution.
        roles: `plain` (a linear map), `norm`, `channelwise` (a depthwise convolution), or `opaque`; other modules are
            seen through.
        maps: for each plain and channelwise module how its weight lies.
        opaque: why a module is opaque.
        views: where in a whole module's output the units of its parts are seen, for those of opened modules.
        units: number of units of each plain module; 1 for an opaque one.
        reads: for each consumer, producer by producer, the pairs (input index j, unit u) as sorted j * units + u.
        output: for each producer the units that the network's output reads.
        inputs: for each consumer the dimension of its input that j runs along, from the end, and its length.
        same_input: for each consumer a number that consumers of the very same tensor share.
        after_norm: for each consumer of what a norm makes of activations, as it is, that norm.
        statistics: the producers whose units reach each other through a statistic that no module takes: a norm as a
            function, or written by hand.
        calls: how often each was called in the forward pass.
        parts: for each part that an opened module was taken into, that module.
        bare: for each consumer, parameter by parameter, those that no known module owns and that its input is computed
            with: for each of their dimensions the pairs (input index j, position p) as sorted j * length + p, and None
            for a dimension that is not one position an index or one index a position.
        bare_shapes: the shapes of those parameters.
        called: the modules that the forward pass called, of whatever kind.
        unowned: the parameters that it used, and that no known module among those called owns.
        still_read: given producers' units whose outputs are zero and some groups of consumers, each with some of its
            input indices: for each of these groups, producer by producer, which units those indices still read.
    """

    say: Callable[[str], None] = lambda text: None
    order: list[str] = field(default_factory=list)
    roles: dict[str, Role] = field(default_factory=dict)
    maps: dict[str, LinearMap] = field(default_factory=dict)
    opaque: dict[str, str] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    reads: dict[str, Codes] = field(default_factory=dict)
    output: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: dict[str, tuple[int, int]] = field(default_factory=dict)
    same_input: dict[str, int] = field(default_factory=dict)
    after_norm: dict[str, str] = field(default_factory=dict)
    statistics: set[str] = field(default_factory=set)
    calls: dict[str, int] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    bare: dict[str, dict[str, dict[int, np.ndarray | None]]] = field(default_factory=dict)
    bare_shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    called: set[str] = field(default_factory=set)
    unowned: list[str] = field(default_factory=list)
    still_read: Callable[[Masks, Sequence[Mapping[str, np.ndarray]]], list[Masks]] = lambda zeros, asked: []

    def owner(self, name: str) -> str:
        """The user's module that a part belongs to; of any other module its own name."""
        return self.parts.get(name, name)

    def shown_at(self, name: str) -> str | None:
        """The user's module that is given what this one reads; None inside an opened module, which never calls it."""
        if name.rpartition(".")[0] not in self.parts.values():
            return name
        return self.parts[name] if name in self.parts and reads_input(name) else None

    def behind(self, name: str) -> Iterator[str]:
        """The modules on whose outputs what one module reads depends, each once."""
        seen, ahead = set[str](), [name]
        while ahead:
            for producer in self.reads.get(ahead.pop(), {}):
                if producer not in seen:
                    seen.add(producer)
                    ahead.append(producer)
                    yield producer

    def follows(self, later: str, earlier: str) -> bool:
        """Whether what one module reads depends on another's output."""
        return earlier in self.behind(later)
