"""What the benchmarks of streaming agents have in common: their networks, and the frame of `Locomotion`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from neoteny.benchmarks.locomotion import Locomotion
from neoteny.checks import require
from neoteny.lab.benchmark import System
from neoteny.methods.continual_backprop import ContinualBackprop
from neoteny.methods.regenerative import L2Init
from neoteny.methods.upgd import UPGD
from neoteny.methods.weight_clipping import WeightClipping
from neoteny.optim import ObGD, Optimizer
from neoteny.rl.settings import AgentSettings
from neoteny.rl.stream_settings import StreamSettings

if TYPE_CHECKING:
    from neoteny.rl.agents import Agents

__all__ = ["ABLATION", "AC_ABLATION", "ON_TOP", "Streaming"]

Kind = TypeVar("Kind", bound=AgentSettings)

ABLATION: Mapping[str, System] = {
    "no-obgd": System("a fixed step size in place of ObGD", overrides={"optimizer": "trace-sgd", "step_size": 1e-4}),
    "no-layer-norm": System("no layer norm", overrides={"normalisation": "none"}),
    "no-scaling": System(
        "observations and rewards as they are",
        overrides={"normalise_observations": False, "normalise_rewards": False},
    ),
    "no-sparse-init": System("every weight drawn, as torch does", overrides={"initialisation": "default"}),
}
"""Each part left out."""

AC_ABLATION: Mapping[str, System] = {
    **ABLATION,
    "no-obgd": System(
        "fixed step sizes of actor and critic in place of ObGD",
        overrides={"optimizer": "trace-sgd", "step_size": 1e-3, "actor_step_size": 1e-4},
    ),
}
"""The same of an actor and a critic. The step sizes were the best of five pairs on the hopper, 200,000 steps, seeds 100
and 101."""

ON_TOP: Mapping[str, System] = {
    "cbp": System(
        "continual backpropagation on top",
        (ContinualBackprop(replacement_rate=1e-5, maturity_threshold=10_000, replacement="drawn"),),
    ),
    "l2-init": System("a pull towards the initial weights on top", (L2Init(strength=1e-6),)),
    "upgd": System("noise for useless weights on top", (UPGD(),)),
    "weight-clipping": System("every weight kept within a multiple of its first bound", (WeightClipping(),)),
}
"""Methods on top of the whole algorithm."""


@dataclass(frozen=True, kw_only=True)
class Streaming(Locomotion, StreamSettings):
    """Agents that learn from every step once, in environments of any kind; everything is counted in steps of one agent.

    Raises:
        SettingError: a setting is outside its range.
    """

    ROBOT: ClassVar[str] = ""
    MEASURES: ClassVar[tuple[str, ...]] = ("dormant_units", "dead_units", "weight_magnitude")

    bin_size: int = 10_000
    """steps of a bin; a recorded return is the mean over the episodes that ended in it"""
    measure_every: int = 50_000
    """steps between two measurements of units and weights"""
    hidden: tuple[int, ...] = (128, 128)
    """units of the hidden layers, of each network"""
    activation: Literal["relu", "leaky_relu", "elu", "swish", "tanh", "sigmoid"] = "leaky_relu"
    """activation of the hidden layers"""
    normalisation: Literal["none", "layer", "plain_layer", "unit"] = "plain_layer"
    """a layer norm in front of each activation, with gain and shift or plain; or `unit`, which divides the last hidden
    layer by its Euclidean norm"""
    initialisation: Literal["sparse", "sparse_layer", "default", "lecun", "kaiming_uniform", "orthogonal"] = "sparse"
    """how weights are drawn"""
    optimizer: Optimizer = ObGD()
    """the optimizer and its settings"""

    def __post_init__(self) -> None:
        """Check the settings."""
        StreamSettings.__post_init__(self)
        Locomotion.__post_init__(self)
        require(self, "precision", self.precision == "float32", "float32: one example a step gains nothing from less")

    def settings_of(self, kind: type[Kind]) -> Kind:
        """How the agents learn, without the rest."""
        names = [field.name for field in fields(kind)]  # pyright: ignore[reportArgumentType] - all are dataclasses
        return kind(**{name: getattr(self, name) for name in names})

    def layers(self) -> dict[str, Any]:
        """Activation, initialisation and norm, as arguments of `neoteny.nn`'s networks."""
        return {
            "activation": self.activation,
            "initialisation": self.initialisation,
            "normalisation": self.normalisation if self.normalisation in ("layer", "plain_layer") else None,
            **({"unit_features": True} if self.normalisation == "unit" else {}),
        }

    @property
    def time_limit(self) -> int:
        """The greatest length of an episode."""
        return self.max_episode_steps

    @property
    def inputs(self) -> int:
        """What the networks see: an observation, and the time."""
        return self.observations + self.time_input

    def described(self, kind: str, sizes: Sequence[int]) -> dict[str, Any]:
        """The network as a plain dict."""
        own = {"activation": self.activation, "initialisation": self.initialisation}
        return {"kind": kind, "sizes": list(sizes), **own, "normalisation": self.normalisation}

    def streaming_agents(
        self, settings: type[AgentSettings], seeds: Sequence[int], threads: int, learning: Mapping[str, Any]
    ) -> Agents:
        """Agents of `agent_class` in their environments."""
        make: Any = self.agent_class()
        return make(
            self.build_environments(seeds, threads),
            settings=self.settings_of(settings),
            network=self.build_network,
            seeds=seeds,
            total=self.steps,
            time_limit=self.time_limit,
            **learning,
        )
