from __future__ import annotations

import hashlib
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from neoteny.envs import ConstantFriction, ListedFriction, LogUniformFriction, Slippery
from neoteny.envs.robots import ROBOTS
from neoteny.errors import SettingError, UnknownNameError

ROOT = Path(__file__).parents[2]
NAMES = [f"neoteny/Slippery{base.replace('-v5', '-v0')}" for base in ROBOTS]


def sliding(env):
    return set(env.unwrapped.model.geom_friction[:, 0])


@pytest.fixture(autouse=True)
def _no_file_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_finds_no_fault(name):
    env = gymnasium.make(name).env.env.env  # within TimeLimit, OrderEnforcing and PassiveEnvChecker
    assert isinstance(env, Slippery)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        check_env(env, skip_render_check=True)
    # said of every wrapper, and of every unbounded observation
    allowed = ("is different from the unwrapped version", "Box observation space m[a-z]*imum value is -?infinity")
    assert not [warning for warning in said if not re.search("|".join(allowed), str(warning.message))]
    assert gymnasium.spec(name).max_episode_steps == 1000


@pytest.mark.parametrize(
    ("observation", "base", "size"),
    [
        ("full", {}, 105),
        (None, {}, 105),
        ("paper", {"include_cfrc_ext_in_observation": False, "contact_cost_weight": 0.0}, 27),
    ],
)
def test_the_ant_equals_gymnasiums(observation, base, size):
    reference = gymnasium.make("Ant-v5", max_episode_steps=60, **base)
    env = gymnasium.make(
        "neoteny/SlipperyAnt-v0", schedule=ConstantFriction(1.0), observation=observation, max_episode_steps=60
    )
    assert sliding(reference) == {1.0}
    assert env.observation_space.shape == (size,)
    rng, contact = np.random.default_rng(0), 0.0
    for episode in range(3):
        pair = [e.reset(seed=episode)[0] for e in (env, reference)]
        assert np.array_equal(*pair)
        done = False
        while not done:
            action = rng.uniform(-1.2, 1.2, 8).astype(np.float32)
            observed, *paid, info = env.step(action)
            expected, *dues, reference_info = reference.step(action)
            assert np.array_equal(observed, expected) and paid == dues
            assert {key: info[key] for key in reference_info} == reference_info
            contact -= info["reward_contact"]
            done = paid[1] or paid[2]
    assert (contact == 0.0) == (observation == "paper")


def test_what_the_paper_leaves_out_is_contact_alone():
    envs = [
        gymnasium.make("neoteny/SlipperyAnt-v0", schedule=ConstantFriction(0.5), observation=observation)
        for observation in ("full", "paper")
    ]
    full, paper = (env.reset(seed=2)[0] for env in envs)
    felt = 0.0
    for action in np.random.default_rng(1).uniform(-1, 1, (40, 8)):
        before = envs[1].unwrapped.data.body("torso").xpos[0]
        (full, earned, *_, info), (paper, paid, *_) = (env.step(action) for env in envs)
        assert np.array_equal(full[:27], paper)
        assert paid == pytest.approx(earned - info["reward_contact"], rel=1e-12)
        # Ant-v5 in one line: metres a second, 1 for standing, half the squares of the torques
        moved = envs[1].unwrapped.data.body("torso").xpos[0] - before
        assert paid == pytest.approx(moved / 0.05 + 1 - 0.5 * (action**2).sum(), abs=1e-9)
        felt = max(felt, np.abs(full[27:]).max())
    assert felt == 1.0  # contact forces are clipped to [-1, 1]


def test_every_geom_slides_alike_and_the_file_stays_as_it_was():
    for base in ROBOTS:
        env = gymnasium.make(f"neoteny/Slippery{base.replace('-v5', '-v0')}", schedule=ConstantFriction(0.125))
        plain = gymnasium.make(base)
        source = Path(env.unwrapped.fullpath)
        before = hashlib.sha256(source.read_bytes()).hexdigest()
        _, info = env.reset(seed=0)
        assert sliding(env) == {0.125} and info["friction"] == 0.125
        assert np.array_equal(env.unwrapped.model.geom_friction[:, 1:], plain.unwrapped.model.geom_friction[:, 1:])
        assert hashlib.sha256(source.read_bytes()).hexdigest() == before


def test_friction_changes_what_happens():
    slid = []
    for friction in (0.02, 2.0):
        env = gymnasium.make("neoteny/SlipperyHalfCheetah-v0", schedule=ConstantFriction(friction))
        env.reset(seed=0)
        slid.append([env.step(np.ones(6, np.float32))[0] for _ in range(40)][-1])
    assert np.abs(slid[0] - slid[1]).max() > 0.1


def frictions(env, steps, seed=None):
    """The friction told at each of so many steps, and the steps at which it first told another."""
    told = [env.reset(seed=seed)[1]["friction"]]
    for _ in range(steps):
        _, _, terminated, truncated, info = env.step(np.zeros(3, np.float32))
        assert sliding(env) == {info["friction"]}
        told.append(info["friction"])
        if terminated or truncated:
            env.reset()
    changes = [step for step in range(1, len(told)) if told[step] != told[step - 1]]
    return told[1:], changes


def hopper(schedule, **settings):
    # never falls, so that episodes end after exactly 30 steps
    return gymnasium.make(
        "neoteny/SlipperyHopper-v0",
        schedule=schedule,
        max_episode_steps=30,
        terminate_when_unhealthy=False,
        **settings,
    )


