"""What streaming agents with continuous actions have in common: an actor and a critic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from neoteny.rl.actors import finite
from neoteny.rl.streaming import StreamingAgents

__all__ = ["ACTOR", "CRITIC", "ContinuousAgents"]

ACTOR, CRITIC = "actor", "critic"


class ContinuousAgents(StreamingAgents):
    """R independent agents with an actor and a critic each; see `StreamingAgents` for the arguments.

    The entry `given` of their state is the action as environments take it.
    """

    def inputs(self, states: Tensor) -> dict[str, Tensor]:
        """Both networks see the same."""
        return {ACTOR: states, CRITIC: states}

    def _varied(self, varied: Mapping[str, Sequence[float]]) -> Mapping[str, Sequence[float]]:
        """The optimizer's settings are the critic's, as everywhere."""
        return {f"{CRITIC}.{name}" if name.startswith("optimizer.") else name: v for name, v in varied.items()}

    def _given(self, state: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        given = state["given"]
        return given if finite(given) else np.nan_to_num(given, nan=0.0, posinf=0.0, neginf=0.0)
