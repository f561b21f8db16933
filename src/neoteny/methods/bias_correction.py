"""Adam's bias correction, starting anew for units that are made new.

Adam divides its moments, which begin at 0, by 1 - β^t (Kingma & Ba, ICLR 2015, Algorithm 1). torch counts t once for a
whole parameter; a unit that was reset k updates ago has moments that are only k updates old, and dividing them by
1 - β^t makes its first step (1 - β₁) / sqrt(1 - β₂) times too large, 3.2 times with the usual β, and the next ones
still more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from neoteny.units.records import Network, Slices


def horizon(beta1: float, beta2: float, precision: float = 2.0**-24) -> int:
    """Updates after which the correction is 1 to working precision, so that nothing is left to correct.

    >>> horizon(0.9, 0.999)
    16628
    """
    beta = max(beta1, beta2)
    return 0 if beta <= 0 else math.ceil(math.log(precision) / math.log(beta))


def entry_age(parameter: Tensor, step: Tensor, owners: Iterable[tuple[Slices, Tensor]]) -> Tensor:
    """Updates that each entry's moments have seen, broadcastable to the parameter.

    Args:
        parameter: gives the shape.
        step: updates of the whole parameter, t, `[]`.
        owners: the units whose reset also resets entries of this parameter, as slices and updates since then, `[n]`. An
            entry that belongs to two units (the outgoing weight of one, the incoming of another) is as old as the
            younger one.
    """
    import torch

    age = step.to(parameter.device)
    for slices, since in owners:
        age = torch.minimum(age, slices.spread(since.to(age.dtype), parameter, step.to(parameter.device)))
    return age


def corrected(
    parameter: Tensor,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    step: Tensor,
    age: Tensor,
    lr: float | Tensor,
    beta1: float | Tensor,
    beta2: float | Tensor,
    eps: float,
) -> Tensor:
    """The parameter as Adam's last step would have left it with every entry's own count of updates.

    With U(t) = lr · (m / (1 - β₁^t)) / (sqrt(v / (1 - β₂^t)) + ε), what Adam took off, it returns θ + U(t) - U(age)
    where age < t, and θ as it is elsewhere.

    Args:
        parameter: θ after the step.
        exp_avg: m after the step.
        exp_avg_sq: v after the step (its maximum so far, with amsgrad).
        step: t, the count that Adam used, `[]`.
        age: each entry's own count, broadcastable to θ.
        lr: step size.
        beta1: β₁.
        beta2: β₂.
        eps: ε.

    The first step of a newborn has the size lr, whatever its gradient:

    >>> import torch
    >>> m, v = torch.tensor([0.1]) * 3, torch.tensor([0.001]) * 9    # the gradient was 3, the moments were 0
    >>> after = -0.01 * m / (v.sqrt() + 1e-8)                         # what Adam does at a large t
    >>> corrected(after, m, v, torch.tensor(1e6), torch.tensor(1.0), 0.01, 0.9, 0.999, 1e-8)
    tensor([-0.0100])
    """
    import torch

    def update(t: Tensor) -> Tensor:
        t = t.to(parameter.dtype) if parameter.dtype.itemsize >= 4 else t
        return lr * (exp_avg / (1 - beta1**t)) / ((exp_avg_sq / (1 - beta2**t)).sqrt() + eps)

    young = age < step.to(age.device)
    # An entry made new and not stepped since has age 0: it has no moments and took no step.
    difference = update(step.to(age.device)) - update(age.clamp_min(1))
    return torch.where(young, parameter + difference.to(parameter.dtype), parameter)


class AdamCorrection:
    """Sets right what torch's Adam or AdamW did to the entries of young units; idle with every other optimizer.

    It follows on the host which layers can hold a young unit, and looks at nothing else. A parameter without a gradient
    takes no step and is left alone; the updates since a reset still count for it.

    Args:
        optimizer: any optimizer.
        network: the unit layers.
        parameters: by name.

    Attributes:
        young: for each layer the number of updates for which it may still hold young units.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, network: Network, parameters: Mapping[str, nn.Parameter]):
        from neoteny.units.reset import slices_of

        self.optimizer, self.parameters = optimizer, parameters
        self.young = {layer.name: 0 for layer in network.layers}
        self._owners: dict[str, list[tuple[str, Slices]]] = {name: [] for name in parameters}
        for layer in network.layers:
            for slices in slices_of(layer):
                if slices.name in self._owners:
                    self._owners[slices.name].append((layer.name, slices))

    def restart(self, layers: Iterable[str]) -> None:
        """Say that units of these layers may just have been made new."""
        for layer in layers:
            betas = [group["betas"] for group in self.optimizer.param_groups if "betas" in group]
            self.young[layer] = max((horizon(*map(float, pair)) for pair in betas), default=0)

    def correct(self, since: Mapping[str, Tensor], groups: Mapping[str, Mapping[str, Any]]) -> None:
        """After a step of the optimizer: correct it in place.

        Args:
            since: updates since each unit was made new, this one included, by layer.
            groups: the optimizer's group of each parameter that it trains, by name.
        """
        young = {name for name, updates in self.young.items() if updates > 0}
        if not young or not _is_adam(self.optimizer):
            return
        import torch

        for name in young:
            self.young[name] -= 1
        for name, group in groups.items():
            parameter = self.parameters[name]
            owners = [(slices, since[layer]) for layer, slices in self._owners[name] if layer in young]
            state = self.optimizer.state.get(parameter)
            if owners and state and "exp_avg_sq" in state and parameter.grad is not None:
                count = torch.as_tensor(state["step"], dtype=torch.float32)
                second = state["max_exp_avg_sq"] if group.get("amsgrad") else state["exp_avg_sq"]
                age, (beta1, beta2) = entry_age(parameter, count, owners), group["betas"]
                new = corrected(
                    parameter, state["exp_avg"], second, count, age, group["lr"], beta1, beta2, group["eps"]
                )
                parameter.copy_(new)


def _is_adam(optimizer: torch.optim.Optimizer) -> bool:
    """Adam, or one that makes its step from the same state by the same rule; torch's RAdam, NAdam and others do not."""
    import torch

    if isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
        return True
    own = type(optimizer).__module__.startswith("torch.optim")
    states = [state for state in optimizer.state.values() if state]
    alike = bool(states) and all({"step", "exp_avg", "exp_avg_sq"} <= set(state) for state in states)
    return not own and alike and all({"betas", "eps"} <= set(group) for group in optimizer.param_groups)
