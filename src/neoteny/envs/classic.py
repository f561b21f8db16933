"""Gymnasium's classic control problems, whose state can be saved: quick tasks for agents."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import gymnasium

from neoteny.checks import require_at_least_one, require_state_of
from neoteny.errors import SettingError, UnknownNameError

__all__ = ["CLASSIC", "Classic", "make_classic"]

CLASSIC = {
    "CartPole-v1": (4, 2, True),
    "Acrobot-v1": (6, 3, True),
    "MountainCar-v0": (2, 3, True),
    "Pendulum-v1": (3, 1, False),
    "MountainCarContinuous-v0": (2, 1, False),
}
"""How many values each observes, how many actions it has, and whether these are discrete."""
_KEPT = ("state", "last_u", "steps_beyond_terminated")


class Classic(gymnasium.Wrapper):
    """A classic control problem that can say everything that later steps depend on.

    Args:
        env: such as `gymnasium.make("CartPole-v1")`.

    >>> env = make_classic("CartPole-v1")
    >>> _ = env.reset(seed=0)
    >>> state = env.saved_state()
    >>> first = env.step(1)[0]
    >>> env.restore_state(state)
    >>> bool((env.step(1)[0] == first).all())
    True
    """

    def saved_state(self) -> dict[str, Any]:
        """What `restore_state` takes.

        Raises:
            SettingError: the environment was not reset.
        """
        inner: Any = self.unwrapped
        if getattr(inner, "state", None) is None:
            raise SettingError("saved_state before reset: call reset() first.")
        kept = {name: copy.deepcopy(getattr(inner, name)) for name in _KEPT if hasattr(inner, name)}
        generator = inner.np_random.bit_generator.state
        return {"name": self._name, **kept, "elapsed": self._limit._elapsed_steps, "generator": generator}

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `saved_state()`.

        Raises:
            CheckpointError: the state is of another problem.
        """
        require_state_of(state, self._name)
        inner: Any = self.unwrapped
        self.reset(seed=0)
        for name in _KEPT:
            if name in state:
                setattr(inner, name, copy.deepcopy(state[name]))
        self._limit._elapsed_steps = state["elapsed"]
        inner.np_random.bit_generator.state = state["generator"]

    @property
    def _name(self) -> str:
        return self.spec.id if self.spec else type(self.unwrapped).__name__

    @property
    def _limit(self) -> Any:
        """The wrapper that counts the steps of an episode."""
        env: Any = self.env
        while not isinstance(env, gymnasium.wrappers.TimeLimit):
            env = env.env
        return env


def make_classic(name: str, max_episode_steps: int | None = None) -> Classic:
    """A classic control problem.

    Args:
        name: one of `CLASSIC`.
        max_episode_steps: where episodes are cut off, by default where Gymnasium does.

    Raises:
        UnknownNameError: another environment.
        SettingError: a length below 1.

    >>> make_classic("Pendulum-v1").reset(seed=0)[0].shape
    (3,)
    """
    if name not in CLASSIC:
        raise UnknownNameError(name, CLASSIC, "classic control problem")
    require_at_least_one(none=True, max_episode_steps=max_episode_steps)
    options = {"max_episode_steps": max_episode_steps, "render_mode": "rgb_array", "disable_env_checker": True}
    return Classic(gymnasium.make(name, **options))
