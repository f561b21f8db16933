"""The settings of agents that learn from pixels, and the published ones for Atari-100k; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from neoteny.checks import is_finite, require, require_count, require_fraction, require_nonnegative, require_positive
from neoteny.errors import SettingError
from neoteny.rl.replay_settings import DQNSettings

if TYPE_CHECKING:
    from neoteny.nn.pixel_network import PixelNetwork

__all__ = ["BBF", "DRQ", "SPR", "PixelSettings"]


@dataclass(frozen=True, kw_only=True)
class PixelSettings(DQNSettings):
    """The settings of a DQN that sees pixels; the defaults are DrQ(eps)'s of Agarwal et al. (2021) for Atari-100k.

    `DRQ`, `SPR` and `BBF` of this module hold what the three agents are made of: `PixelSettings(**BBF)`. Their
    optimizers are Adam with `step_size=1e-4, eps=1.5e-4`, and for BBF `weight_decay=0.1`.

    Raises:
        SettingError: a setting is outside its range, or does not go together with another.

    >>> bbf = PixelSettings(**BBF)
    >>> [bbf.steps_ahead(updates) for updates in (0, 5_000, 10_000)]
    [10, 5, 3]
    >>> [round(bbf.discount(updates), 4) for updates in (0, 5_000, 10_000)]
    [0.97, 0.9905, 0.997]
    """

    gamma: float = 0.99
    """the discount"""
    n_step: int = 10
    """n: rewards that are summed before the value of a later state is added"""
    learning_starts: int = 1_600
    """steps of an agent with random actions, before the first update"""
    storage: Literal["float32", "uint8", "bits", "frames"] = "uint8"
    """how observations are kept: as they are, as bytes, as bits where they are 0 or 1, or each frame of a stack once"""
    double: bool = True
    """whether the network chooses the action whose value the target network gives (double DQN)"""
    target_every: int = 1
    """updates between two copies into the target network, where `tau` is 1"""
    exploration_steps: int = 5_000
    """steps of an agent, after `learning_starts`, over which the share of random actions falls, linearly"""
    last_epsilon: float = 0.01
    """share of random actions in the end"""
    last_correction: float = 1.0
    """what `priority_correction` rises to over the run; BBF keeps it at 0.5"""
    encoder: Literal["nature", "impala"] = "nature"
    """the convolutions: those of Mnih et al. (2015), or the residual ones of Espeholt et al. (2018)"""
    width: float = 1.0
    """the encoder has so many times as many maps as published; 4 in BBF"""
    hidden: tuple[int, ...] = (512,)
    """units of the hidden layer behind the encoder; 2,048 in BBF"""
    dueling: bool = True
    """whether the network gives the value of a state, and by how much each action is better"""
    renormalise: bool = False
    """whether the encoder's output is moved and scaled to [0, 1], of each image by itself (SPR, BBF)"""
    augment: bool = True
    """whether images are shifted and change in brightness before each update"""
    shift: int = 4
    """by up to how many pixels an image is shifted to each side; its border is repeated"""
    intensity: float = 0.05
    """s: an image is multiplied by 1 + s e, with e normal and clipped to [-2, 2]"""
    atoms: int = 0
    """values of returns whose probabilities are learned (C51 has 51); 0: the expected return alone is"""
    v_min: float = -10.0
    """the least of these values"""
    v_max: float = 10.0
    """the greatest of them"""
    jumps: int = 0
    """K: steps by which the encoder's output is predicted ahead (SPR has 5); 0: no self-prediction"""
    prediction_weight: float = 5.0
    """of the self-predictive loss, a mean over the K steps; with K = 5 this is the 2 of SPR's paper, for its sum"""
    first_n_step: int | None = None
    """n in the first update after a reset, from where it goes to `n_step`; None: always `n_step`"""
    first_gamma: float | None = None
    """the discount in the first update after a reset, from where it goes to `gamma`; None: always `gamma`"""
    anneal: int = 10_000
    """updates after a reset over which n and the discount go there, exponentially"""
    acts: Literal["network", "target"] = "network"
    """which network chooses actions, in training and in evaluations"""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_positive(self, "width")
        require_nonnegative(self, "intensity", "prediction_weight")
        require_fraction(self, "last_correction")
        require_count(self, "shift", "jumps", "atoms")
        require_count(self, "anneal", least=1)
        require(self, "hidden", len(self.hidden) == 1 and self.hidden[0] >= 1, "the size of one hidden layer")
        require(self, "atoms", self.atoms != 1, "0 or a number of values from 2 on, such as 51")
        if not (is_finite(self.v_min) and is_finite(self.v_max) and self.v_min < self.v_max):
            raise SettingError(f"v_min = {self.v_min}, v_max = {self.v_max}: give two numbers, the smaller one first.")
        if self.first_n_step is not None:
            require_count(self, "first_n_step", least=1)
        if self.first_gamma is not None:
            require_fraction(self, "first_gamma")
            require(self, "first_gamma", self.first_gamma < 1 and self.gamma < 1, "below 1, as gamma must be as well")

    def network(self, shape: tuple[int, int, int], actions: int) -> PixelNetwork:
        """A fresh network for images [frames, height, width] and so many actions."""
        from neoteny.nn.pixel_network import PixelNetwork

        return PixelNetwork(
            shape,
            actions,
            encoder=self.encoder,
            width=self.width,
            hidden=self.hidden[0],
            dueling=self.dueling,
            atoms=self.atoms,
            v_min=self.v_min,
            v_max=self.v_max,
            predicts=self.jumps > 0,
            renormalise=self.renormalise,
        )

    def epsilon(self, step: int) -> float:
        """The share of random actions after `step` steps: it falls once learning has started.

        >>> PixelSettings().epsilon(1_600), round(PixelSettings().epsilon(6_600), 3)
        (1.0, 0.01)
        """
        return super().epsilon(max(step - self.learning_starts, 0))

    def correction(self, share: float) -> float:
        """beta, by which weights correct for priorities, after a share of the run."""
        return self.priority_correction + (self.last_correction - self.priority_correction) * share

    def steps_ahead(self, updates: int) -> int:
        """How many steps n is so many updates after a reset: n_1^(1 - x) n^x, rounded.

        There x goes from 0 to 1 over `anneal` updates.

        Source: Schwarzer et al. 2023, Section 3, and the authors' public `bigger_better_faster`.
        """
        if self.first_n_step is None:
            return self.n_step
        x = min(updates / self.anneal, 1.0)
        return round(self.first_n_step ** (1 - x) * self.n_step**x)

    def discount(self, updates: int) -> float:
        """The discount so many updates after a reset: 1 - (1 - gamma_1)^(1 - x) (1 - gamma)^x, with x as for n."""
        if self.first_gamma is None or updates >= self.anneal:
            return self.gamma
        x = updates / self.anneal
        return 1 - (1 - self.first_gamma) ** (1 - x) * (1 - self.gamma) ** x


