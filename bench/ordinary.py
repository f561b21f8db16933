"""What neoteny is compared with: the training loops that a good user of PyTorch would write by hand."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OrdinaryCBP:
    """Continual backpropagation as one would simply add it to a loop over one `nn.Sequential`.

    Adaptable contribution; one unit is drawn at a time in each layer; layers are `nn.Linear` or `nn.Conv2d`,
    alternating with activations (and pooling).
    """

    def __init__(self, net: nn.Sequential, rate: float = 1e-4, decay: float = 0.99, maturity: int = 100):
        self.layers = [m for m in net if isinstance(m, nn.Linear | nn.Conv2d)]
        self.rate, self.decay, self.maturity = rate, decay, maturity
        self.features: list[Tensor] = []
        for layer in self.layers[1:]:
            layer.register_forward_pre_hook(lambda _, inputs: self.features.append(inputs[0]))
        sizes = [layer.weight.shape[0] for layer in self.layers[:-1]]
        self.age = [torch.zeros(n) for n in sizes]
        self.mean = [torch.zeros(n) for n in sizes]
        self.utility = [torch.zeros(n) for n in sizes]
        self.account = [0.0 for _ in sizes]
        self.bound = [layer.weight.detach().abs().max().item() for layer in self.layers]

    @torch.no_grad()
    def step(self) -> None:
        for i, h in enumerate(self.features):
            layer, following = self.layers[i], self.layers[i + 1]
            n = layer.weight.shape[0]
            h = h.view(h.shape[0], n, -1).transpose(0, 1).flatten(1)
            self.age[i] += 1
            self.mean[i].mul_(self.decay).add_(h.mean(1), alpha=1 - self.decay)
            correction = 1 - self.decay ** self.age[i]
            centred = (h - (self.mean[i] / correction)[:, None]).abs().mean(1)
            outgoing = following.weight.abs().transpose(0, 1).reshape(n, -1).sum(1)
            incoming = layer.weight.abs().flatten(1).sum(1)
            self.utility[i].mul_(self.decay).add_(centred * outgoing / incoming, alpha=1 - self.decay)
            eligible = (self.age[i] > self.maturity).nonzero().flatten()
            if len(eligible) == 0:
                continue
            self.account[i] += self.rate * len(eligible)
            if self.account[i] >= 1:
                self.account[i] -= 1
                k = eligible[(self.utility[i] / correction)[eligible].argmin()]
                layer.weight[k].uniform_(-self.bound[i], self.bound[i])
                layer.bias[k] = 0
                block = following.weight.shape[1] // n
                following.weight[:, k * block : (k + 1) * block] = 0
                for state in (self.age, self.mean, self.utility):
                    state[i][k] = 0
        self.features.clear()


def train(
    net: nn.Module,
    x: Tensor,
    y: Tensor,
    step_size: float,
    momentum: float = 0.0,
    cbp: OrdinaryCBP | None = None,
    bin_size: int = 1000,
) -> list[float]:
    """One pass over x `[S, B, ...]`, y `[S, B, ...]` with `torch.optim.SGD`; returns the mean loss of each bin."""
    criterion: Callable[[Tensor, Tensor], Tensor] = F.mse_loss if y.is_floating_point() else F.cross_entropy
    optimizer = torch.optim.SGD(net.parameters(), step_size, momentum=momentum)
    total, curve = torch.zeros(()), []
    for i in range(len(x)):
        loss = criterion(net(x[i]), y[i])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if cbp is not None:
            cbp.step()
        total += loss.detach()
        if (i + 1) % bin_size == 0:
            curve.append(total.item() / bin_size)
            total.zero_()
    return curve
