"""The options that say where stacks are trained, which `run`, `sweep` and `leaderboard` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from neoteny.errors import SettingError
from neoteny.kinds import Settings

if TYPE_CHECKING:
    from neoteny.lab.executors import Executor

__all__ = ["Placing"]


@dataclass(frozen=True)
class Placing(Settings):
    """Where stacks are trained."""

    executor: str = "local"
    """where stacks are trained: local, here (one after the other in this process), ray, slurm, or MODULE:CLASS"""
    jobs: int | None = None
    """stacks at once; by default as many as fit on the cores, or as a cluster has room for"""
    cores: int | None = None
    """cores of each stack; by default one for each of its threads"""
    gpus: float | None = None
    """GPUs of each stack, or its share of one, such as 0.25"""
    retries: int = 2
    """how often a stack whose process or machine was lost goes on from its last checkpoint"""
    executor_option: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """options of ray or slurm: timeout_min=600 (slurm), address=auto (ray)"""
    mirror: str = ""
    """a store on which run folders are kept as well and from which others go on: s3://bucket/runs"""

    def place(self) -> Executor:
        """The executor.

        Raises:
            UnknownNameError: there is none of that name.
            SettingError: it cannot be made with these options.
        """
        from neoteny.lab.executors.names import executor_of

        options = dict(map(_option, self.executor_option)) or None
        return executor_of(self.executor, jobs=self.jobs, cores=self.cores, gpus=self.gpus, options=options)


def _option(text: str) -> tuple[str, Any]:
    from neoteny.lab.plain import read_value

    name, equals, value = text.partition("=")
    if not (name and equals):
        raise SettingError(f"--executor-option {text} is not NAME=VALUE; write it like timeout_min=600.")
    return name.strip().replace("-", "_"), read_value(value)