DRQ: Mapping[str, Any] = MappingProxyType({})
"""DrQ(eps) (Kostrikov et al. 2021; Agarwal et al. 2021): the defaults. The target network is the network itself."""
SPR: Mapping[str, Any] = MappingProxyType(
    {
        "learning_starts": 2_000,
        "replay_ratio": 2.0,
        "atoms": 51,
        "jumps": 5,
        "renormalise": True,
        "priority": 0.5,
        "priority_correction": 0.5,
        "last_correction": 0.5,
        "exploration_steps": 2_001,
        "last_epsilon": 0.0,
    }
)
"""SPR (Schwarzer et al. 2021). The published one explores by noisy layers, this one as DrQ(eps) does, down to 0."""
BBF: Mapping[str, Any] = MappingProxyType(
    {
        **SPR,
        "encoder": "impala",
        "width": 4.0,
        "hidden": (2_048,),
        "n_step": 3,
        "first_n_step": 10,
        "gamma": 0.997,
        "first_gamma": 0.97,
        "anneal": 10_000,
        "tau": 0.005,
        "acts": "target",
        "reset_every": 20_000,
    }
)
"""BBF (Schwarzer et al. 2023), without the reset itself: `ShrinkAndPerturb(when="at_task", shrink=0.5)` and
`HeadReset(layers=2, also=("predictor",))`, together. Its updates are two a step, so a reset comes every 40,000."""
