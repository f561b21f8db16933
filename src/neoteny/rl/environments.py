"""The environments of agents: many are stepped at once, in arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neoteny.envs import OneByOne, Steps
from neoteny.errors import SettingError

__all__ = ["Environments", "OneByOne", "check_spaces"]


class Environments(Protocol):
    """The interface of N environments that step together, as `neoteny.envs.MujocoVectorEnv` and `OneByOne` do."""

    num_envs: int
    single_observation_space: Any
    single_action_space: Any

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """First observations, [N, observations]."""
        ...

    def step_arrays(self, actions: NDArray[Any]) -> Steps:
        """One step with actions [N, A]; where an episode ends, the next one starts in the same step.

        The arrays of the result are not written to later.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Everything that later steps depend on."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        ...

    def close(self, **kwargs: Any) -> None:
        """Free their resources."""
        ...


def check_spaces(environments: Environments, discrete: bool = False, pixels: bool = False) -> tuple[int, int]:
    """Check that agents can learn in these environments; gives the sizes of an observation and of an action.

    Args:
        environments: what to check.
        discrete: whether the agents choose from a few actions; the second size is then their number.
        pixels: whether they may see bytes of any shape, which they get as one row.

    Raises:
        SettingError: the environments do not step in arrays, or actions or observations are of another kind than the
            agents'.
    """
    if not hasattr(environments, "step_arrays") or not hasattr(environments, "single_action_space"):
        raise SettingError(
            f"{environments!r} does not step in arrays: give neoteny.envs.MujocoVectorEnv, or several of any Gymnasium "
            "environment by neoteny.rl.OneByOne(lambda: gymnasium.make(...), 8)."
        )
    seen = environments.single_observation_space
    if pixels and getattr(seen, "dtype", None) == np.uint8 and getattr(seen, "shape", None):
        sizes = [int(np.prod(seen.shape))]
    else:
        sizes = [_size("observation", seen)]
    space = environments.single_action_space
    if not discrete:
        return sizes[0], _size("action", space)
    if type(space).__name__ != "Discrete" or getattr(space, "start", 0) != 0:
        raise SettingError(
            f"These agents choose from a few actions, a Discrete space from 0 on; this environment's is {space}: take "
            "another environment, or an agent for continuous actions, such as stream AC."
        )
    return sizes[0], int(space.n)


def _size(what: str, space: Any) -> int:
    shape, kind = getattr(space, "shape", None), getattr(space, "dtype", None)
    box = type(space).__name__ == "Box" and kind is not None and np.issubdtype(kind, np.floating)
    if not box or shape is None or len(shape) != 1:
        raise SettingError(
            f"Agents need a continuous {what} space, a Box of one dimension; this environment's is {space}: take "
            "another environment, or a wrapper such as gymnasium.wrappers.FlattenObservation."
        )
    return int(shape[0])
