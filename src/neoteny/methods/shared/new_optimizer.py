"""A new optimizer for each task, as protocols have it that train a network in stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from neoteny.methods.base import Method, Stage, Step, Tensors

__all__ = ["NewOptimizer"]


@dataclass(frozen=True, kw_only=True)
class NewOptimizer(Method):
    """At a change of task the optimizer's state of every parameter starts anew, step counts included.

    >>> NewOptimizer()
    NewOptimizer()
    """

    name: ClassVar[str] = "new-optimizer"
    stage: ClassVar[Stage] = "reset"

    @property
    def needs_tasks(self) -> bool:
        """It acts nowhere else."""
        return True

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Let the state start anew."""
        for name in step.parameters():
            step.make_parameter_new(name, step.tensors[name])
        return state
