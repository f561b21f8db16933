from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from functools import partial
from types import ModuleType

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

from neoteny import lab
from neoteny.benchmarks.ant import HopperLocomotion
from neoteny.benchmarks.slippery_ant import SlipperyAnt
from neoteny.cli.main import main
from neoteny.envs import ConstantFriction, Slippery, camera
from neoteny.envs.camera import Camera, backend
from neoteny.errors import MissingPackageError, RunFolderError, SettingError
from neoteny.lab import checkpoint
from neoteny.rl import Episode, episode, load_policy, record, watching
from neoteny.rl.filming import film, kind
from neoteny.rl.normalise import ObservationNorm
from neoteny.rl.watching import LoadedPolicy

TINY = {"scale": "tiny", "runs": 2, "compile": False, "progress": False}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> lab.RunStack:
    return lab.run("slippery-ant", method="l2", out=tmp_path_factory.mktemp("runs"), seed=5, **TINY)


class StandIn:
    """A camera that draws where the robot is, as a grey."""

    made = 0

    def __init__(self, model, width: int, height: int):
        self.shape, self.closed = (height, width, 3), False
        StandIn.made += 1

    def __call__(self, data) -> np.ndarray:
        return np.full(self.shape, int(100 * data.qpos[2]) % 256, np.uint8)

    def close(self) -> None:
        self.closed = True


def means(run: lab.RunStack, agent: int, states: np.ndarray) -> np.ndarray:
    weights = {name: value[agent].double().numpy() for name, value in run.final_weights().items()}
    for layer in (0, 2, 4):
        states = states @ weights[f"actor.layers.{layer}.weight"].T + weights[f"actor.layers.{layer}.bias"]
        states = np.maximum(states, 0) if layer < 4 else states
    return states


def test_the_policy_is_the_agents(run):
    states = np.random.default_rng(0).normal(size=(7, 27))
    before = torch.get_rng_state()
    for agent in (0, 1):
        policy = load_policy(run.folder, agent)
        np.testing.assert_allclose(policy(states), means(run, agent, states), atol=1e-6)
        np.testing.assert_allclose(policy(states[3]), policy(states)[3], atol=1e-6)
        assert (policy.agent, policy.seed, policy.step) == (agent, run.config.seeds[agent], 1_024)
        assert policy(states[0]).dtype == np.float32
    assert load_policy(run.folder, np.int64(1)).agent == 1  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(SettingError, match=r"\(105,\).*27"):
        load_policy(run.folder)(np.zeros(105))


def test_the_ground_is_that_of_the_checkpoint(run):
    for agent in (0, 1):
        rows = run.metrics.filter(metric="friction", run=agent).sort("step")["value"]
        assert load_policy(run.folder, agent).friction == pytest.approx(rows[-1], rel=1e-12)


def test_sampled_actions_have_the_policys_spread(run):
    state = np.linspace(-1, 1, 27)
    drawn = load_policy(run.folder, sampled=True, seed=3)(np.tile(state, (20_000, 1)))
    spread = run.final_weights()["log_std"][0].exp().numpy()
    np.testing.assert_allclose(drawn.mean(0), means(run, 0, state), atol=4 * spread.max() / np.sqrt(20_000))
    np.testing.assert_allclose(drawn.std(0), spread, rtol=0.03)
    again = load_policy(run.folder, sampled=True, seed=3)
    assert (again(np.tile(state, (20_000, 1))) == drawn).all()
    assert not (load_policy(run.folder, sampled=True, seed=4)(state) == again(state)).all()


def test_observations_are_normalised_and_actions_clipped_as_in_training(run):
    tensors = {name: 3 * value[:1] for name, value in run.final_weights().items()}
    problem = replace(run.config.problem, clip_actions=True)
    norm = ObservationNorm(1, 27)
    rng = np.random.default_rng(1)
    for _ in range(5):
        norm(rng.normal(2.0, 3.0, (1, 10, 27)))
    policy = LoadedPolicy(problem, tensors, agent=0, seed=0, step=0, see=partial(norm, learn=False))
    plain = LoadedPolicy(replace(problem, clip_actions=False), tensors, agent=0, seed=0, step=0)
    states = rng.normal(2.0, 3.0, (50, 27))
    mean, variance = norm.moments.mean, norm.moments.variance
    wanted = plain((states - mean) / np.sqrt(variance + 1e-8))
    assert (np.abs(wanted) > 1).any()
    np.testing.assert_allclose(policy(states), np.clip(wanted, -1, 1), atol=1e-5)
    assert norm.moments.count == 50  # looking on teaches nothing


