"""C-CHAIN: keep the outputs on other examples as they were before the last update.

Tang, Obando-Ceron, Castro, Courville & Berseth, "Mitigating plasticity loss in continual reinforcement learning by
reducing churn", ICML 2025 (arXiv 2506.00592).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from neoteny.checks import is_zero, require_count, require_fraction, require_nonnegative
from neoteny.methods.base import Contract, Method, Step, Tensors
from neoteny.methods.shared.penalty import at_least_single, gradients, on_reference

if TYPE_CHECKING:
    from torch import Tensor

    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class CChain(Method):
    """Penalise churn: how far the last updates moved the outputs on examples that they were not made for.

    With the outputs f on the reference batch, of the present network θ_t and of the network `lag` updates ago,

        L = mean (f(θ_t) - f(θ_t-lag))²                       (distance="squared": values, any numbers)
        L = mean Σ_c p_c(θ_t-lag) log(p_c(θ_t-lag) / p_c(θ_t))    (distance="kl": the softmax p of policies, classes)

    and before each step, with β the strength,

        g ← g + β r ∇L,    r = M / C                          (scaling="relative" and "losses")
        g ← g + β ∇L                                          (scaling="fixed")

    The paper keeps the term at a fixed ratio β of the main loss, by running means of both losses: with "losses" M is
    the running mean of |main loss|, C that of L. A method that rides on a user's optimizer sees the gradient of the
    main loss, but not the loss. So with "relative" M is the running mean of the norm of g, C that of the norm of ∇L,
    both over all trained parameters, and β is the size of the pull relative to the gradient. g contains what
    regularisers listed before this one have added. An update before which no weight has moved, such as the first, gets
    no pull and does not count in the means.

    The authors' code keeps a history of networks whose last entry is the present one, and takes the entry -2: that is
    `lag=1`. It uses a constant coefficient for some updates before it holds the ratio; here the ratio is held from the
    first churn on.

    Args:
        strength: β. The paper's ratios of losses are about 0.01 to 0.1; 0.01 for values of actions.
        scaling: whether β is relative to the gradient, a ratio of losses (in the laboratory alone), or the coefficient
            itself.
        distance: the distance of the outputs, see above.
        lag: how many updates ago the other network was.
        decay: of the running means; 0.99 averages over about a hundred updates.

    Raises:
        SettingError: a setting outside its range.

    >>> CChain(strength=0.1).lag
    1
    """

    name: ClassVar[str] = "c-chain"
    varies: ClassVar[tuple[str, ...]] = ("strength", "decay")
    needs_reference: ClassVar[bool] = True
    grid: ClassVar[dict[str, tuple[float, ...]]] = {"strength": (0.01, 0.03, 0.1, 0.3, 1.0)}
    memory: ClassVar[tuple[float, float]] = (3.0, 4.0)
    avoid: ClassVar[str] = (
        "Where the outputs on other examples have to change as fast as those on the batch, as after an abrupt change "
        "of task: the pull keeps them where they were an update ago. A network without churn gains nothing."
    )

    strength: float = 0.1
    scaling: Literal["relative", "losses", "fixed"] = "relative"
    distance: Literal["squared", "kl"] = "squared"
    lag: int = 1
    decay: float = 0.99

    def __post_init__(self) -> None:
        """Check the settings."""
        require_nonnegative(self, "strength")
        require_count(self, "lag", least=1)
        require_fraction(self, "decay")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        active = [cls(strength=0.5), cls(strength=2.0, scaling="fixed", lag=2), cls(strength=0.5, distance="kl")]
        return active, [cls(strength=0), cls(strength=0, scaling="fixed")]

    def inert(self) -> str | None:
        """Without strength there is no pull."""
        return "strength = 0, so no churn is penalised" if self.strength == 0 else None

    @property
    def needs_loss(self) -> bool:
        """Where losses are compared."""
        return self.scaling == "losses" and not is_zero(self.strength)

    @property
    def acts_always(self) -> bool:
        """After each step it stores the network."""
        return not is_zero(self.strength)

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`<tensor>/k`: the network of k updates ago, k = 0 to `lag`; the running means M and C, at once and next."""
        import torch

        state = {
            f"{name}/{ago}": tensor.detach().clone() for name, tensor in tensors.items() for ago in range(self.lag + 1)
        }
        if self.scaling != "fixed":
            like = at_least_single(next(value for value in tensors.values() if value.is_floating_point()))
            state |= {name: torch.zeros((), dtype=like.dtype, device=like.device) for name in _MEANS}
        return state

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Add the pull to the gradients."""
        if is_zero(self.strength) or not step.grads:
            return state
        import torch

        lagged = {name: state[f"{name}/{self.lag}"] for name in step.tensors}
        before, _ = on_reference(step)(lagged)
        distance = _squared if self.distance == "squared" else _kl
        pull, _ = gradients(step, lambda outputs, *_: distance(outputs, before))
        factor = self.strength
        if self.scaling != "fixed":
            moved = torch.stack([(value != lagged[name]).any() for name, value in step.tensors.items()]).any()
            if self.scaling == "relative":
                sizes = _norm(step.grads), _norm(pull)
            else:
                assert step.loss is not None  # `attach` refuses methods that need it
                sizes = step.loss.abs(), distance(on_reference(step)(step.tensors)[0], before)
            state = self._means(state, *sizes, moved)
            # where nothing has moved, the pull is rounding error, which must not be scaled up
            factor = torch.where(moved, self.strength * _ratio(state["main/next"], state["churn/next"]), 0)
        for name, own in step.grads.items():
            step.grads[name] = own + (factor * pull[name]).to(own.dtype)
        return state

    def _means(self, state: Tensors, main: Tensor, churn: Tensor, moved: Tensor) -> Tensors:
        """The running means with this update. An optimizer with a closure may ask for them several times an update."""
        import torch

        state = dict(state)
        for name, size in (("main", main), ("churn", churn)):
            old = state[name]
            mean = self.decay * old + (1 - self.decay) * size.to(old.dtype)
            state[f"{name}/next"] = torch.where(moved, mean.to(old.dtype), old)
        return state

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Store the network as the optimizer has left it."""
        state = dict(state)
        for name, tensor in step.tensors.items():
            for ago in range(self.lag, 0, -1):
                state[f"{name}/{ago}"] = state[f"{name}/{ago - 1}"]
            state[f"{name}/0"] = tensor.detach().clone()
        if self.scaling != "fixed":
            state |= {"main": state["main/next"], "churn": state["churn/next"]}
        return state


_MEANS = ("main", "main/next", "churn", "churn/next")


def _squared(outputs: Tensor, before: Tensor) -> Tensor:
    return (at_least_single(outputs) - at_least_single(before)).square().mean()


def _kl(outputs: Tensor, before: Tensor) -> Tensor:
    now, then = at_least_single(outputs).log_softmax(-1), at_least_single(before).log_softmax(-1)
    return (then.exp() * (then - now)).sum(-1).mean()


def _norm(grads: Tensors) -> Tensor:
    import torch

    parts = [torch.view_as_real(grad) if grad.is_complex() else grad for grad in grads.values()]
    return torch.stack([at_least_single(part).square().sum() for part in parts]).sum().sqrt()


def _ratio(main: Tensor, churn: Tensor) -> Tensor:
    import torch

    some = churn > 0
    return torch.where(some, main / torch.where(some, churn, 1), 0)