def test_a_new_friction_waits_for_the_end_of_the_episode():
    # due after 50, 100, 150 ... steps; episodes begin after 30, 60, 90, 120 ...
    told, changes = frictions(hopper(ListedFriction([1.0, 0.5, 0.25], every=50)), 200)
    assert [step - 1 for step in changes] == [60, 120, 150]
    assert [told[step] for step in (0, 59, 60, 119, 120, 149, 150, 199)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 1.0, 1.0]
    # several periods within an episode: the latest counts
    told, changes = frictions(hopper(ListedFriction([1.0, 0.5, 0.25], every=20)), 70)
    assert [told[step] for step in (29, 30, 59, 60)] == [1.0, 0.5, 0.5, 1.0]


def test_frictions_come_from_the_seed_of_the_schedule():
    schedule = LogUniformFriction(every=30)
    told, _ = frictions(hopper(schedule, seed=7), 100)
    assert told[::30] == [schedule.friction(change, 7) for change in range(4)]
    again, _ = frictions(hopper(schedule, seed=7), 100, seed=5)
    assert again == told
    other, _ = frictions(hopper(schedule, seed=8), 100)
    assert not set(other) & set(told)


def test_a_friction_set_by_hand_holds_until_the_next_change():
    env = hopper(ListedFriction([1.0, 0.5], every=50))
    assert env.reset(seed=0, options={"friction": 0.3})[1]["friction"] == 0.3
    assert sliding(env) == {0.3}
    told = []
    for _ in range(90):
        told.append(env.step(np.zeros(3, np.float32))[4]["friction"])
        if len(told) % 30 == 0:
            env.reset()
    assert told == [0.3] * 60 + [0.5] * 30
    assert env.reset(options={"friction": 0.7})[1]["friction"] == 0.7
    assert env.reset(seed=1)[1]["friction"] == 1.0  # a seed begins anew


def test_the_same_seed_gives_the_same_episodes():
    runs = []
    for _ in range(2):
        env = gymnasium.make("neoteny/SlipperyAnt-v0", schedule=LogUniformFriction(every=20), max_episode_steps=15)
        for _ in range(2):  # in a new environment as in a used one
            told = [env.reset(seed=3)[0]]
            for action in np.random.default_rng(0).uniform(-1, 1, (50, 8)):
                observation, reward, terminated, truncated, info = env.step(action)
                told += [observation, reward, info["friction"]]
                if terminated or truncated:
                    told.append(env.reset()[0])
            runs.append(told)
    for run in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, runs[0], strict=True))


def test_it_pickles_and_is_made_again_from_its_spec():
    env = hopper(ListedFriction([0.8, 0.2], every=50), seed=4)
    env.reset(seed=0)
    for _ in range(60):
        *_, terminated, truncated, _ = env.step(np.zeros(3, np.float32))
        if terminated or truncated:
            env.reset()
    assert sliding(env) == {0.2}
    copy = pickle.loads(pickle.dumps(env))
    assert sliding(copy) == {0.2} and copy.reset()[1]["friction"] == 0.2  # the count goes on
    made = env.spec.make()
    action = np.array([0.3, -0.2, 0.1], np.float32)
    expected = [env.reset(seed=9), *(env.step(action) for _ in range(20))]
    for other in (copy, made):
        found = [other.reset(seed=9), *(other.step(action) for _ in range(20))]
        assert all(np.array_equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(found, expected, strict=True))


def test_a_simulation_that_blows_up_ends_its_episode():
    env = gymnasium.make("neoteny/SlipperyAnt-v0", observation="paper")
    env.reset(seed=0)
    action = np.zeros(8, np.float32)
    assert env.step(action)[4]["unstable"] is False
    env.unwrapped.data.qvel[3] = 1e30
    observation, reward, terminated, _, info = env.step(action)
    assert info["unstable"] is True and terminated and reward == 0.0 and not observation.any()
    assert np.isfinite(env.reset()[0]).all()
    assert env.step(action)[4]["unstable"] is False


def test_bad_input_says_what_is_wrong():
    with pytest.raises(SettingError, match="CartPole.* has no MuJoCo model.*take one of Ant-v5"):
        Slippery(gymnasium.make("CartPole-v1"))
    with pytest.raises(SettingError, match="schedule = 0.5 is no friction schedule"):
        gymnasium.make("neoteny/SlipperyHopper-v0", schedule=0.5)
    with pytest.raises(SettingError, match="seed = -1"):
        gymnasium.make("neoteny/SlipperyHopper-v0", seed=-1)
    with pytest.raises(UnknownNameError, match="no observation of the ant called 'papers'. Did you mean 'paper'?"):
        gymnasium.make("neoteny/SlipperyAnt-v0", observation="papers")
    with pytest.raises(SettingError, match="only the ant has a choice of observations, not Hopper-v5"):
        gymnasium.make("neoteny/SlipperyHopper-v0", observation="paper")
    env = gymnasium.make("neoteny/SlipperyHopper-v0")
    for friction in (-1, float("nan"), None):
        with pytest.raises(SettingError, match=r'options\["friction"\] = .*: a coefficient of sliding friction'):
            env.reset(options={"friction": friction})
    env.reset(seed=0)
    with pytest.raises(SettingError, match="is not finite"):
        env.step(np.array([0, np.nan, 0], np.float32))


@pytest.mark.parametrize("missing", ["gymnasium", "mujoco", "mujoco.batch", "imageio"])
def test_without_its_packages_it_says_what_to_install(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import neoteny.envs
except ImportError as error:
    from neoteny.errors import NeotenyError
    assert isinstance(error, NeotenyError)
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    named = "gymnasium.envs.mujoco" if missing == "imageio" else missing  # which imports it
    assert f"neoteny.envs needs {named}" in done.stdout and "pip install neoteny[rl]" in done.stdout, done.stderr


def test_importing_needs_no_torch():
    code = "import sys, neoteny.envs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout == "False\n", done.stderr
