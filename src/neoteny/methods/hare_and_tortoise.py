"""Hare & Tortoise: from time to time, set a network back to the slow average of its weights.

Lee, Cho, Kim, Kim, Min, Choo & Lyle, "Slow and steady wins the race: maintaining plasticity with hare and tortoise
networks", ICML 2024, arXiv 2406.02596 (Section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import require_count
from neoteny.errors import NetworkError, SettingError
from neoteny.methods.base import Contract, Stage, Step, Tensors
from neoteny.methods.head_reset import last_layers
from neoteny.methods.shared.averaging import Averaging

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class HareAndTortoise(Averaging):
    """Let a slow average follow the weights, and set the weights to it from time to time.

    The hare θ learns. The tortoise a begins as a copy of the hare and follows it after each update, buffers included:

        a ← μ a + (1 - μ) θ

    Every `period` updates, or at a change of task, the hare goes back to the tortoise: θ ← a. The optimizer's state
    stays, as in the authors' code, or begins anew (`keep_momentum`); all of the network goes back, or all but the last
    layers (`keep_layers`); target networks stay as they are. The tortoise is evaluated.

    In the authors' code the two share their memory after a return, until the tortoise moves. So at the next update the
    tortoise makes the hare's whole step, a ← θ, whatever μ is. `shared_step=True` does that; the paper's rule does not.

    Args:
        mu: μ in [0, 1); with 0 both are the same.
        period: updates between two returns; None: at a change of task. In the paper it is a number of epochs.
        shared_step: let the tortoise make the hare's whole first step after a return, as the authors' code does.
        tortoise: `own` keeps an average; `target` takes an agent's target network, which is one already, for the
            networks that have one. Others stay as they are, μ is not used, and the hare is evaluated.
        keep_momentum: leave the optimizer's state alone at a return; otherwise that of all weights that go back begins
            anew.
        keep_layers: how many of the last layers stay the hare's, counted as in `HeadReset`.

    Raises:
        SettingError: μ outside [0, 1), a period below 1, fewer than 0 layers; in training, no target network where one
            should be the tortoise.
        NetworkError: all layers would be kept.

    >>> HareAndTortoise(period=10_000).mu
    0.999
    """

    name: ClassVar[str] = "hare-and-tortoise"
    stage: ClassVar[Stage] = "average"
    varies: ClassVar[tuple[str, ...]] = ("mu",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"mu": (0.9, 0.99, 0.999, 0.9999)}
    memory: ClassVar[tuple[float, float]] = (1.0, 2.0)
    avoid: ClassVar[str] = (
        "Where every example is seen once and the target moves within 1 / (1 - mu) updates: the hare then goes back to "
        "outdated weights. It improves generalisation, not the ability to fit."
    )

    period: int | None = None
    shared_step: bool = False
    tortoise: Literal["own", "target"] = "own"
    keep_momentum: bool = True
    keep_layers: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if self.tortoise == "target" and self.shared_step:
            raise SettingError("HareAndTortoise: a target network makes no shared step; leave shared_step out.")
        if self.period is not None:
            require_count(self, "period", least=1)
        require_count(self, "keep_layers")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        active = [cls(mu=0.9, period=4), cls(mu=0.9), cls(mu=0.9, period=3, shared_step=True)]
        active += [cls(mu=0.9, period=4, keep_momentum=False, keep_layers=1)]
        return active, [cls(mu=0), cls(mu=0, period=3)]

    @property
    def needs_tasks(self) -> bool:
        """Unless there is a period."""
        return self.period is None

    def inert(self) -> str | None:
        """With μ = 0 both are the same."""
        return "mu = 0, so the tortoise is the hare" if self.mu == 0 and self.tortoise == "own" else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<tensor>/average`: the tortoise; with `shared_step` `back`, bool `[]`: whether the hare just returned."""
        import torch

        if self.keep_layers and not set(network.initialisers) - set(last_layers(network, self.keep_layers)):
            raise NetworkError(
                f"HareAndTortoise: keep_layers = {self.keep_layers} keeps all of the network, so nothing goes back; "
                "give fewer."
            )
        if self.tortoise == "target":
            return {}
        state = super().init(network, tensors)
        if self.shared_step:
            state["back"] = torch.zeros((), dtype=torch.bool, device=next(iter(tensors.values())).device)
        return state

    def schedule(self, network: Network, seed: int) -> Periodic | None:
        """One column: 1 at every `period`-th update."""
        from neoteny.methods.shared.schedule import Periodic

        return None if self.period is None else Periodic(self.period)

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """The tortoise follows; where it is due, the hare goes back to it."""
        import torch

        when = None if due is None else due[0] > 0
        if self.tortoise == "target":
            slow = self._targets(step)
            if when is not None:
                self._go_back(step, slow, when)
            return state
        share = 1 - self.mu
        if self.shared_step:
            share = torch.where(state["back"], torch.ones_like(state["back"], dtype=torch.float64), share)
        state = self.followed(step, state, share)
        if when is not None:
            self._go_back(step, self.averages(step.tensors, state), when)
        if self.shared_step:
            state["back"] = torch.zeros_like(state["back"]) if when is None else when
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """The hare goes back, unless it has a period of its own."""
        if self.period is not None:
            return state
        if self.tortoise == "target":
            self._go_back(step, self._targets(step), None)
            return state
        self._go_back(step, self.averages(step.tensors, state), None)
        if self.shared_step:
            import torch

            state = {**state, "back": torch.ones_like(state["back"])}
        return state

    def _go_back(self, step: Step, slow: Tensors, when: Tensor | None) -> None:
        """Set the hare to the tortoise where `when`, bool `[]`, is true; None: for certain."""
        import torch

        stays = set(last_layers(step.network, self.keep_layers)) if self.keep_layers else set()
        back = {name: value for name, value in slow.items() if name not in stays}
        for name, value in back.items():
            if name in step.optim and not self.keep_momentum:
                step.make_parameter_new(name, value, when)
            else:
                step.tensors[name] = value if when is None else torch.where(when, value, step.tensors[name])
        if not self.keep_momentum:
            step.count_anew(back, when)

    @staticmethod
    def _targets(step: Step) -> Tensors:
        """The tensors of the target networks, by the names of those that they copy."""
        if not step.slow:
            raise SettingError(
                "HareAndTortoise: tortoise = 'target', and there is no target network here: give tortoise='own', or "
                "train an agent of neoteny.rl that has one, such as SAC or DQN (PixelDQN keeps one if tau is below 1)."
            )
        return {name: value for copies in step.slow.values() for name, value in copies.items()}

    def evaluated(self, tensors: Tensors, state: Tensors) -> Tensors:
        """The tortoise."""
        return self.averages(tensors, state)
