"""The Control Suite's tasks: as under MuJoCo 3, as the suite's own, saved and restored, pictures, errors."""

from __future__ import annotations

import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from envs.record_control import EVERY, SEED, TABLE, TASKS, actions
from neoteny.envs import OneByOne
from neoteny.errors import CheckpointError, MissingPackageError, SettingError, UnknownNameError
from neoteny.lab import checkpoint

pytest.importorskip("dm_control")
from neoteny.envs import ControlTask, control_tasks
from neoteny.envs.control_package import load_suite

CHAOTIC = {"hopper-hop", "humanoid-stand", "walker-run"}
"""Rounding grows to whole numbers within some hundred steps: these go on from the recorded state every 50 steps."""


def skip_without_pictures():
    from neoteny.envs.camera import backend

    try:
        backend()
    except MissingPackageError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", TASKS)
def test_a_thousand_steps_are_those_of_mujoco_3(name):
    table, task = np.load(TABLE), ControlTask(name)
    task.reset(seed=SEED)
    rewards = np.zeros(EVERY)
    for place, action in enumerate(actions(task.action_space)):
        observation, rewards[place % EVERY], ended, cut, _ = task.step(action)
        row, last = place // EVERY, place % EVERY == EVERY - 1
        if last:
            expected = table[f"{name}/observations"][row]
            np.testing.assert_allclose(observation, expected, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(rewards.sum(), table[f"{name}/rewards"][row], rtol=1e-7, atol=1e-9)
        assert not ended and cut == (place == 999)
        if last and name in CHAOTIC:
            with task.physics.reset_context():
                task.physics.set_state(table[f"{name}/states"][row])


@pytest.mark.parametrize("name", ["acrobot-swingup", "quadruped-run", "finger-turn_hard"])
def test_a_task_is_the_suites_to_the_bit(name):
    task = ControlTask(name, action_repeat=2)
    domain, _, short = name.partition("-")
    theirs = load_suite().load(domain, short, task_kwargs={"random": 5})
    seen = np.concatenate([np.ravel(part) for part in theirs.reset().observation.values()])
    np.testing.assert_array_equal(task.reset(seed=5)[0], seen)
    for action in actions(task.action_space)[:40]:
        observation, reward, *_ = task.step(action)
        steps = [theirs.step(action) for _ in range(2)]
        assert reward == sum(step.reward for step in steps)
        seen = np.concatenate([np.ravel(part) for part in steps[-1].observation.values()])
        np.testing.assert_array_equal(observation, seen)
    assert task.length == 500


# these draw parts of their model, or integrate by Runge-Kutta, or have muscles
@pytest.mark.parametrize("name", ["reacher-hard", "swimmer-swimmer6", "acrobot-swingup", "quadruped-walk", "fish-swim"])
def test_a_restored_state_goes_on_as_it_would_have(name, tmp_path):
    def make():
        return ControlTask(name)

    tasks = OneByOne(make, 2)
    tasks.reset(seed=[5, 8])
    lots = np.random.default_rng(0).uniform(-1, 1, (70, 2, *tasks.single_action_space.shape)).astype(np.float32)
    for lot in lots[:30]:
        tasks.step_arrays(lot)
    for task in tasks.envs:
        task._elapsed += 950  # so that the next episode, with its draws, begins soon
    checkpoint.save(tmp_path / "checkpoint.pt", tasks.state(), {})
    expected = [tasks.step_arrays(lot) for lot in lots[30:]]
    assert sum(step.truncations.sum() for step in expected) == 2
    again = OneByOne(make, 2)
    again.reset(seed=[1, 1])
    again.load_state(checkpoint.load(tmp_path / "checkpoint.pt", {}))
    for lot, step in zip(lots[30:], expected, strict=True):
        for mine, other in zip(again.step_arrays(lot), step, strict=True):
            np.testing.assert_array_equal(mine, other)


# a dog measures itself at the beginning of an episode, a quadruped that escapes has its ground drawn
@pytest.mark.parametrize("name", ["dog-stand", "quadruped-escape"])
def test_a_state_is_restored_in_a_task_that_was_not_reset(name):
    task, again = ControlTask(name), ControlTask(name)
    task.reset(seed=5)
    lots = np.random.default_rng(0).uniform(-1, 1, (8, *task.action_space.shape)).astype(np.float32)
    for lot in lots[:4]:
        task.step(lot)
    again.restore_state(task.saved_state())
    for lot in lots[4:]:
        (seen, *rest), (found, *others) = task.step(lot), again.step(lot)
        np.testing.assert_array_equal(seen, found)
        assert rest == others
    np.testing.assert_array_equal(task.reset()[0], again.reset()[0])
    assert task.physics._contexts is None  # no pictures were made, which would need a screen


def test_pictures_show_the_ground_of_their_own_episode():
    skip_without_pictures()
    task = ControlTask("quadruped-escape", pixels=32, camera=0)
    task.reset(seed=1)
    state = task.saved_state()
    second, _ = task.reset(seed=2)
    other = ControlTask("quadruped-escape", pixels=32, camera=0)
    np.testing.assert_array_equal(other.reset(seed=2)[0], second)
    still = np.zeros(12, np.float32)
    other.restore_state(state), task.restore_state(state)
    shown = task.step(still)[0]
    np.testing.assert_array_equal(other.step(still)[0], shown)
    task.reset(seed=1)
    np.testing.assert_array_equal(task.step(still)[0][-1], shown[-1])
    task.close(), other.close()


def test_an_episode_may_be_cut_off_earlier():
    task = ControlTask("cheetah-run", action_repeat=2, max_episode_steps=3)
    task.reset(seed=0)
    assert [task.step(np.zeros(6))[3] for _ in range(3)] == [False, False, True]
    assert ControlTask("cheetah-run", max_episode_steps=5_000).length == 1_000


def test_every_task_that_needs_no_screen_can_be_made():
    names = [name for name in control_tasks() if name.partition("-")[0] in ("dog", "humanoid_CMU", "stacker", "lqr")]
    for name in ("cartpole-swingup", "hopper-hop", *names[::3]):
        task = ControlTask(name)
        observation, _ = task.reset(seed=0)
        assert observation in task.observation_space, name
    assert len(control_tasks()) > 45


def test_pictures_are_bytes_with_the_last_frames():
    skip_without_pictures()

    def make():
        return ControlTask("cheetah-run", action_repeat=4, pixels=32)

    tasks = OneByOne(make, 1)
    first, _ = tasks.reset(seed=[0])
    assert first.shape == (1, 3, 32, 32) and first.dtype == np.uint8 and first.std() > 5
    np.testing.assert_array_equal(first[0, 0], first[0, 2])
    one, two = (tasks.step_arrays(np.full((1, 6), 0.5, np.float32)).observations[0] for _ in range(2))
    np.testing.assert_array_equal(one[1:], two[:2])
    assert (two[1] != two[2]).any()
    state, action = tasks.state(), np.zeros((1, 6), np.float32)
    expected = tasks.step_arrays(action).observations
    again = OneByOne(make, 1)
    again.load_state(state)
    np.testing.assert_array_equal(again.step_arrays(action).observations, expected)
    assert ControlTask("cheetah-run", pixels=16, colour=True, frames=2).observation_space.shape == (6, 16, 16)
    tasks.close(), again.close()


def test_an_unstable_simulation_ends_its_episode():
    task = ControlTask("cheetah-run")
    task.reset(seed=0)
    task.physics.data.qvel[:] = 1e12
    observation, reward, ended, cut, info = task.step(np.zeros(6))
    assert not observation.any() and (reward, ended, cut, info) == (0.0, True, False, {"unstable": True})
    assert np.isfinite(task.reset()[0]).all()


def test_gymnasium_makes_tasks_by_name():
    env = gymnasium.make("neoteny/ControlSuite-v0", task="cartpole-swingup", action_repeat=8)
    env.reset(seed=1)
    assert env.step(env.action_space.sample())[0].shape == (5,)


def test_what_is_refused():
    with pytest.raises(UnknownNameError, match="quadruped-rum.*quadruped-run"):
        ControlTask("quadruped-rum")
    with pytest.raises(SettingError, match="action_repeat = 0"):
        ControlTask("cheetah-run", action_repeat=0)
    task = ControlTask("cheetah-run")
    with pytest.raises(SettingError, match="step before reset"):
        task.step(np.zeros(6))
    with pytest.raises(SettingError, match="saved_state before reset"):
        task.saved_state()
    task.reset(seed=0)
    with pytest.raises(SettingError, match=r"cheetah-run: the action .* is not finite"):
        task.step(np.full(6, np.nan))
    other = ControlTask("cartpole-swingup")
    other.reset(seed=0)
    with pytest.raises(CheckpointError, match="the state is of cheetah-run"):
        other.restore_state(task.saved_state())


def test_a_version_that_fits_is_left_as_it_is():
    code = (
        "import mujoco; from dm_control.mujoco.wrapper.mjbindings import sizes as s\n"
        "model = mujoco.MjModel.from_xml_string('<mujoco/>')\n"
        "owners = {'mjmodel': model, 'mjdata': mujoco.MjData(model)}\n"
        "for kind, owner in owners.items():\n"
        "    s.array_sizes[kind] = {k: v for k, v in s.array_sizes[kind].items() if hasattr(owner, k)}\n"
        "before = {kind: dict(each) for kind, each in s.array_sizes.items()}\n"
        "from neoteny.envs.control_package import load_suite; load_suite()\n"
        "assert s.array_sizes == before"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
