"""What is known of an architecture: how to build it, what to feed it, and which units must be found in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

TOKENS = 13
"""Size of the vocabulary of everything that reads tokens."""


@dataclass(frozen=True)
class Architecture:
    """One entry of the zoo.

    Args:
        build: makes the network of a width, for inputs of a length (image side, sequence length, number of inputs).
        inputs: makes a batch of so many examples of a length, as the network takes it.
        tiny: width and length in the tests.
        wide: width and length in the table of the documentation.
        batch: examples a step in that table.
        units: the unit layers that must be found by default, with their sizes at the tiny width, and no others.
        stream: those that must be found in addition with `residual_stream=True`.
        left_out: modules that must be left out even then, each with a word of the reason.
        bare: parameters of no module of their own that are added to units.
        needs: the package without which it cannot be built.
    """

    build: Callable[[int, int], nn.Module]
    inputs: Callable[[int, int], Any]
    tiny: tuple[int, int]
    wide: tuple[int, int]
    batch: int
    units: Mapping[str, int]
    stream: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    bare: tuple[str, ...] = ()
    needs: str | None = None
