"""`neoteny collect`: a data set of transitions in a maze."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from neoteny.cli.reading import read_options
from neoteny.errors import SettingError

__all__ = ["main"]


@dataclass(frozen=True)
class CollectOptions:
    """Make a data set: drive robots through a maze along waypoints, with noise, and keep their transitions."""

    what: Annotated[Literal["point-maze", "ant-maze"], tyro.conf.Positional]
    """the robot in the maze"""
    maze: Literal["umaze", "medium", "large"] = "umaze"
    """the maze"""
    transitions: int = 1_000_000
    """how many"""
    noise: float | None = None
    """standard deviation of the noise in actions; by default 0.5 for the point and 0.2 for the ant"""
    goals: Literal["fixed", "random"] = "fixed"
    """whether every episode has the same goal, or one of its own that is observed"""
    seed: int = 0
    """of starts, targets and noise"""
    policy: Path | None = None
    """for the ant: the folder of a run in which it learned to reach goals"""
    agent: int | None = None
    """number of the agent in that run; by default 0"""
    out: Path | None = None
    """the file, .npz; WHAT-MAZE.npz by default"""


def main(arguments: Sequence[str]) -> None:
    """Drive, write, and print what there is."""
    options = read_options(CollectOptions, arguments, "neoteny collect")
    ant = options.what == "ant-maze"
    if ant and options.policy is None:
        raise SettingError(
            "the ant needs a policy that goes where it is told: train one, for example by `neoteny run primacy-bias "
            "--task goal-ant`, and give its run folder by --policy."
        )
    if not ant and options.policy is not None:
        raise SettingError(f"--policy {options.policy} is for ant-maze: a point is pushed along its way.")
    if options.agent is not None and options.policy is None:
        raise SettingError(f"--agent {options.agent} is one of the run of --policy: give its folder as well.")
    from neoteny.data.transitions import require_place, save_transitions
    from neoteny.envs import Maze, push
    from neoteny.progress import bar
    from neoteny.rl.collecting import collect, drive_ant
    from neoteny.rl.watching import load_policy

    out = require_place(options.out or Path(f"{options.what}-{options.maze}.npz"))  # before hours of driving
    drive = push if options.policy is None else drive_ant(load_policy(options.policy, options.agent or 0))
    noise = (0.2 if ant else 0.5) if options.noise is None else options.noise
    with bar("driving", total=options.transitions) as advance:
        maze = Maze("ant" if ant else "point", options.maze, options.goals)
        made = collect(maze, drive, options.transitions, noise=noise, seed=options.seed, progress=advance)
    path = save_transitions(out, made)
    ended = int(made["terminals"].sum())
    episodes = ended + int(made["timeouts"].sum())
    print(f"{path}: {options.transitions:,} transitions, {episodes:,} episodes, {ended:,} of which reached the goal")
