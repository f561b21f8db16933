"""Records what `test_control.py` compares with. Run once, with another MuJoCo than the library's:

    python -m venv other && other/bin/pip install "mujoco==3.*" dm_control==1.0.50
    other/bin/python tests/envs/record_control.py

Each task is stepped a thousand times with random actions. Every 50 steps the table keeps the state, the observation and
the sum of the rewards since. dm_control's own environments are asked, not this library's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

TASKS = (
    "acrobot-swingup", "ball_in_cup-catch", "cartpole-swingup", "cheetah-run", "finger-turn_hard", "fish-swim",
    "hopper-hop", "humanoid-stand", "manipulator-bring_ball", "pendulum-swingup", "point_mass-hard", "quadruped-run",
    "quadruped-walk", "reacher-hard", "swimmer-swimmer15", "walker-run",
)  # fmt: skip
SEED, STEPS, EVERY = 3, 1000, 50
TABLE = Path(__file__).with_name("control_mujoco3.npz")


def actions(space) -> np.ndarray:
    """Uniform random actions, [STEPS, actions], within bounds of any kind that has a shape."""
    return np.random.RandomState(SEED).uniform(-1, 1, (STEPS, *space.shape))


def main() -> None:
    """Write the table."""
    import mujoco
    from dm_control import suite

    table = {"mujoco": mujoco.__version__}
    for name in TASKS:
        domain, _, task = name.partition("-")
        env = suite.load(domain, task, task_kwargs={"random": SEED})
        env.reset()
        states, observations, rewards = [], [], np.zeros(STEPS)
        for place, action in enumerate(actions(env.action_spec())):
            made = env.step(action)
            rewards[place] = made.reward
            if place % EVERY == EVERY - 1:
                states.append(env.physics.get_state())
                observations.append(np.concatenate([np.ravel(part) for part in made.observation.values()]))
        table[f"{name}/states"], table[f"{name}/observations"] = np.array(states), np.array(observations)
        table[f"{name}/rewards"] = rewards.reshape(-1, EVERY).sum(1)
    np.savez_compressed(TABLE, **table)


if __name__ == "__main__":
    main()
