"""Environments: MuJoCo robots on ground whose friction changes, one at a time or many in parallel; MinAtar's and
Atari's games, classic control, DeepMind's Control Suite and mazes, whose state can be saved.

    import gymnasium, neoteny.envs
    env = gymnasium.make("neoteny/SlipperyAnt-v0", observation="paper", seed=0)
    envs = neoteny.envs.MujocoVectorEnv("Ant-v5", 8, friction=neoteny.envs.LogUniformFriction(), observation="paper")

Importing the package registers `neoteny/SlipperyAnt-v0`, `-Hopper-`, `-Walker2d-`, `-HalfCheetah-` and
`-Humanoid-v0`, and `neoteny/ControlSuite-v0`. It needs `pip install neoteny[rl]`.
"""

from neoteny.envs.packages import require

require("gymnasium", "mujoco.batch", "gymnasium.envs.mujoco")

import gymnasium  # noqa: E402

from neoteny.envs.atari import AtariGame, atari_games  # noqa: E402
from neoteny.envs.classic import make_classic  # noqa: E402
from neoteny.envs.control import ControlTask, control_tasks  # noqa: E402
from neoteny.envs.friction import (  # noqa: E402
    ConstantFriction,
    FrictionSchedule,
    ListedFriction,
    LogUniformFriction,
)
from neoteny.envs.goal_ant import GoalAnt  # noqa: E402
from neoteny.envs.mazes import Maze  # noqa: E402
from neoteny.envs.minatar import MinAtarGame  # noqa: E402
from neoteny.envs.one_by_one import OneByOne  # noqa: E402
from neoteny.envs.slippery import Slippery, register_all  # noqa: E402
from neoteny.envs.vector import MujocoVectorEnv, Steps  # noqa: E402
from neoteny.envs.waypoints import Waypoints, push  # noqa: E402

__all__ = [
    "AtariGame",
    "ConstantFriction",
    "ControlTask",
    "FrictionSchedule",
    "GoalAnt",
    "ListedFriction",
    "LogUniformFriction",
    "Maze",
    "MinAtarGame",
    "MujocoVectorEnv",
    "OneByOne",
    "Slippery",
    "Steps",
    "Waypoints",
    "atari_games",
    "control_tasks",
    "make_classic",
    "push",
]

register_all()
if "neoteny/ControlSuite-v0" not in gymnasium.registry:
    gymnasium.register("neoteny/ControlSuite-v0", "neoteny.envs.control:ControlTask", disable_env_checker=True)
