"""Atari's games as Gymnasium environments whose state can be saved, seen as agents usually see them.

The emulator is that of the package ale-py, which brings the games along. What is made of its pictures is what
`gymnasium.wrappers.AtariPreprocessing` and `FrameStackObservation` make of them, to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from numpy.typing import NDArray

from neoteny.checks import require_state_of
from neoteny.errors import DataError, MissingPackageError, SettingError, UnknownNameError

__all__ = ["AtariGame", "atari_games"]

FRAMES_A_SECOND = 60


@cache
def _package(name: str) -> Any:
    try:
        found = import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"neoteny.envs.AtariGame needs {name} ({error}): install the packages of Atari's games with "
            "`pip install neoteny[atari]`."
        ) from error
    if name == "ale_py":
        found.ALEInterface.setLoggerMode(found.LoggerMode.Error)
    return found


def atari_games() -> tuple[str, ...]:
    """The names of all games.

    Raises:
        MissingPackageError: ale-py is not installed.

    >>> "crazy_climber" in atari_games()
    True
    """
    return tuple(sorted(_package("ale_py.roms").get_all_rom_ids()))


def _rom(game: str) -> Any:
    """Where a game lies."""
    if game not in atari_games():
        raise UnknownNameError(game, atari_games(), "game of Atari")
    try:
        return _package("ale_py.roms").get_rom_path(game)
    except OSError as error:
        raise DataError(
            f"the ROM of {game} cannot be read ({error}): install ale-py again, which has all games, or correct "
            "ALE_ROMS_DIR where it is set."
        ) from error


class AtariGame(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """A game of Atari in grey, a few frames a step.

    An action is held for `skip` frames. The picture is the brighter of the last two of them, pixel by pixel (things
    flicker), made smaller by averaging areas. An observation is the last `stack` pictures, the newest one last; before
    there are so many in an episode its first one stands in for those that are missing.

    A game begins with 1 to `noops` frames without an action. Where `life_loss` is set, an episode ends with a life, and
    the next one goes on in the same game; a game that is over begins anew. Time-outs are counted from the beginning of
    the game. Rewards are the game's own: agents clip them by `reward_clip`, so that returns stay those of the game.

    Args:
        game: one of `atari_games`.
        life_loss: whether losing a life ends an episode, as in training.
        sticky: the probability with which a frame repeats the last action in place of the one given; 0 in Atari-100k.
        full_actions: whether all 18 actions can be chosen, not only those that do something in the game.
        size: side of a picture.
        stack: pictures in an observation.
        skip: frames in a step.
        noops: the greatest number of frames without an action in the beginning.
        max_frames: frames after which a game is cut off.

    Raises:
        UnknownNameError: there is no such game.
        SettingError: a probability outside [0, 1], a number that is too small, a step before the reset.
        DataError: the game's ROM is missing or was changed.
        MissingPackageError: ale-py or OpenCV is not installed.

    >>> game = AtariGame("breakout")
    >>> game.reset(seed=0)[0].shape, game.action_space
    ((4, 84, 84), Discrete(4))

    Source: Machado et al., "Revisiting the arcade learning environment", JAIR 61, 2018; Mnih et al., Nature 518, 2015,
    Methods. That lives go on in the same game is as in Dopamine.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - as Gymnasium has it
    render_mode = "rgb_array"

    def __init__(
        self,
        game: str,
        life_loss: bool = False,
        sticky: float = 0.0,
        full_actions: bool = False,
        *,
        size: int = 84,
        stack: int = 4,
        skip: int = 4,
        noops: int = 30,
        max_frames: int = 108_000,
    ):
        if not 0 <= sticky <= 1:
            raise SettingError(f"sticky = {sticky!r} is not a number in [0, 1]; 0.25 is usual, 0 in Atari-100k.")
        least = {"size": (size, 1), "stack": (stack, 1), "skip": (skip, 2), "noops": (noops, 0)}
        for name, (value, bound) in {**least, "max_frames": (max_frames, skip)}.items():
            if not isinstance(value, int) or value < bound:
                raise SettingError(f"{name} = {value!r} is not a whole number >= {bound}; give one.")
        ale = _package("ale_py")
        self.game, self._path, self._resize = game, _rom(game), _package("cv2")
        self._life_loss, self._size, self._skip, self._noops = life_loss, size, skip, noops
        self._ale = ale.ALEInterface()
        self._ale.setFloat("repeat_action_probability", 0.0)  # drawn here: the emulator does not save its last action
        self._sticky, self._last = sticky, 0
        self._ale.setInt("max_num_frames_per_episode", max_frames)
        self._ale.loadROM(self._path)
        self._state = ale.ALEState
        self.metadata = {**self.metadata, "render_fps": FRAMES_A_SECOND / skip}
        self._actions = self._ale.getLegalActionSet() if full_actions else self._ale.getMinimalActionSet()
        self._screens = np.zeros((2, *self._ale.getScreenDims()), dtype=np.uint8)
        self._seen = np.zeros((stack, size, size), dtype=np.uint8)
        self._lives, self._goes_on, self._random = 0, False, None
        self.observation_space = gymnasium.spaces.Box(0, 255, self._seen.shape, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self._actions))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Begin an episode: a game, or after a lost life the next one of it, unless a seed is given."""
        super().reset(seed=seed)  # the generator that wrappers draw from
        if seed is not None or not self._goes_on:
            self._begin(seed)
        self._goes_on = False
        self._seen = np.repeat(self._picture()[None], len(self._seen), axis=0)
        return self._seen, {"lives": self._lives}

    def _begin(self, seed: int | None) -> None:
        """Begin a game, with frames without an action; the generators begin as those of `ale_py.env.AtariEnv` do."""
        if seed is not None or self._random is None:
            own, theirs = np.random.SeedSequence(seed).generate_state(2)
            self._random = seeding.np_random(int(own))[0]
            self._ale.setInt("random_seed", int(theirs.astype(np.int32)))
            self._ale.loadROM(self._path)
        self._ale.reset_game()
        self._last = 0
        for _ in range(self._random.integers(1, self._noops + 1) if self._noops else 0):
            self._ale.act(0)
            if self._ale.game_over():
                self._ale.reset_game()
        self._show()

    def _show(self) -> None:
        """The emulator's picture alone is the first of an episode."""
        self._lives = self._ale.lives()
        self._ale.getScreenGrayscale(self._screens[0])
        self._screens[1] = 0

    def _picture(self) -> NDArray[np.uint8]:
        np.maximum(*self._screens, out=self._screens[0])
        side = (self._size, self._size)
        return self._resize.resize(self._screens[0], side, interpolation=self._resize.INTER_AREA)

    def step(self, action: int | np.int64) -> tuple[NDArray[np.uint8], float, bool, bool, dict[str, Any]]:
        """Hold an action for some frames, at most to the end of the episode."""
        if self._random is None:
            raise SettingError("step before reset: call reset() first.")
        ale, chosen, reward = self._ale, self._actions[int(action)].value, 0.0
        lost = over = cut = False
        for frame in range(self._skip):
            if not self._sticky or self._random.random() >= self._sticky:
                self._last = chosen
            reward += ale.act(self._last)
            lives = ale.lives()
            lost, self._lives = self._life_loss and lives < self._lives, lives
            over, cut = ale.game_over(with_truncation=False), ale.game_truncated()
            if over or cut or lost:
                break
            if frame >= self._skip - 2:
                ale.getScreenGrayscale(self._screens[self._skip - 1 - frame])
        self._seen = np.concatenate([self._seen[1:], self._picture()[None]])
        self._goes_on = lost and not (over or cut)
        if self._goes_on:
            self._show()  # now: a state that is restored does not show its picture
        return self._seen, reward, over or lost, cut, {"lives": self._lives}

    def render(self) -> NDArray[np.uint8]:
        """The screen in colour, [210, 160, 3]."""
        return self._ale.getScreenRGB()

    def saved_state(self) -> dict[str, Any]:
        """Everything that later steps depend on, in plain values and arrays; the emulator's generator as well.

        Raises:
            SettingError: the game was not reset.
        """
        if self._random is None:
            raise SettingError("saved_state before reset: call reset() first.")
        return {
            "name": self.game,
            "emulator": np.frombuffer(self._ale.cloneState(include_rng=True).serialize(), dtype=np.uint8),
            "screens": self._screens.copy(),
            "seen": self._seen.copy(),
            "lives": self._lives,
            "goes_on": self._goes_on,
            "last": self._last,
            "generator": self._random.bit_generator.state,
        }

    def restore_state(self, state: Mapping[str, Any]) -> None:
        """Continue from `saved_state()`.

        Raises:
            CheckpointError: the state is of another game.
        """
        require_state_of(state, self.game)
        self._ale.restoreState(self._state(np.asarray(state["emulator"]).tobytes()))
        self._screens, self._seen = np.array(state["screens"]), np.array(state["seen"])
        self._lives, self._goes_on = int(state["lives"]), bool(state["goes_on"])
        self._last = int(state.get("last", 0))  # earlier versions had none
        self._random = np.random.default_rng(0)
        self._random.bit_generator.state = state["generator"]
