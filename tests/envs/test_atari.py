"""Atari's games beside the usual wrappers, frame by frame; lives, time-outs, sticky actions; states are restored."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from neoteny.envs import AtariGame, OneByOne
from neoteny.envs.atari import _package
from neoteny.errors import CheckpointError, DataError, MissingPackageError, SettingError, UnknownNameError
from neoteny.lab import checkpoint

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("ale_py")
pytest.importorskip("cv2")

LONG = {"breakout": "Breakout", "krull": "Krull", "boxing": "Boxing", "crazy_climber": "CrazyClimber"}


def usual(game: str, sticky=0.0, full_actions=False, max_frames=108_000, size=84, **options):
    """The game as Gymnasium's own wrappers show it."""
    env = gymnasium.make(
        f"ALE/{LONG[game]}-v5",
        frameskip=1,
        repeat_action_probability=sticky,
        full_action_space=full_actions,
        max_num_frames_per_episode=max_frames,
        disable_env_checker=True,
    )
    wrapped = gymnasium.wrappers.AtariPreprocessing(env, screen_size=size, **options)
    return gymnasium.wrappers.FrameStackObservation(wrapped, 4)


@pytest.mark.parametrize(
    ("game", "options"),
    [
        ("breakout", {}),
        ("krull", {}),
        ("crazy_climber", {"size": 42, "full_actions": True}),
        ("boxing", {"max_frames": 150}),  # time runs out again and again, also within a step
    ],
)
def test_every_frame_is_that_of_the_usual_wrappers(game, options):
    mine, theirs = AtariGame(game, **options), usual(game, **options)
    assert mine.action_space == theirs.action_space
    assert mine.observation_space == theirs.observation_space
    np.testing.assert_array_equal(mine.reset(seed=7)[0], theirs.reset(seed=7)[0])
    rng, over = np.random.default_rng(0), 0
    for _ in range(220):
        action = rng.integers(mine.action_space.n)
        own, other = mine.step(action), theirs.step(action)
        np.testing.assert_array_equal(own[0], other[0])
        assert own[1:4] == other[1:4]
        if own[2] or own[3]:
            over += 1
            np.testing.assert_array_equal(mine.reset()[0], theirs.reset()[0])
    assert over > 0 or game not in ("breakout", "boxing")


def test_a_lost_life_ends_an_episode_and_the_game_goes_on():
    mine, theirs = AtariGame("breakout", life_loss=True), usual("breakout", terminal_on_life_loss=True)
    np.testing.assert_array_equal(mine.reset(seed=3)[0], theirs.reset(seed=3)[0])
    rng, lives, goes_on = np.random.default_rng(0), [], []
    while len(lives) < 6:
        action = rng.integers(4)
        seen, reward, terminated, truncated, said = mine.step(action)
        if not lives:
            other = theirs.step(action)
            np.testing.assert_array_equal(seen, other[0])
            assert (reward, terminated, truncated) == other[1:4]
        if terminated:
            frame = mine._ale.getEpisodeFrameNumber()
            first, _ = mine.reset()
            assert all((each == first[0]).all() for each in first)
            lives.append(said["lives"])
            goes_on.append(mine._ale.getEpisodeFrameNumber() == frame)
    assert lives == [4, 3, 2, 1, 0, 4]  # five lives, then a new game
    assert goes_on == [True] * 4 + [False, True]


def test_games_begin_with_some_frames_without_an_action():
    def begun(noops, games):
        game = AtariGame("krull", noops=noops)
        return [game.reset(seed=None if number else 0) and game._ale.getEpisodeFrameNumber() for number in range(games)]

    found = set(begun(30, 25))
    assert min(found) >= 1 and max(found) <= 30 and len(found) > 8
    assert begun(0, 2) == [0, 0]


class Heard:
    """An emulator that keeps the actions of its frames."""

    def __init__(self, ale):
        self.ale, self.acts = ale, []

    def __getattr__(self, name):
        return getattr(self.ale, name)

    def act(self, action):
        self.acts.append(int(action))
        return self.ale.act(action)


def test_a_sticky_frame_repeats_the_action_before():
    game = AtariGame("boxing", sticky=0.25, noops=0)
    game.reset(seed=2)
    heard = game._ale = Heard(game._ale)
    given = np.repeat(np.random.default_rng(0).integers(1, 18, 400), 4)  # frames of 400 steps
    for action in given[::4]:
        game.step(action)
    before, acts = np.array([0, *heard.acts[:-1]]), np.array(heard.acts)
    assert ((acts == given) | (acts == before)).all()
    differing = given != before
    assert 0.2 < np.mean(acts[differing] == before[differing]) < 0.3


@pytest.mark.parametrize("number", range(6))
def test_a_restored_game_repeats_its_own_last_action(number):
    game, rng = AtariGame("boxing", sticky=0.5), np.random.default_rng(number)
    game.reset(seed=number)
    for _ in range(10):
        game.step(rng.integers(18))
    state, action = game.saved_state(), rng.integers(18)
    expected = game.step(action)[0]
    other = AtariGame("boxing", sticky=0.5)
    other.reset(seed=99)
    other.step(rng.integers(18))
    other.restore_state(state)
    np.testing.assert_array_equal(other.step(action)[0], expected)


@pytest.mark.parametrize("life_loss", [False, True])
def test_a_restored_state_goes_on_as_it_would_have(life_loss, tmp_path):
    def make():
        return OneByOne(lambda: AtariGame("breakout", life_loss=life_loss, sticky=0.25), 2)

    environments, rng = make(), np.random.default_rng(1)
    environments.reset(seed=[5, 8])
    for _ in range(40):
        environments.step_arrays(rng.integers(4, size=2))
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, environments.state(), {})
    lots = rng.integers(4, size=(150, 2))
    expected = [environments.step_arrays(each) for each in lots]
    assert sum(each.terminations.sum() for each in expected) > 1  # generators are used as well
    again = make()
    again.reset(seed=[1, 1])
    again.load_state(checkpoint.load(path, {}))
    for each, one in zip(lots, expected, strict=True):
        for mine, theirs in zip(again.step_arrays(each), one, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_what_is_refused(monkeypatch, tmp_path):
    with pytest.raises(UnknownNameError, match=r"game of Atari called 'crazyclimber'. Did you mean 'crazy_climber'"):
        AtariGame("crazyclimber")
    with pytest.raises(SettingError, match=r"sticky = 2 is not a number in \[0, 1\]"):
        AtariGame("pong", sticky=2)
    with pytest.raises(SettingError, match="skip = 1 is not a whole number >= 2"):
        AtariGame("pong", skip=1)
    with pytest.raises(SettingError, match="step before reset"):
        AtariGame("pong").step(0)
    with pytest.raises(SettingError, match="saved_state before reset"):
        AtariGame("pong").saved_state()
    with pytest.raises(CheckpointError, match="the state is of pong, this is breakout"):
        AtariGame("breakout").restore_state({"name": "pong"})
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(DataError, match=r"ROM of pong cannot be read .*pong\.bin.*ALE_ROMS_DIR"):
        AtariGame("pong")
    monkeypatch.setitem(sys.modules, "ale_py", None)
    _package.cache_clear()
    with pytest.raises(
        MissingPackageError, match=r"neoteny.envs.AtariGame needs ale_py.* `pip install neoteny\[atari\]`"
    ):
        AtariGame("pong")
    monkeypatch.undo()
    _package.cache_clear()
