"""What the benchmarks of agents that learn from replay have in common: evaluations, and the frame of `Locomotion`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from neoteny.benchmarks.locomotion import Locomotion
from neoteny.checks import require_count
from neoteny.errors import SettingError
from neoteny.rl.replay_settings import ReplaySettings
from neoteny.rl.settings import AgentSettings

if TYPE_CHECKING:
    from neoteny.rl.agents import Agents
    from neoteny.rl.environments import Environments
    from neoteny.streams.timeline import Timeline

__all__ = ["Replaying"]

Kind = TypeVar("Kind", bound=AgentSettings)


@dataclass(frozen=True, kw_only=True)
class Replaying(Locomotion, ReplaySettings):
    """Agents that learn from replay; everything is counted in steps of one agent.

    Raises:
        SettingError: a setting is outside its range.
    """

    ROBOT: ClassVar[str] = ""
    evaluation_epsilon: ClassVar[float] = 0.0
    """Share of random actions in evaluations; a setting where it is one."""

    bin_size: int = 5_000
    """steps of a bin; a recorded return is the mean over the episodes that ended in it"""
    measure_every: int = 50_000
    """steps between two measurements of units and weights"""
    evaluate_every: int = 5_000
    """steps between two evaluations; one at a reset comes before it"""
    evaluation_episodes: int = 10
    """episodes of an evaluation, apart from training, by the actions that an agent prefers"""

    def __post_init__(self) -> None:
        """Check the settings."""
        Locomotion.__post_init__(self)
        require_count(self, "evaluate_every", "evaluation_episodes", least=1)
        if self.evaluate_every % self.segment:
            raise SettingError(
                f"{self.ID}: evaluate_every = {self.evaluate_every} is not a multiple of segment = {self.segment}; "
                "give one."
            )

    def timeline(self) -> Timeline:
        """With the evaluations."""
        from neoteny.streams.timeline import every

        return replace(super().timeline(), tests=every(self.evaluate_every, self.steps))

    def settings_of(self, kind: type[Kind]) -> Kind:
        """How the agents learn, without the rest."""
        names = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType] - all are dataclasses
        return kind(**{name: getattr(self, name) for name in names})

    def environments_of(self, number: int, threads: int) -> Environments:
        """Some environments."""
        from neoteny.envs import MujocoVectorEnv

        return MujocoVectorEnv(
            self.ROBOT, number, threads=threads, max_episode_steps=self.max_episode_steps, **self.options
        )

    def build_environments(self, seeds: Sequence[int], threads: int = 1) -> Environments:
        """The environments of some agents; see `Locomotion`."""
        return self.environments_of(len(seeds) * self.environments, threads)

    def build_evaluation(self, seeds: Sequence[int], threads: int = 1) -> Environments:
        """The environments in which some agents are evaluated, one an episode."""
        return self.environments_of(len(seeds) * self.evaluation_episodes, threads)

    def replaying_agents(
        self, kind: type[AgentSettings], seeds: Sequence[int], threads: int, learning: Mapping[str, Any]
    ) -> Agents:
        """Agents of `agent_class` in their environments."""
        make: Any = self.agent_class()
        return make(
            self.build_environments(seeds, threads),
            settings=self.settings_of(kind),
            network=self.build_network,
            seeds=seeds,
            total=self.steps,
            precision=self.precision,
            **learning,
        )
