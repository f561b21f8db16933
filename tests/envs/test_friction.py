from __future__ import annotations

import math
import pickle

import gymnasium
import numpy as np
import pytest

from neoteny.envs import (
    ConstantFriction,
    FrictionSchedule,
    ListedFriction,
    LogUniformFriction,
    MujocoVectorEnv,
    Slippery,
)
from neoteny.errors import SettingError


def test_logarithms_are_uniform_between_the_bounds():
    schedule = LogUniformFriction(low=0.02, high=2.0)
    drawn = np.array([schedule.friction(change, seed) for change in range(50) for seed in range(40)])
    assert (drawn >= 0.02).all() and (drawn <= 2.0).all()
    # of a uniform distribution on [0, 1]: quantiles within four standard errors, sqrt(p (1 - p) / 2000)
    shares = (np.log(drawn) - math.log(0.02)) / math.log(100)
    for p in (0.1, 0.5, 0.9):
        assert abs((shares < p).mean() - p) < 4 * math.sqrt(p * (1 - p) / drawn.size)
    assert len(np.unique(drawn)) == drawn.size


def test_a_draw_depends_on_its_change_and_seed_alone():
    first, again = LogUniformFriction(), pickle.loads(pickle.dumps(LogUniformFriction()))
    backwards = [first.friction(change, 3) for change in reversed(range(5))]
    assert [again.friction(change, 3) for change in range(5)] == backwards[::-1]
    assert first.friction(0, 4) != first.friction(0, 3) != first.friction(1, 3)
    assert LogUniformFriction(0.5, 0.5).friction(7, 1) == 0.5


@pytest.mark.parametrize("schedule", [LogUniformFriction(every=100), ListedFriction([1, 2], every=100)])
def test_a_change_is_due_after_its_period_and_periods_are_skipped(schedule):
    assert [schedule.change_at(steps) for steps in (0, 99, 100, 199, 200, 1050)] == [0, 0, 1, 1, 2, 10]


def test_a_list_begins_again_and_a_constant_never_changes():
    schedule = ListedFriction(np.array([1.0, 0.5, 0.1]), every=10)
    assert [schedule.friction(change, seed=change) for change in range(7)] == [1.0, 0.5, 0.1, 1.0, 0.5, 0.1, 1.0]
    assert schedule == ListedFriction((1, 0.5, 0.1), every=10) and hash(schedule)
    constant = ConstantFriction(0.3)
    assert {constant.friction(constant.change_at(steps), seed) for steps in (0, 10**9) for seed in (0, 1)} == {0.3}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConstantFriction(-1), "value = -1: a coefficient of sliding friction"),
        (lambda: ConstantFriction(math.nan), "value = nan"),
        (lambda: ConstantFriction(math.inf), "value = inf"),
        (lambda: ConstantFriction("ice"), "value = 'ice'"),
        (lambda: ListedFriction([], every=10), "at least one friction"),
        (lambda: ListedFriction([1.0, -1], every=10), "a friction of the list = -1"),
        (lambda: ListedFriction([1.0], every=0), "every = 0: steps between two changes"),
        (lambda: ListedFriction([1.0], every=2.5), "every = 2.5"),
        (lambda: LogUniformFriction(every=0), "every = 0"),
        (lambda: LogUniformFriction(low=0.0), "low = 0.0, high = 2.0: a logarithm is drawn"),
        (lambda: LogUniformFriction(low=2.0, high=1.0), "low = 2.0, high = 1.0"),
        (lambda: LogUniformFriction(low=math.nan), "low = nan"),
    ],
)
def test_bad_settings_say_what_is_wrong(make, message):
    with pytest.raises(SettingError, match=message):
        make()


class Sinking(FrictionSchedule):
    """A schedule of somebody's own, which goes below 0."""

    every = 5

    def friction(self, change: int, seed: int) -> float:
        return 0.5 - change


def test_a_schedule_of_ones_own_gives_frictions_alone():
    envs = MujocoVectorEnv("Hopper-v5", 1, friction=Sinking(), max_episode_steps=5)
    assert envs.reset(seed=0)[1]["friction"].tolist() == [0.5]
    with pytest.raises(SettingError, match=r"change 1 of the schedule = -0.5: a coefficient of sliding friction"):
        [envs.step_arrays(np.zeros((1, 3))) for _ in range(5)]
    env = Slippery(gymnasium.make("Hopper-v5"), Sinking())
    env.reset(seed=0)
    [env.step(np.zeros(3, np.float32)) for _ in range(5)]
    with pytest.raises(SettingError, match=r"change 1 of the schedule = -0.5: a coefficient of sliding friction"):
        env.reset()
