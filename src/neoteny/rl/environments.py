"""What agents act in: many environments stepped at once, in arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neoteny.envs import Steps
from neoteny.errors import SettingError

if TYPE_CHECKING:
    import gymnasium

__all__ = ["Environments", "OneByOne", "check_spaces"]


class Environments(Protocol):
    """N environments that take a step together; `neoteny.envs.MujocoVectorEnv` and `OneByOne` are such."""

    num_envs: int
    single_observation_space: Any
    single_action_space: Any

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """First observations, [N, observations]."""
        ...

    def step_arrays(self, actions: NDArray[Any]) -> Steps:
        """What follows actions [N, A]; an environment whose episode ended begins its next one in the same step."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`."""
        ...

    def close(self, **kwargs: Any) -> None:
        """Let go of what they hold."""
        ...


class OneByOne:
    """Any Gymnasium environments, stepped one after the other.

    What `info` tells of "friction" and "unstable", as `neoteny.envs.Slippery` does, is passed on.

    Args:
        make: makes one environment; called `number` times.
        number: N.

    Raises:
        SettingError: fewer than one, or another number of seeds; in `step_arrays` a reward that is NaN.

    >>> import gymnasium
    >>> environments = OneByOne(lambda: gymnasium.make("Pendulum-v1"), 2)
    >>> environments.reset(seed=[1, 2])[0].shape
    (2, 3)
    """

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]], number: int):
        if number < 1:
            raise SettingError(f"number = {number}: there must be at least one environment.")
        self._environments = [make() for _ in range(number)]
        self.num_envs = number
        self.single_observation_space = self._environments[0].observation_space
        self.single_action_space = self._environments[0].action_space

    def reset(
        self, *, seed: Sequence[int] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """First observations, [N, observations]; one seed an environment."""
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise SettingError(f"{len(seeds)} seeds for {self.num_envs} environments: give one for each.")
        first = [
            env.reset(seed=own, options=dict(options) if options else None)[0]
            for env, own in zip(self._environments, seeds, strict=True)
        ]
        return np.asarray(first, dtype=np.float64), {}

    def step_arrays(self, actions: NDArray[Any]) -> Steps:
        """One step of each."""
        rows = [self._step(env, action) for env, action in zip(self._environments, actions, strict=True)]
        return Steps(*map(np.array, zip(*rows, strict=True)))

    @staticmethod
    def _step(env: gymnasium.Env[Any, Any], action: NDArray[Any]) -> Steps:
        final, reward, terminated, truncated, info = env.step(action)
        if math.isnan(reward):
            raise SettingError(f"{env} gave a reward that is not a number: mend it, no agent can learn from that.")
        observation = env.reset()[0] if terminated or truncated else final
        final, observation = np.asarray(final, dtype=np.float64), np.asarray(observation, dtype=np.float64)
        ground = info.get("friction")
        return Steps(
            observations=observation,
            rewards=float(reward),  # type: ignore[arg-type] - a row of what is put together above
            terminations=bool(terminated),  # type: ignore[arg-type]
            truncations=bool(truncated),  # type: ignore[arg-type]
            final_observations=final,
            friction=ground if isinstance(ground, float) else math.nan,  # type: ignore[arg-type]
            unstable=bool(info.get("unstable", False)),  # type: ignore[arg-type]
        )

    def state(self) -> dict[str, Any]:
        """Not to be had.

        Raises:
            SettingError: always: Gymnasium has no way of asking an environment for its state.
        """
        name = getattr(self._environments[0].spec, "id", type(self._environments[0].unwrapped).__name__)
        raise SettingError(
            f"The state of {name} cannot be read, as Gymnasium's environments do not tell it: train without "
            "checkpoints, or use one of neoteny.envs.ROBOTS through neoteny.envs.MujocoVectorEnv."
        )

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Not to be had; see `state`."""
        self.state()

    def close(self, **kwargs: Any) -> None:
        """Close each."""
        for env in self._environments:
            env.close()


def check_spaces(environments: Environments) -> tuple[int, int]:
    """The numbers of observed values and of actions.

    Raises:
        SettingError: environments that do not step in arrays; actions that are no vector of real numbers, or
            observations that are none.
    """
    if not hasattr(environments, "step_arrays") or not hasattr(environments, "single_action_space"):
        raise SettingError(
            f"{environments!r} does not step in arrays: give neoteny.envs.MujocoVectorEnv, or of any Gymnasium "
            "environment several as neoteny.rl.OneByOne(lambda: gymnasium.make(...), 8)."
        )
    sizes = []
    for what, space in (
        ("observation", environments.single_observation_space),
        ("action", environments.single_action_space),
    ):
        shape, kind = getattr(space, "shape", None), getattr(space, "dtype", None)
        box = type(space).__name__ == "Box" and kind is not None and np.issubdtype(kind, np.floating)
        if not box or shape is None or len(shape) != 1:
            raise SettingError(
                f"PPO needs a continuous {what} space, a Box of one dimension; this environment's is {space}: take "
                "another environment, or a wrapper such as gymnasium.wrappers.FlattenObservation."
            )
        sizes.append(int(shape[0]))
    return sizes[0], sizes[1]
