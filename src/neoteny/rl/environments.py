"""The environments of agents: many are stepped at once, in arrays."""

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


class OneByOne:
    """Any Gymnasium environments, stepped one after the other.

    "friction" and "unstable" are taken from `info`, where `neoteny.envs.Slippery` puts them.

    Args:
        make: makes one environment; called `number` times.
        number: N.

    Raises:
        SettingError: `number` is below 1, the number of seeds is another, or (in `step_arrays`) a reward is NaN.

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
        """First observations, [N, observations]; `seed` has one entry for each environment."""
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
            raise SettingError(f"{env} gave a reward that is not a number: correct the environment.")
        observation = env.reset()[0] if terminated or truncated else final
        final, observation = np.asarray(final, dtype=np.float64), np.asarray(observation, dtype=np.float64)
        ground = info.get("friction")
        return Steps(
            observations=observation,
            rewards=float(reward),  # type: ignore[arg-type] - one row of the arrays that `step_arrays` makes
            terminations=bool(terminated),  # type: ignore[arg-type]
            truncations=bool(truncated),  # type: ignore[arg-type]
            final_observations=final,
            friction=ground if isinstance(ground, float) else math.nan,  # type: ignore[arg-type]
            unstable=bool(info.get("unstable", False)),  # type: ignore[arg-type]
        )

    def state(self) -> dict[str, Any]:
        """Not available.

        Raises:
            SettingError: always, as Gymnasium's environments do not give their state.
        """
        name = getattr(self._environments[0].spec, "id", type(self._environments[0].unwrapped).__name__)
        raise SettingError(
            f"The state of {name} cannot be read, as Gymnasium's environments do not give it: train without "
            "checkpoints, or use one of neoteny.envs.ROBOTS through neoteny.envs.MujocoVectorEnv."
        )

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Not available; see `state`."""
        self.state()

    def close(self, **kwargs: Any) -> None:
        """Close every environment."""
        for env in self._environments:
            env.close()


def check_spaces(environments: Environments) -> tuple[int, int]:
    """Check that agents can learn in these environments; gives the sizes of an observation and of an action.

    Raises:
        SettingError: the environments do not step in arrays, or actions or observations are not vectors of real
            numbers.
    """
    if not hasattr(environments, "step_arrays") or not hasattr(environments, "single_action_space"):
        raise SettingError(
            f"{environments!r} does not step in arrays: give neoteny.envs.MujocoVectorEnv, or several of any Gymnasium "
            "environment by neoteny.rl.OneByOne(lambda: gymnasium.make(...), 8)."
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
                f"Agents need a continuous {what} space, a Box of one dimension; this environment's is {space}: take "
                "another environment, or a wrapper such as gymnasium.wrappers.FlattenObservation."
            )
        sizes.append(int(shape[0]))
    return sizes[0], sizes[1]
