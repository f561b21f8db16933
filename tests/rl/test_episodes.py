"""Episodes of what is no robot: games, mazes and problems that draw themselves."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from neoteny import lab
from neoteny.cli.main import main
from neoteny.envs import AtariGame, ControlTask, MinAtarGame
from neoteny.errors import MissingPackageError, SettingError
from neoteny.rl import Episode, load_policy, record
from neoteny.rl.episode import Screen

TINY = {"scale": "tiny", "runs": 1, "compile": False, "progress": False}


@pytest.fixture(scope="module")
def atari(tmp_path_factory) -> lab.RunStack:
    return lab.run("atari-100k", out=tmp_path_factory.mktemp("runs"), **TINY)


def test_an_episode_of_atari_is_a_game(atari):
    problem, policy = atari.config.problem, load_policy(atari.folder)
    episode = Episode(policy, seed=3, steps=12)
    screens = [game.render().copy() for game in episode]
    game = AtariGame(problem.game, size=problem.size, max_frames=4 * problem.max_episode_steps)
    observation, _ = game.reset(seed=3)
    total, wanted, cut = 0.0, [game.render()], False
    while not cut:  # after 60 frames, some of them without an action
        observation, reward, _, cut, _ = game.step(int(policy(observation).item()))
        total += reward
        wanted.append(game.render())
    assert 0 < episode.length < 12
    assert not episode.over
    assert episode.total == total
    np.testing.assert_array_equal(screens, wanted)
    assert episode.rate == 15


def test_a_run_of_atari_is_filmed(atari, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["watch", str(atari.folder), "--steps", "4", "--out", "game.gif"]) == 0
    assert "in 4 steps" in capsys.readouterr().out
    with Image.open("game.gif") as image:
        assert image.size == (320, 420)  # twice the game's own
    assert main(["watch", str(atari.folder), "--friction", "0.5"]) == 2
    assert "nothing slips" in capsys.readouterr().err


def test_a_grid_has_a_colour_for_each_kind_of_object():
    game = MinAtarGame("seaquest", sticky=0.0)
    observation, _ = game.reset(seed=0)
    for action in (3, 3, 2, 5, 1, 4, 5):
        observation, *_ = game.step(action)
    kinds, picture = observation.reshape(10, 10, 10), game.render()
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture.any(-1), kinds.any(0))
    for place in zip(*np.nonzero(kinds.any(0)), strict=True):
        alone = [kind for kind in range(10) if kinds[kind][place]]
        if len(alone) == 1:  # everywhere that kind is alone it has this colour
            others = (kinds.sum(0) == 1) & (kinds[alone[0]] == 1)
            assert (picture[others] == picture[place]).all()
    assert len({tuple(colour) for colour in picture.reshape(-1, 3)}) > 3
    assert Screen()(game).shape == (480, 480, 3)
    np.testing.assert_array_equal(Screen((10, 20))(game), picture.repeat(2, axis=0))


def test_what_has_a_simulation_is_drawn_by_the_camera(tmp_path):
    run = lab.run("offline-to-online", method="backprop", out=tmp_path, **TINY)
    shown = []

    class Camera:
        def __init__(self, model, width, height):
            self.shape = (height, width, 3)

        def __call__(self, data):
            shown.append(data.qpos.copy())
            return np.zeros(self.shape, np.uint8)

        def close(self):
            pass

    made = record(run.folder, tmp_path / "maze.gif", steps=5, camera=Camera)
    assert made.length == 5
    assert len(shown) == 2  # of 100 steps a second every third
    assert not (shown[0] == shown[-1]).all()


@pytest.mark.skipif(find_spec("pygame") is not None, reason="with pygame classic problems are drawn")
def test_a_problem_that_needs_a_package_to_draw_itself_says_which(tmp_path):
    run = lab.run("stream-control", out=tmp_path, **TINY)
    with pytest.raises(MissingPackageError, match="pygame"):
        record(run.folder, tmp_path / "it.gif", steps=2)


def test_an_environment_without_pictures_is_refused(atari, monkeypatch):
    monkeypatch.setattr(AtariGame, "metadata", {})
    with pytest.raises(SettingError, match=r"atari-100k-v1 cannot be shown.*draws no pictures"):
        Episode(load_policy(atari.folder))


def test_a_task_of_the_suite_says_how_fast_it_is():
    assert ControlTask("cheetah-run").metadata["render_fps"] == pytest.approx(100)
    assert ControlTask("cheetah-run", action_repeat=4).metadata["render_fps"] == pytest.approx(25)
