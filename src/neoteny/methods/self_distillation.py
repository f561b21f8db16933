"""Self-distillation: keep the outputs near those of the moving average of the weights.

Tarvainen & Valpola, "Mean teachers are better role models", NeurIPS 2017, arXiv 1703.01780; as the baseline of Hare &
Tortoise: Lee et al., "Slow and steady wins the race", ICML 2024, arXiv 2406.02596, and its public code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import is_number, is_zero, require, require_nonnegative
from neoteny.methods.base import Contract, Stage, Step, Tensors
from neoteny.methods.shared.averaging import Averaging
from neoteny.methods.shared.penalty import on_reference

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class SelfDistillation(Averaging):
    """Keep the outputs near those of a teacher, the moving average of the weights.

    The teacher a begins as a copy of the network θ; after each update a ← μ a + (1 - μ) θ. Before each step the
    gradient of a distance D on the reference batch x is added, with both in evaluation mode:

        g ← g + λ ∇_θ D(f_θ(x), f_a(x))

    `distance="kl"`, with the temperature T and means over the examples:

        D = mean Σ_k p_k (log p_k - log q_k)        p = softmax(f_a / T), q = softmax(f_θ / T)

    `distance="squared"` is the mean of (f_θ - f_a)² over examples and outputs, for tasks other than classification. A
    network with a single output always gets it, since it has no distribution to compare.

    Lee et al. compare on the batch trained on, with the student in training mode. Their code also divides D by the
    number of outputs: its λ, which is 1, is ours times that number. The network is evaluated, not the teacher.

    Args:
        mu: μ in [0, 1).
        strength: λ.
        distance: `kl` or `squared`.
        temperature: T; 1 in the authors' code.

    Raises:
        SettingError: a setting outside its range.

    >>> SelfDistillation(strength=0.1)
    SelfDistillation(mu=0.999, strength=0.1, distance='kl', temperature=1.0)
    """

    name: ClassVar[str] = "self-distillation"
    stage: ClassVar[Stage] = "regulariser"
    varies: ClassVar[tuple[str, ...]] = ("mu", "strength", "temperature")
    needs_reference: ClassVar[bool] = True
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"mu": (0.99, 0.999), "strength": (0.01, 0.1, 1.0)}
    memory: ClassVar[tuple[float, float]] = (1.0, 4.0)
    avoid: ClassVar[str] = (
        "Where tasks change often: the teacher still gives the answers of the old task. Each step costs two more "
        "forward passes and one more backward pass."
    )

    strength: float = 1.0
    distance: Literal["kl", "squared"] = "kl"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        require_nonnegative(self, "strength", "temperature")
        require(self, "temperature", is_number(self.temperature) and self.temperature > 0, "a number > 0")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(mu=0.8), cls(mu=0.5, distance="squared", strength=0.1)], [cls(strength=0)]

    def inert(self) -> str | None:
        """Without strength no output is held."""
        return "strength = 0, so no output is held" if self.strength == 0 else None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<tensor>/average`: the teacher; and `<tensor>/seen` of everything that is no trained parameter.

        The student is evaluated with the running statistics that the last step left. So an optimizer that asks for
        gradients several times gets the same ones, although every pass changes the statistics.
        """
        state = super().init(network, tensors)
        others = {name: value for name, value in tensors.items() if name not in network.initialisers}
        return state | {f"{name}/seen": value.detach().clone() for name, value in others.items()}

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add the gradient of λ D."""
        if is_zero(self.strength) or not step.grads:
            return state
        network = on_reference(step)
        teacher, _ = network(self.averages(step.tensors, state))

        own = {name: state.get(f"{name}/seen", value) for name, value in step.tensors.items()}

        def distance(parameters: Tensors) -> Tensor:
            return self._distance(network({**own, **parameters})[0], teacher)

        (pulls,) = step.gradient_of(distance, {name: step.tensors[name] for name in step.grads})
        for name, pull in pulls.items():
            step.grads[name] = step.grads[name] + self.strength * pull
        return state

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """The teacher follows."""
        state = self.followed(step, state, 1 - self.mu)
        seen = {f"{name}/seen": value for name, value in step.tensors.items()}
        return {name: seen[name].clone() if name in seen else value for name, value in state.items()}

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.distance == "squared" or student.dim() < 2 or student.shape[-1] == 1:
            return (student - teacher).square().mean()
        log_p, log_q = (outputs.div(self.temperature).log_softmax(-1) for outputs in (teacher, student))
        return (log_p.exp() * (log_p - log_q)).sum(-1).mean()
