"""`neoteny watch`: an episode of an agent, or a network while it learns from a stream, as a film."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from neoteny.cli.reading import read_options
from neoteny.errors import SettingError

__all__ = ["main"]

_OF_AGENTS = ("agent", "seed", "friction", "steps", "sampled")
_OF_NETWORKS = ("run", "pictures")


@dataclass(frozen=True)
class WatchOptions:
    """Film an episode of an agent from its last checkpoint, or a small network while it learns from a stream.

    The run of a network is repeated from its configuration. No screen is needed. The film is an MP4 where
    imageio-ffmpeg is installed, otherwise a GIF.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """the run folder: the one with config.yaml and, for agents, checkpoint.pt"""
    agent: int = 0
    """number of the agent, from 0"""
    run: int = 0
    """number of the run whose network is filmed, from 0"""
    pictures: int = 60
    """pictures of a network, about"""
    seed: int = 0
    """seed of the initial state"""
    out: Path | None = None
    """the film, .mp4 or .gif; BENCHMARK-SYSTEM-agentN or -runN by default"""
    friction: float | None = None
    """friction of the ground, for robots that walk; by default the agent's at the checkpoint"""
    size: str | None = None
    """width and height in pixels; 480x480 by default, 640x480 for networks, of games what fits into 480x480"""
    steps: int = 1_000
    """steps after which the episode is cut off"""
    sampled: tyro.conf.FlagCreatePairsOff[bool] = False
    """draw actions as in training, instead of taking the mean of the policy"""


def main(arguments: Sequence[str]) -> None:
    """Draw, and print what happened and where the film is."""
    options = read_options(WatchOptions, arguments, "neoteny watch")
    size = None if options.size is None else re.fullmatch(r"(\d+)x(\d+)", options.size)
    if options.size is not None and size is None:
        raise SettingError(f"--size {options.size} is not WIDTHxHEIGHT in pixels; write it like 480x480.")
    sides = {} if size is None else {"size": (int(size[1]), int(size[2]))}
    from neoteny.lab.folder import RunFolder

    network = RunFolder(options.run_dir).config().problem.KIND == "examples"
    _refuse(options, _OF_AGENTS if network else _OF_NETWORKS, "networks" if network else "agents")
    show = _network if network else _agent
    show(options, sides)


def _refuse(options: WatchOptions, names: Sequence[str], holds: str) -> None:
    """Refuse options of the other kind of film, which would be passed over."""
    for name in names:
        if getattr(options, name) != getattr(WatchOptions, name):
            raise SettingError(f"--{name} says nothing here: {options.run_dir} holds {holds}; leave it out.")


def _network(options: WatchOptions, sides: dict[str, Any]) -> None:
    """Film a network that learns."""
    from neoteny.progress import bar
    from neoteny.report.films import film_network

    with bar("drawing", total=options.pictures + 1) as advance:
        film = film_network(
            options.run_dir, options.out, run=options.run, pictures=options.pictures, notify=advance, **sides
        )
    print(f"run {options.run} (seed {film.seed}): {film.last.step:,} examples in {film.pictures} pictures")
    print(film.path)


def _agent(options: WatchOptions, sides: dict[str, Any]) -> None:
    """Film an episode of an agent."""
    from neoteny.progress import bar

    named = os.environ.pop("MUJOCO_GL", None)  # a value that does not work here would make the import of MuJoCo fail
    from neoteny.rl.watching import record

    if named is not None:
        os.environ["MUJOCO_GL"] = named

    with bar("drawing", total=options.steps) as advance:
        film = record(
            options.run_dir,
            options.out,
            agent=options.agent,
            seed=options.seed,
            friction=options.friction,
            **sides,
            steps=options.steps,
            sampled=options.sampled,
            notify=advance,
        )
    ground = "" if film.friction is None else f", friction {film.friction:.3g}"
    print(f"agent {film.policy.agent} (seed {film.policy.seed}) after {film.policy.step:,} steps{ground}")
    print(f"return {film.total:.4g} in {film.length:,} steps{', then it was over' * film.over}")
    print(film.path)
