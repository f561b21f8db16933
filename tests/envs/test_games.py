"""MinAtar's games against the package's own environment; states that are saved and restored; what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from neoteny.envs import MinAtarGame, OneByOne, make_classic
from neoteny.envs.classic import CLASSIC
from neoteny.envs.minatar import GAMES
from neoteny.errors import CheckpointError, SettingError, UnknownNameError
from neoteny.lab import checkpoint

minatar = pytest.importorskip("minatar")


@pytest.mark.parametrize("name", GAMES)
def test_a_game_is_the_packages(name):
    game, theirs = MinAtarGame(name), minatar.Environment(name)
    observation, _ = game.reset(seed=3)
    theirs.seed(3)
    theirs.reset()
    actions = theirs.minimal_action_set()
    assert game.action_space.n == len(actions) == GAMES[name][1]
    rng, over = np.random.default_rng(0), 0
    for _ in range(600):
        chosen = int(rng.integers(len(actions)))
        observation, reward, ended, cut, _ = game.step(chosen)
        assert (reward, ended) == theirs.act(actions[chosen]) and not cut
        np.testing.assert_array_equal(observation.reshape(-1, 10, 10).transpose(1, 2, 0), theirs.state())
        if ended:
            game.reset(), theirs.reset()
            over += 1
    assert over > 1 or name == "freeway"


def makers():
    return {
        **{name: (lambda name=name: MinAtarGame(name)) for name in GAMES},
        **{name: (lambda name=name: make_classic(name)) for name in CLASSIC},
    }


@pytest.mark.parametrize("name", makers())
def test_a_restored_state_goes_on_as_it_would_have(name, tmp_path):
    make = makers()[name]
    environments, rng = OneByOne(make, 2), np.random.default_rng(1)
    environments.reset(seed=[5, 8])
    space = environments.single_action_space

    def lot():
        discrete = hasattr(space, "n")
        return rng.integers(space.n, size=2) if discrete else rng.uniform(-1, 1, (2, 1)).astype(np.float32)

    for _ in range(130):
        environments.step_arrays(lot())
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, environments.state(), {})
    lots = [lot() for _ in range(150)]
    expected = [environments.step_arrays(each) for each in lots]
    again = OneByOne(make, 2)
    again.reset(seed=[1, 1])
    again.load_state(checkpoint.load(path, {}))
    for each, one in zip(lots, expected, strict=True):
        for mine, theirs in zip(again.step_arrays(each), one, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_seeded_game_depends_on_its_seed_alone():
    game = MinAtarGame("breakout", sticky=1.0)
    firsts = []
    for action in (1, 2):
        game.reset(seed=0)
        game._last = game._actions[action]  # what a game before has left
        game.reset(seed=0)
        firsts.append(game.step(0)[0])
    np.testing.assert_array_equal(*firsts)


def test_what_is_refused():
    with pytest.raises(UnknownNameError, match="game of MinAtar.* 'pong'"):
        MinAtarGame("pong")
    with pytest.raises(SettingError, match=r"sticky = 2 is not a number in \[0, 1\]"):
        MinAtarGame("breakout", sticky=2)
    with pytest.raises(SettingError, match="step before reset"):
        MinAtarGame("breakout").step(0)
    with pytest.raises(SettingError, match="saved_state before reset"):
        MinAtarGame("breakout").saved_state()
    with pytest.raises(SettingError, match="saved_state before reset"):
        make_classic("CartPole-v1").saved_state()
    with pytest.raises(UnknownNameError, match="classic control problem"):
        make_classic("Ant-v5")
    for make in (
        lambda steps: MinAtarGame("breakout", max_episode_steps=steps),
        lambda s: make_classic("Acrobot-v1", s),
    ):
        for steps in (0, -1):  # Gymnasium takes -1 for no limit, and then a state could not be saved
            with pytest.raises(SettingError, match=f"max_episode_steps = {steps}: it must be a whole number"):
                make(steps)
    game = make_classic("CartPole-v1")
    with pytest.raises(SettingError, match=r"make gave the same <Classic.*CartPole-v1.* more than once"):
        OneByOne(lambda: game, 2)
    game.reset(seed=0)
    with pytest.raises(CheckpointError, match="the state is of CartPole-v1, this is Acrobot-v1"):
        make_classic("Acrobot-v1").restore_state(game.saved_state())
    one = OneByOne(lambda: MinAtarGame("breakout"), 1)
    one.reset(seed=[0])
    with pytest.raises(CheckpointError, match="of 1 environments, these are 2"):
        OneByOne(lambda: MinAtarGame("breakout"), 2).load_state(one.state())
    with pytest.raises(CheckpointError, match="the state is of breakout, this is freeway"):
        OneByOne(lambda: MinAtarGame("freeway"), 1).load_state(one.state())
