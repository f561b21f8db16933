"""Operant conditioning: which of a thousand signals say what to do?

After Javed & Sutton, "Swift-Sarsa: fast and robust linear control", arXiv 2507.19539, 2025, whose problem has 30,000
and 60,000 signals. The paper's abstract says that few signals matter and that the others are noise of a distribution
that changes; all numbers are choices made here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.checks import require, require_fraction
from neoteny.lab.benchmark import OnlineBenchmark, System
from neoteny.optim import Optimizer, TraceSGD

if TYPE_CHECKING:
    from torch import nn

    from neoteny.lab.objective import Objective
    from neoteny.streams.base import Stream

__all__ = ["OperantConditioning"]


@dataclass(frozen=True, kw_only=True)
class OperantConditioning(OnlineBenchmark):
    """Two of 1,000 binary signals are cues, each for an action that is then rewarded; the others are noise.

    The learner is linear Sarsa(lambda), epsilon-greedy; see `neoteny.streams.operant.Operant`. The score is how much
    reward a step is missed: the best action's less that of the action taken. Never acting misses about 0.09.

    Known (in words, Javed & Sutton): Swift-Sarsa finds the signals that matter, and for a range of its two step sizes
    comes near the best policy. Measured here, 2 runs, steps 15,000 to 20,000: Swift-Sarsa misses 0.018 with the initial
    step size 0.001 (0.044 with 0.01, 0.051 with 0.0001), Sarsa(lambda) 0.034 with step size 0.003 (0.040 with 0.001);
    the random actions alone cost about 0.013.

    Scales: `paper` is 500,000 steps; `small` 50,000; `tiny` is for tests.

    Versions:
        v1: as described, with 1,000 signals.

    Raises:
        SettingError: a setting is outside its range.

    >>> OperantConditioning().steps, OperantConditioning().network_settings()["sizes"]
    (500000, [1000, 3])
    """

    ID: ClassVar[str] = "operant-conditioning-v1"
    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "mse"
    MEASURES: ClassVar[tuple[str, ...]] = ("weight_magnitude",)
    SCALES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {"tasks": 25},
        "tiny": {
            **{"tasks": 3, "task_length": 100, "bin_size": 50, "measure_every": 150, "probe_size": 20, "signals": 12},
        },
    }
    SYSTEMS: ClassVar[Mapping[str, System]] = {
        "backprop": System("Sarsa(lambda) with one step size"),
        "true-online-sarsa": System(
            "true online Sarsa(lambda) with one step size",
            overrides={"optimizer": "true-online-td", "step_size": 0.003},
        ),
        "swift-sarsa": System(
            "Swift-Sarsa: a step size for each weight, and a bound",
            overrides={"optimizer": "swift-td", "step_size": 0.001},
        ),
    }

    tasks: int = 250
    """distributions of the noise"""
    task_length: int = 2_000
    """steps of each"""
    bin_size: int = 10_000
    """steps over which a recorded loss is averaged"""
    measure_every: int = 50_000
    """steps between two measurements of the weights"""
    probe_size: int = 100
    """inputs that the measures are taken on"""
    optimizer: Optimizer = TraceSGD(step_size=0.003)
    """the rule that follows the values"""
    signals: int = 1_000
    """signals, cues included"""
    cues: int = 2
    """cues, each for an action of its own"""
    pause: tuple[int, int] = (5, 15)
    """least and most steps from cue to cue"""
    cost: float = 0.1
    """of acting"""
    discount: float = 0.9
    """gamma"""
    trace: float = 0.9
    """lambda"""
    exploration: float = 0.1
    """share of actions that are drawn at random"""

    def __post_init__(self) -> None:
        """Check the settings; those of the problem are checked with it."""
        super().__post_init__()
        require_fraction(self, "discount", "trace", "exploration")
        require(self, "batch_size", self.batch_size == 1, "1: traces belong to one stream")
        self.build_stream([0])
        follows = self.optimizer.follows != "loss"
        require(self, "optimizer", follows, "one that follows predictions, such as swift-td or trace-sgd")

    def network_settings(self) -> dict[str, Any]:
        """Kind and sizes."""
        return {"kind": "action values", "sizes": [self.signals, 1 + self.cues]}

    def build_network(self) -> nn.Module:
        """Linear values of actions, 0 at first."""
        from neoteny.nn.action_values import LinearActionValues

        return LinearActionValues(self.signals, 1 + self.cues)

    def build_objective(self) -> Objective:
        """Sarsa(lambda)."""
        from neoteny.lab.temporal import sarsa

        return sarsa(self.optimizer, self.discount, self.trace, self.exploration)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One sequence of signals a run; no data is needed."""
        from neoteny.streams.operant import Operant

        own = {name: getattr(self, name) for name in ("signals", "cues", "pause", "cost")}
        return Operant(seeds, task_length=self.task_length, **own)
