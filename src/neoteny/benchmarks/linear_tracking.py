"""What the benchmarks of linear tracking share: a linear learner follows a target with weights that move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from neoteny.lab.benchmark import OnlineBenchmark
from neoteny.streams.linear_tracking import Motion  # the command line reads annotations

if TYPE_CHECKING:
    from torch import nn

    from neoteny.streams.base import Stream

__all__ = ["LinearTrackingBenchmark"]


@dataclass(frozen=True, kw_only=True)
class LinearTrackingBenchmark(OnlineBenchmark):
    """A linear prediction without a bias, from weights of 0, judged before it learns from each example.

    Raises:
        SettingError: a setting is outside its range.
    """

    LOSS: ClassVar[Literal["mse", "cross_entropy"]] = "mse"
    MEASURES: ClassVar[tuple[str, ...]] = ("weight_magnitude", "step_size")
    MOTION: ClassVar[Motion]

    tasks: int = 30
    """number of blocks of examples, which differ in nothing but their draws"""
    task_length: int = 1_000
    """examples in a block"""
    bin_size: int = 10_000
    """examples over which a recorded error is averaged"""
    measure_every: int = 10_000
    """examples between two measurements of weights and step sizes"""
    inputs: int = 20
    """inputs"""
    relevant: int = 5
    """inputs that the target depends on"""
    period: int = 20
    """examples between two changes of the target's weights"""
    noise: float = 0.0
    """standard deviation of the noise in the target"""

    def __post_init__(self) -> None:
        """Check the settings of the problem."""
        super().__post_init__()
        self.build_stream([0])

    def network_settings(self) -> dict[str, Any]:
        """Kind and sizes."""
        return {"kind": "linear", "sizes": [self.inputs, 1], "bias": False}

    def build_network(self) -> nn.Module:
        """One linear unit with weights of 0."""
        from neoteny.nn import LinearNetwork

        return LinearNetwork(self.inputs, 1, "zero", bias=False)

    def build_stream(self, seeds: Sequence[int], data_dir: str | Path | None = None) -> Stream:
        """One target and one sequence of examples a run; no data is needed."""
        from neoteny.streams.linear_tracking import LinearTracking

        return LinearTracking(
            seeds,
            motion=self.MOTION,
            inputs=self.inputs,
            relevant=self.relevant,
            period=self.period,
            noise=self.noise,
            task_length=self.task_length,
            batch_size=self.batch_size,
            **self.motion_settings(),
        )

    def motion_settings(self) -> dict[str, Any]:
        """Further settings of how the target moves."""
        return {}
