"""`neoteny watch`: an episode of an agent, as a film."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from neoteny.cli.reading import read_options
from neoteny.errors import SettingError

__all__ = ["main"]


@dataclass(frozen=True)
class WatchOptions:
    """Film an episode of an agent from the last checkpoint of its run; no screen is needed.

    The film is an MP4 where imageio-ffmpeg is installed, otherwise a GIF.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """the run folder: the one with config.yaml and checkpoint.pt"""
    agent: int = 0
    """number of the agent, from 0"""
    seed: int = 0
    """seed of the initial state"""
    out: Path | None = None
    """the film, .mp4 or .gif; BENCHMARK-SYSTEM-agentN by default"""
    friction: float | None = None
    """friction of the ground; by default the agent's at the checkpoint"""
    size: str = "480x480"
    """width and height in pixels"""
    steps: int = 1_000
    """steps after which the episode is cut off"""
    sampled: tyro.conf.FlagCreatePairsOff[bool] = False
    """draw actions as in training, instead of taking the mean of the policy"""


def main(arguments: Sequence[str]) -> None:
    """Play, draw, and print what happened and where the film is."""
    options = read_options(WatchOptions, arguments, "neoteny watch")
    size = re.fullmatch(r"(\d+)x(\d+)", options.size)
    if size is None:
        raise SettingError(f"--size {options.size} is not WIDTHxHEIGHT in pixels; write it like 480x480.")
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
            size=(int(size[1]), int(size[2])),
            steps=options.steps,
            sampled=options.sampled,
            notify=advance,
        )
    ground = "" if film.friction is None else f", friction {film.friction:.3g}"
    print(f"agent {film.policy.agent} (seed {film.policy.seed}) after {film.policy.step:,} steps{ground}")
    print(f"return {film.total:.4g} in {film.length:,} steps{', then it fell' * film.fell}")
    print(film.path)
