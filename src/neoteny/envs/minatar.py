"""MinAtar's five games as Gymnasium environments whose state can be saved.

The games are those of the package MinAtar. Of it only the rules of the games are loaded: its own module imports
plotting packages and complains where they are missing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from neoteny.checks import require_at_least_one, require_state_of
from neoteny.errors import MissingPackageError, SettingError, UnknownNameError

__all__ = ["GAMES", "MinAtarGame"]

GAMES = {
    "asterix": (4, 5),
    "breakout": (4, 3),
    "freeway": (7, 3),
    "seaquest": (10, 6),
    "space_invaders": (6, 4),
}
"""How many kinds of objects each game shows, and how many actions do something in it."""
SIDE = 10
COLOURS = np.array(
    [
        [86, 180, 233],
        [230, 159, 0],
        [0, 158, 115],
        [240, 228, 66],
        [213, 94, 0],
        [204, 121, 167],
        [0, 114, 178],
        [255, 255, 255],
        [150, 150, 150],
        [120, 80, 40],
    ],
    dtype=np.uint8,
)
"""Of kinds of objects: those of Okabe and Ito, which colour-blind people tell apart, and three more."""


@cache
def _rules(game: str) -> Any:
    """The module of a game."""
    found = find_spec("minatar")
    if found is None or not found.submodule_search_locations:
        raise MissingPackageError(
            "neoteny.envs.MinAtarGame needs MinAtar: install the packages of reinforcement learning with "
            "`pip install neoteny[rl]`."
        )
    path = Path(next(iter(found.submodule_search_locations))) / "environments" / f"{game}.py"
    spec = spec_from_file_location(f"minatar.environments.{game}", path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class MinAtarGame(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A game of MinAtar, with the actions that do something in it.

    It observes a 10x10 grid for each kind of object, one after the other, 1 where there is such an object. With a
    probability the action before is repeated in place of the one that is given. Episodes end when the game does.

    Args:
        game: one of `GAMES`.
        sticky: that probability.
        ramping: whether games become harder.
        max_episode_steps: frames after which a game is cut off; by default none.

    Raises:
        UnknownNameError: another game.
        SettingError: a probability outside [0, 1], a length below 1, a step before the reset.
        MissingPackageError: MinAtar is not installed.

    >>> game = MinAtarGame("breakout")
    >>> game.reset(seed=0)[0].shape, game.action_space
    ((400,), Discrete(3))

    Source: Young & Tian, "MinAtar: an Atari-inspired testbed", arXiv 1903.03176, 2019.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 - as Gymnasium has it
    render_mode = "rgb_array"

    def __init__(self, game: str, sticky: float = 0.1, ramping: bool = True, max_episode_steps: int | None = None):
        if game not in GAMES:
            raise UnknownNameError(game, GAMES, "game of MinAtar")
        if not 0 <= sticky <= 1:
            raise SettingError(f"sticky = {sticky!r} is not a number in [0, 1]; 0.1 is usual.")
        require_at_least_one(none=True, max_episode_steps=max_episode_steps)
        self.game, self._sticky = game, sticky
        self._env = _rules(game).Env(ramping=ramping)
        self._actions: list[int] = list(self._env.minimal_action_set())
        self._last, self._random, self._elapsed, self._limit = 0, None, 0, max_episode_steps
        size = GAMES[game][0] * SIDE**2
        self.observation_space = gymnasium.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a game; without a seed the generator goes on."""
        super().reset(seed=seed)  # the generator that wrappers draw from
        if seed is not None or self._random is None:
            self._random = self._env.random = np.random.RandomState(seed)
            self._last = 0
        self._env.reset()
        self._elapsed = 0
        return self._seen(), {}

    def step(self, action: int | np.int64) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One frame."""
        if self._random is None:
            raise SettingError("step before reset: call reset() first.")
        chosen = self._actions[int(action)]
        if self._random.rand() < self._sticky:
            chosen = self._last
        self._last = chosen
        reward, over = self._env.act(chosen)
        self._elapsed += 1
        cut = self._limit is not None and self._elapsed >= self._limit
        return self._seen(), float(reward), bool(over), cut, {}

    def _seen(self) -> NDArray[np.float32]:
        return self._env.state().transpose(2, 0, 1).reshape(-1).astype(np.float32)

    def render(self) -> NDArray[np.uint8]:
        """The grid in colour, [10, 10, 3]: a colour for each kind of object, of several in a cell the last one's."""
        seen = self._env.state()
        kinds = seen.shape[-1]
        last = kinds - 1 - seen[..., ::-1].argmax(-1)
        return np.where(seen.any(-1)[..., None], COLOURS[last], np.uint8(0))

    def saved_state(self) -> dict[str, Any]:
        """Everything that later steps depend on, in plain values and arrays.

        Raises:
            SettingError: the game was not reset.
        """
        if self._random is None:
            raise SettingError("saved_state before reset: call reset() first.")
        kind, words, *rest = self._random.get_state()
        return {
            "name": self.game,
            "game": {name: _plain(value) for name, value in vars(self._env).items() if name != "random"},
            "last": self._last,
            "elapsed": self._elapsed,
            "generator": [kind, np.asarray(words), *rest],
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `saved_state()`.

        Raises:
            CheckpointError: the state is of another game.
        """
        require_state_of(state, self.game)
        self._random = self._env.random = np.random.RandomState(0)
        self._random.set_state(tuple(state["generator"]))
        for name, value in state["game"].items():
            setattr(self._env, name, copy.deepcopy(value))
        self._last, self._elapsed = int(state["last"]), int(state["elapsed"])


def _plain(value: Any) -> Any:
    """A copy in lists, numbers and arrays: some games keep NumPy's numbers in lists."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if isinstance(value, np.generic) else copy.deepcopy(value)
