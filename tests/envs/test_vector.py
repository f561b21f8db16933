from __future__ import annotations

import json
import pickle
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from mujoco.batch import SimulationError

from neoteny.envs import ConstantFriction, ListedFriction, LogUniformFriction, MujocoVectorEnv
from neoteny.errors import CheckpointError, SettingError, UnknownNameError

PAPER = {"observation": "paper"}
SCHEDULES = [ListedFriction([1.0, 0.1, 0.5], every=150), LogUniformFriction(every=110), ConstantFriction(0.3)]


def single(base, row, **settings):
    name = f"neoteny/Slippery{base.replace('-v5', '-v0')}"
    return gymnasium.make(name, schedule=SCHEDULES[row], seed=5 + row, disable_env_checker=True, **settings)


def many(base, threads=1, **settings):
    return MujocoVectorEnv(base, 3, friction=SCHEDULES, friction_seeds=5, threads=threads, **settings)


def actions_for(envs, steps, seed=0):
    # beyond the bounds too: MuJoCo clips what the motors do, but the cost is of what was asked for
    return np.random.default_rng(seed).uniform(-1.2, 1.2, (steps, *envs.action_space.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("base", "limit", "settings"), [("Ant-v5", 90, PAPER), ("Hopper-v5", 25, {}), ("Walker2d-v5", 25, {})]
)
def test_equals_single_environments_bit_for_bit(base, limit, settings):
    settings = settings | {"max_episode_steps": limit}
    singles = [single(base, row, **settings) for row in range(3)]
    vectors = [many(base, threads, **settings) for threads in (1, 2)]
    started = np.stack([env.reset(seed=seed)[0] for env, seed in zip(singles, (11, 3, 42), strict=True)])
    for envs in vectors:
        assert np.array_equal(envs.reset(seed=[11, 3, 42])[0], started)
    ends, frictions = np.zeros(2, int), [set(), set(), set()]
    for actions in actions_for(vectors[0], 1000):
        steps = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        final, rewards, terminations, truncations, infos = (list(part) for part in zip(*steps, strict=True))
        following = [
            env.reset()[0] if terminated or truncated else observation
            for env, observation, terminated, truncated in zip(singles, final, terminations, truncations, strict=True)
        ]
        friction = [info["friction"] for info in infos]
        expected = (following, rewards, terminations, truncations, final, friction, [False] * 3)
        for envs in vectors:
            for found, wanted in zip(envs.step_arrays(actions), expected, strict=True):
                assert np.array_equal(found, wanted)
        ends += np.sum([terminations, truncations], axis=1)
        for seen, value in zip(frictions, friction, strict=True):
            seen.add(value)
    assert ends[1] > 5 and (ends[0] > 20 or base == "Ant-v5")
    assert frictions[0] == {1.0, 0.1, 0.5} and len(frictions[1]) > 5 and frictions[2] == {0.3}


def assert_same_infos(found, wanted):
    assert set(found) == set(wanted)
    for key, values in wanted.items():
        if isinstance(values, dict):
            assert_same_infos(found[key], values)
        elif values.dtype == object:
            assert all(np.array_equal(a, b) for a, b in zip(found[key], values, strict=True))
        else:
            # distances from the origin are rounded otherwise in the last place
            assert found[key].dtype == values.dtype or values.dtype == np.float32
            assert np.allclose(found[key], values, rtol=1e-14, atol=0)


@pytest.mark.parametrize(
    ("base", "settings"),
    [
        ("Ant-v5", PAPER),
        ("Ant-v5", {}),
        ("Ant-v5", {"include_cfrc_ext_in_observation": False, "main_body": "aux_1", "healthy_reward": 0.3}),
        ("Ant-v5", {"exclude_current_positions_from_observation": False, "contact_cost_weight": 0.0}),
        ("Hopper-v5", {"forward_reward_weight": 2.0, "reset_noise_scale": 0.1, "terminate_when_unhealthy": False}),
        ("Walker2d-v5", {"exclude_current_positions_from_observation": False}),
        ("HalfCheetah-v5", {"frame_skip": 2, "ctrl_cost_weight": 0.3}),
        ("HalfCheetah-v5", {}),
        ("Humanoid-v5", {}),
        ("Humanoid-v5", {"include_cinert_in_observation": False, "include_cfrc_ext_in_observation": False}),
    ],
)
def test_speaks_as_gymnasiums_own_vector_environment(base, settings):
    settings = settings | {"max_episode_steps": 12}
    reference = SyncVectorEnv(
        [lambda row=row: single(base, row, **settings) for row in range(3)], autoreset_mode=AutoresetMode.SAME_STEP
    )
    envs = many(base, threads=2, **settings)
    assert isinstance(envs, VectorEnv) and envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    for space in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(envs, space) == getattr(reference, space)
    (found, infos), (wanted, reference_infos) = (e.reset(seed=3) for e in (envs, reference))
    assert np.array_equal(found, wanted)
    assert_same_infos(infos, reference_infos)
    for step, actions in enumerate(actions_for(envs, 60)):
        if step == 30:  # so that episodes end apart from one another
            options = {"reset_mask": np.array([False, True, False]), "friction": 0.7}
            assert np.array_equal(envs.reset(options=options)[0], reference.reset(options=dict(options))[0])
        (*found, infos), (*wanted, reference_infos) = (e.step(actions) for e in (envs, reference))
        for a, b in zip(found, wanted, strict=True):
            assert np.array_equal(a, b)
        assert_same_infos(infos, reference_infos)


def test_float64_actions_are_paid_in_their_own_precision():
    envs, env = many("Ant-v5", **PAPER), single("Ant-v5", 0, **PAPER)
    envs.reset(seed=0), env.reset(seed=0)
    actions = actions_for(envs, 1)[0].astype(np.float64) / 3
    assert envs.step_arrays(actions).rewards[0] == env.step(actions[0])[1]


def test_without_a_schedule_the_model_keeps_its_friction():
    envs, env = MujocoVectorEnv("Hopper-v5", 2), gymnasium.make("Hopper-v5")
    (found, infos), (wanted, _) = envs.reset(seed=[4, 4]), env.reset(seed=4)
    assert np.array_equal(found[0], wanted) and np.isnan(infos["friction"]).all()  # the foot's is another
    for action in actions_for(envs, 30)[:, 0]:
        wanted, reward, terminated, truncated, _ = env.step(action)
        steps = envs.step_arrays(np.stack([action, action]))
        assert np.array_equal(steps.final_observations, [wanted] * 2) and (steps.rewards == reward).all()
        if terminated or truncated:
            env.reset()
    assert MujocoVectorEnv("Ant-v5", 1, **PAPER).reset(seed=0)[1]["friction"] == 1.0  # all geoms' alike


def test_frictions_set_by_hand():
    envs = MujocoVectorEnv("Hopper-v5", 3, friction=ListedFriction([1.0, 0.5], every=20), max_episode_steps=10)
    assert envs.reset(seed=0, options={"friction": [0.1, 0.2, 0.3]})[1]["friction"].tolist() == [0.1, 0.2, 0.3]
    mask = np.array([False, True, False])
    infos = envs.reset(options={"friction": 0.9, "reset_mask": mask})[1]
    assert infos["friction"].tolist() == [0, 0.9, 0] and infos["_friction"].tolist() == mask.tolist()
    told = [envs.step_arrays(np.zeros((3, 3), np.float32)).friction for _ in range(30)]
    assert told[0].tolist() == told[19].tolist() == [0.1, 0.9, 0.3] and told[20].tolist() == [0.5] * 3
    assert envs.reset(seed=0)[1]["friction"].tolist() == [1.0] * 3


def test_steps_returned_are_the_callers_to_keep():
    envs = many("Hopper-v5", max_episode_steps=5)
    envs.reset(seed=0)
    kept, copies = [], []
    for actions in actions_for(envs, 12):
        kept.append(envs.step_arrays(actions))
        copies.append(pickle.loads(pickle.dumps(kept[-1])))
    for steps, copy in zip(kept, copies, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(steps, copy, strict=True))
    assert all(not np.shares_memory(a.observations, b.observations) for a, b in pairwise(kept))


@pytest.mark.parametrize(
    ("base", "settings"), [("Ant-v5", PAPER), ("Ant-v5", {}), ("Hopper-v5", {}), ("Humanoid-v5", {})]
)
def test_stopped_and_resumed_is_never_stopped(base, settings):
    settings = settings | {"max_episode_steps": 40}
    envs, again = (many(base, **settings) for _ in range(2))
    envs.reset(seed=1, options={"friction": [0.9, 0.8, 0.7]})
    again.reset(seed=77)
    actions = actions_for(envs, 250)
    for row in range(97):
        envs.step_arrays(actions[row])
        again.step_arrays(actions[-row]) if row < 5 else None
    state = pickle.loads(pickle.dumps(envs.state()))
    assert json.loads(json.dumps(state["generators"])) == state["generators"]
    again.load_state(state)
    for row in range(97, 197):
        expected, found = envs.step_arrays(actions[row]), again.step_arrays(actions[row])
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert again._steps.tolist() == [197] * 3 and found.friction.tolist() != [0.9, 0.8, 0.7]
    envs.load_state(state)  # and back again, in the environment itself
    for row in range(97, 197):
        found = envs.step_arrays(actions[row])
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def break_velocity(envs, monkeypatch):
    envs._robot.qvel[1, 2] = 1e30


def break_position(envs, monkeypatch):
    envs._robot.qpos[1, 2] = np.nan


def break_afterwards(envs, monkeypatch):
    """The state is not finite after the last substep, which MuJoCo would only notice at the next."""
    step = envs._batch.step

    def broken(**how):
        step(**how)
        envs._robot.qvel[1, 2] = np.nan
        monkeypatch.undo()

    monkeypatch.setattr(envs._batch, "step", broken)


def raise_error(envs, monkeypatch):
    step = envs._batch.step

    def broken(**how):
        step(ids=[0, 2], **how)
        monkeypatch.undo()
        raise SimulationError(np.array([1]), "out of stack")

    monkeypatch.setattr(envs._batch, "step", broken)


@pytest.mark.parametrize("blow_up", [break_velocity, break_position, break_afterwards, raise_error])
@pytest.mark.parametrize("base", ["Ant-v5", "Hopper-v5"])
def test_a_simulation_that_blows_up_ends_its_episode_alone(base, blow_up, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = PAPER if base == "Ant-v5" else {}
    envs, calm = (many(base, threads=2, **settings) for _ in range(2))
    envs.reset(seed=0), calm.reset(seed=0)
    actions = actions_for(envs, 6)
    with monkeypatch.context() as patch:
        for row in range(6):
            if row == 2:
                blow_up(envs, patch)
            steps, expected = envs.step_arrays(actions[row]), calm.step_arrays(actions[row])
            assert steps.unstable.tolist() == [False, row == 2, False]
            for found, wanted in zip(steps, expected, strict=True):
                assert np.array_equal(found[[0, 2]], wanted[[0, 2]])
            assert all(np.isfinite(part).all() for part in steps)
            if row == 2:
                assert steps.terminations[1] and steps.rewards[1] == 0 and not steps.final_observations[1].any()
                assert steps.observations[1].any()
    assert list(tmp_path.iterdir()) == []


def test_infos_tell_of_a_simulation_that_blew_up():
    envs = many("Walker2d-v5")
    envs.reset(seed=0)
    envs._robot.qvel[1] = 1e30
    *_, infos = envs.step(np.zeros((3, 6), np.float32))
    assert infos["final_info"]["unstable"].tolist() == [False, True, False]
    assert infos["_unstable"].tolist() == [True, False, True] and not infos["unstable"].any()


def test_bad_settings_say_what_is_wrong():
    with pytest.raises(UnknownNameError, match="environment to step many of called 'Ant-v4'. Did you mean 'Ant-v5'"):
        MujocoVectorEnv("Ant-v4", 2)
    with pytest.raises(SettingError, match="num_envs = 0: it must be a whole number of at least 1"):
        MujocoVectorEnv("Hopper-v5", 0)
    with pytest.raises(SettingError, match="threads = 0"):
        MujocoVectorEnv("Hopper-v5", 1, threads=0)
    with pytest.raises(SettingError, match="max_episode_steps = -1"):
        MujocoVectorEnv("Hopper-v5", 1, max_episode_steps=-1)
    with pytest.raises(SettingError, match="Hopper-v5 does not take these settings, {'frictions': 1}"):
        MujocoVectorEnv("Hopper-v5", 1, frictions=1)
    with pytest.raises(SettingError, match="1 friction for 2 environments: give one for each"):
        MujocoVectorEnv("Hopper-v5", 2, friction=[ConstantFriction(1.0)])
    with pytest.raises(SettingError, match="friction = -1 is no friction schedule; ConstantFriction"):
        MujocoVectorEnv("Hopper-v5", 2, friction=[-1, -1])
    with pytest.raises(SettingError, match="friction = 0.5 is no friction schedule; ConstantFriction"):
        MujocoVectorEnv("Hopper-v5", 2, friction=0.5)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="3 friction_seeds for 2 environments"):
        MujocoVectorEnv("Hopper-v5", 2, friction_seeds=[0, 1, 2])
    with pytest.raises(SettingError, match="friction_seeds = -1"):
        MujocoVectorEnv("Hopper-v5", 2, friction_seeds=-1)


def test_bad_input_says_what_is_wrong():
    envs = MujocoVectorEnv("Hopper-v5", 2)
    good = np.zeros((2, 3), np.float32)
    for act in (lambda: envs.step(good), lambda: envs.step_arrays(good), envs.state):
        with pytest.raises(SettingError, match="before reset: call reset"):
            act()
    with pytest.raises(SettingError, match="3 seeds for 2 environments"):
        envs.reset(seed=[1, 2, 3])
    with pytest.raises(SettingError, match="seed = -1"):
        envs.reset(seed=[-1, 0])
    with pytest.raises(SettingError, match="3 frictions for 2 environments"):
        envs.reset(options={"friction": [1, 2, 3]})
    with pytest.raises(SettingError, match="options.*friction.* = -1"):
        envs.reset(options={"friction": -1})
    with pytest.raises(SettingError, match="options.*reset_mask.*: 2 booleans"):
        envs.reset(options={"reset_mask": [False, False]})
    envs.reset(seed=0)
    before = envs.state()
    with pytest.raises(SettingError, match=r"actions of shape \(3,\): they must be \(2, 3\)"):
        envs.step(good[0])
    bad = good.copy()
    bad[1, 2] = np.nan
    with pytest.raises(SettingError, match=r"the actions of environments \[1\] are not finite"):
        envs.step_arrays(bad)
    assert np.array_equal(envs.state()["physics"], before["physics"])
    with pytest.raises(CheckpointError, match="the state is of Hopper-v5 with arrays of .*this is Walker2d-v5"):
        MujocoVectorEnv("Walker2d-v5", 2).load_state(before)
    with pytest.raises(CheckpointError, match="make the environment with the arguments it had"):
        MujocoVectorEnv("Hopper-v5", 3).load_state(before)