def test_an_unfinished_run_can_be_watched(tmp_path):
    def stop(progress):
        if progress.examples >= 512:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.run(
            "ant", out=tmp_path, **TINY | {"progress": stop}, checkpoint_every=0.0,
            settings={"task_length": 100_000},
        )  # fmt: skip
    policy = load_policy(next(tmp_path.glob("ant-v1/*")))
    assert 0 < policy.step < 100_000
    assert policy.friction is None


def test_what_cannot_be_watched_is_said(run, tmp_path):
    with pytest.raises(SettingError, match=r"agent = 2.*from 0 to 1"):
        load_policy(run.folder, 2)
    with pytest.raises(SettingError, match="agent = -1"):
        load_policy(run.folder, -1)
    with pytest.raises(RunFolderError, match="no run folder"):
        load_policy(tmp_path / "none")
    other = lab.run("slowly-changing-regression", out=tmp_path, **TINY)
    with pytest.raises(SettingError, match=r"slowly-changing-regression-v1.*has no agents"):
        load_policy(other.folder)
    slim = tmp_path / "slim"
    slim.mkdir()
    shutil.copy(run.folder / "config.yaml", slim)
    with pytest.raises(RunFolderError, match="no checkpoint"):
        load_policy(slim)
    state = checkpoint.load(run.folder / "checkpoint.pt", run.config.to_dict())
    state["agents"]["learner"]["carry"]["tensors"]["log_std"][1, 0] = torch.nan
    checkpoint.save(slim / "checkpoint.pt", state, run.config.to_dict())
    assert load_policy(slim, 0).agent == 0
    with pytest.raises(SettingError, match="agent 1 .*no longer finite"):
        load_policy(slim, 1)


def test_an_episode_is_gymnasiums(run):
    policy = load_policy(run.folder, 1)
    episode = Episode(policy, seed=8, friction=0.3, steps=40)
    heights = [float(data.qpos[2]) for data in episode]
    assert len(heights) == episode.length + 1
    assert (episode.model.geom_friction[:, 0] == 0.3).all()
    env = Slippery(
        gymnasium.make("Ant-v5", include_cfrc_ext_in_observation=False, contact_cost_weight=0.0), ConstantFriction(0.3)
    )
    observation, _ = env.reset(seed=8)
    total, seen = 0.0, [float(env.unwrapped.data.qpos[2])]
    for _ in range(episode.length):
        observation, reward, terminated, _, _ = env.step(policy(observation))
        total += float(reward)
        seen.append(float(env.unwrapped.data.qpos[2]))
    assert (heights, episode.total) == (seen, total)
    assert episode.over == terminated
    assert episode.length == 40 or terminated
    first = episode.total
    assert [float(data.qpos[2]) for data in episode] == heights  # played anew, the same
    assert episode.total == first
    assert Episode(policy, steps=5).friction == policy.friction


def test_an_episode_of_ones_own_policy_ends_with_a_fall():
    episode = Episode(lambda observation: np.zeros(3, np.float32), problem=HopperLocomotion())
    for _ in episode:
        pass
    assert episode.over
    assert 1 < episode.length < 1_000
    assert episode.friction is None
    with pytest.raises(SettingError, match="give problem"):
        Episode(lambda observation: np.zeros(3, np.float32))
    with pytest.raises(SettingError, match="steps = 0"):
        Episode(lambda observation: np.zeros(3, np.float32), problem=HopperLocomotion(), steps=0)
    with pytest.raises(SettingError, match=r"-1"):
        Episode(lambda observation: np.zeros(8, np.float32), problem=SlipperyAnt(), friction=-1)


def test_a_film_has_every_picture(run, tmp_path):
    steps: list[int] = []
    made = record(
        run.folder, tmp_path / "there" / "it.gif", size=(32, 16), steps=12, friction=1.0, camera=StandIn,
        notify=steps.append,
    )  # fmt: skip
    assert made.path == tmp_path / "there" / "it.gif"
    assert (made.length, made.friction, made.policy.agent) == (sum(steps), 1.0, 0)
    played = Episode(load_policy(run.folder), friction=1.0, steps=12)
    heights = [float(data.qpos[2]) for data in played]
    assert (made.length, made.total, made.over) == (played.length, played.total, played.over)
    with Image.open(made.path) as image:
        assert image.size == (32, 16)
        shown, seconds = [], 0.0
        for place in range(image.n_frames):  # equal neighbours are one that lasts longer
            image.seek(place)
            grey = image.convert("RGB").getpixel((5, 5))
            shown += [grey] * round(image.info["duration"] / 50)
            seconds += image.info["duration"] / 1000
    assert seconds == pytest.approx((made.length + 1) / 20)
    wanted = [int(100 * height) % 256 for height in heights]
    assert [abs(shown[0][0] - wanted[0]) <= 1, len(shown)] == [True, len(wanted)]


