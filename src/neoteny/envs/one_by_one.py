"""Any Gymnasium environments as many that step together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neoteny.envs.vector import Steps
from neoteny.errors import CheckpointError, SettingError

if TYPE_CHECKING:
    import gymnasium

__all__ = ["OneByOne"]


class OneByOne:
    """Any Gymnasium environments, stepped one after the other.

    "friction" and "unstable" are taken from `info`, where `neoteny.envs.Slippery` puts them. Environments that have
    `saved_state()` and `restore_state(state)` can go on after a checkpoint: those of `neoteny.envs.MinAtarGame`, of
    `AtariGame`, of `make_classic`, of `ControlTask`, of `GoalAnt` and of `Maze`. Observations that are bytes, as pixels
    are, stay so.

    Args:
        make: makes one environment; called `number` times.
        number: N.

    Raises:
        SettingError: `number` is below 1, `make` gives the same environment twice, the number of seeds is another, or
            (in `step_arrays`) a reward is NaN.

    >>> import gymnasium
    >>> environments = OneByOne(lambda: gymnasium.make("Pendulum-v1"), 2)
    >>> environments.reset(seed=[1, 2])[0].shape
    (2, 3)
    """

    def __init__(self, make: Callable[[], gymnasium.Env[Any, Any]], number: int):
        if number < 1:
            raise SettingError(f"number = {number}: there must be at least one environment.")
        self.envs = [make() for _ in range(number)]
        if len({id(env.unwrapped) for env in self.envs}) < number:
            raise SettingError(
                f"make gave the same {self.envs[0]} more than once, and its steps would mix: make a new one in each "
                "call, such as by lambda: gymnasium.make(...)."
            )
        self.num_envs = number
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self._discrete = type(self.single_action_space).__name__ == "Discrete"
        pixels = getattr(self.single_observation_space, "dtype", None) == np.uint8
        self._dtype: Any = np.uint8 if pixels else np.float64

    def reset(
        self, *, seed: Sequence[int] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """First observations, [N, observations]; `seed` has one entry for each environment."""
        seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise SettingError(f"{len(seeds)} seeds for {self.num_envs} environments: give one for each.")
        first = [
            env.reset(seed=own, options=dict(options) if options else None)[0]
            for env, own in zip(self.envs, seeds, strict=True)
        ]
        return np.asarray(first, dtype=self._dtype), {}

    def step_arrays(self, actions: NDArray[Any]) -> Steps:
        """One step of each; discrete actions are whole numbers, [N]."""
        given = actions.tolist() if self._discrete else actions
        rows = [self._step(env, action) for env, action in zip(self.envs, given, strict=True)]
        return Steps(*map(np.array, zip(*rows, strict=True)))

    def _step(self, env: gymnasium.Env[Any, Any], action: Any) -> Steps:
        final, reward, terminated, truncated, info = env.step(action)
        reward = float(reward)
        if math.isnan(reward):
            raise SettingError(f"{env} gave a reward that is not a number: correct the environment.")
        observation = env.reset()[0] if terminated or truncated else final
        final, observation = np.asarray(final, dtype=self._dtype), np.asarray(observation, dtype=self._dtype)
        ground = info.get("friction")
        return Steps(
            observations=observation,
            rewards=reward,  # type: ignore[arg-type] - one row of the arrays that `step_arrays` makes
            terminations=bool(terminated),  # type: ignore[arg-type]
            truncations=bool(truncated),  # type: ignore[arg-type]
            final_observations=final,
            friction=ground if isinstance(ground, float) else math.nan,  # type: ignore[arg-type]
            unstable=bool(info.get("unstable", False)),  # type: ignore[arg-type]
        )

    def state(self) -> dict[str, Any]:
        """Everything that later steps depend on.

        Raises:
            SettingError: the environments cannot say it, as most of Gymnasium's.
        """
        return {"environments": [save() for save in self._each("saved_state")]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`.

        Raises:
            CheckpointError: it is of another number of environments.
            SettingError: as `state`.
        """
        saved = state["environments"]
        if len(saved) != self.num_envs:
            raise CheckpointError(
                f"the state is of {len(saved)} environments, these are {self.num_envs}: make as many as there were."
            )
        for restore, own in zip(self._each("restore_state"), saved, strict=True):
            restore(own)

    def _each(self, name: str) -> list[Callable[..., Any]]:
        """A method of every environment."""
        found = [getattr(env, name, None) for env in self.envs]
        if any(each is None for each in found):
            env = self.envs[0]
            title = getattr(env.spec, "id", type(env.unwrapped).__name__)
            raise SettingError(
                f"The state of {title} cannot be read, as Gymnasium's environments do not give it: train without "
                "checkpoints, use one of neoteny.envs.ROBOTS through neoteny.envs.MujocoVectorEnv, or give the "
                "environment the methods saved_state() and restore_state(state)."
            )
        return [each for each in found if each is not None]

    def close(self, **kwargs: Any) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()