def test_fast_robots_are_filmed_at_fewer_pictures(tmp_path):
    """125 steps a second: every fourth is drawn."""
    hopper = lab.run("hopper", out=tmp_path, **TINY | {"runs": 1}, settings={"task_length": 128, "bin_size": 128})
    drawn: list[int] = []

    class Counting(StandIn):
        def __call__(self, data):
            drawn.append(round(float(data.time) / 0.008))
            return super().__call__(data)

    made = record(hopper.folder, tmp_path / "h.gif", steps=10, size=(16, 16), camera=Counting)
    assert drawn == list(range(0, made.length + 1, 4))


def test_a_film_that_fails_leaves_nothing(run, tmp_path):
    class Failing(StandIn):
        def __call__(self, data):
            if data.time > 0.2:
                raise RuntimeError("no more")
            return super().__call__(data)

    with pytest.raises(RuntimeError, match="no more"):
        record(run.folder, tmp_path / "it.gif", size=(16, 16), camera=Failing, friction=1.0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match=r"file.it\.gif cannot be written .*give another place"):
        record(run.folder, tmp_path / "file" / "it.gif", size=(16, 16), camera=StandIn)
    with pytest.raises(SettingError, match=r"\.avi.*\.mp4"):
        record(run.folder, tmp_path / "it.avi", camera=StandIn)
    with pytest.raises(SettingError, match="from 16 to 4096"):
        record(run.folder, tmp_path / "it.gif", size=(5, 480), camera=StandIn)


def test_an_mp4_where_it_can_be_written(tmp_path, monkeypatch):
    pictures = [np.full((17, 33, 3), grey, np.uint8) for grey in (0, 128, 255)]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    assert kind() == ".gif"
    with pytest.raises(MissingPackageError, match="pip install imageio-ffmpeg"):
        film(tmp_path / "it.mp4", pictures, 20)
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", ModuleType("imageio_ffmpeg"))
    assert kind() == ".mp4"
    monkeypatch.delitem(sys.modules, "imageio_ffmpeg")
    ffmpeg = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed: no MP4")
    film(tmp_path / "it.mp4", pictures, 20)
    assert ffmpeg.count_frames_and_secs(str(tmp_path / "it.mp4")) == (3, pytest.approx(0.15, abs=0.06))


def test_without_opengl_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setattr(camera, "_PROBE", "raise ImportError('no {name} here')")
    camera._first.cache_clear()
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    try:
        with pytest.raises(MissingPackageError, match=r"egl: .*no egl here.*osmesa: .*apt-get install libegl1"):
            backend()
        monkeypatch.setenv("MUJOCO_GL", "osmesa")
        with pytest.raises(MissingPackageError, match=r"found here \(osmesa: [^;]*\)"):
            backend()
        monkeypatch.setattr(camera, "_PROBE", "assert '{name}' == 'osmesa'")
        camera._first.cache_clear()
        monkeypatch.delenv("MUJOCO_GL")
        assert backend() == "osmesa"  # the second, where the first does not work
    finally:
        camera._first.cache_clear()


def test_the_camera_sees_the_robot(run):
    try:
        backend()
    except MissingPackageError as error:
        pytest.skip(str(error))
    episode = Episode(load_policy(run.folder), friction=1.0, steps=3)
    camera = Camera(episode.model, 700, 60)  # wider than the model's own pictures
    try:
        pictures = [camera(data) for data in episode]
    finally:
        camera.close()
    assert {picture.shape for picture in pictures} == {(60, 700, 3)}
    # the sky above is one colour nearly, the chequered floor below is not, and the robot moves
    assert 2 * pictures[0][:5].std() < pictures[0][-15:].std()
    assert (pictures[0] != pictures[-1]).any()
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_the_command(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(episode, "Camera", StandIn)
    monkeypatch.setattr(watching, "kind", lambda: ".gif")
    assert main(["watch", str(run.folder), "--agent", "1", "--steps", "6", "--size", "20x18", "--sampled"]) == 0
    told, name = capsys.readouterr().out.splitlines(), "slippery-ant-v1-l2-agent1.gif"
    assert told[-1] == name
    assert told[0].startswith("agent 1 (seed 6) after 1,024 steps, friction ")
    assert told[1].startswith("return ")
    with Image.open(name) as image:
        assert image.size == (20, 18)
    for wrong, said in (
        (["--agent", "9"], "from 0 to 1"),
        (["--size", "big"], "480x480"),
        (["--friction", "-1"], "at least 0"),
        (["--out", "it.png"], ".mp4"),
        (["--run", "1"], "--run says nothing here"),
    ):
        assert main(["watch", str(run.folder), *wrong]) == 2
        assert said in capsys.readouterr().err
