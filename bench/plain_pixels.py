"""An agent that learns from pixels as one writes it in one file of PyTorch: DrQ(eps), or with options SPR and BBF.

It is the other side of `bench/atari.py`, and `tests/rl/test_pixel_dqn.py` holds neoteny's updates to its own.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, maps: int):
        super().__init__()
        self.one, self.two = (nn.Conv2d(maps, maps, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Of maps."""
        return x + self.two(F.relu(self.one(F.relu(x))))


def impala(frames: int, sizes: list[int]) -> nn.Sequential:
    """Three stages."""
    layers: list[nn.Module] = []
    for size in sizes:
        layers += [nn.Conv2d(frames, size, 3, padding=1), nn.MaxPool2d(3, 2, 1), Residual(size), Residual(size)]
        frames = size
    return nn.Sequential(*layers, nn.ReLU())


def nature(frames: int, sizes: list[int]) -> nn.Sequential:
    """Three convolutions."""
    a, b, c = sizes
    return nn.Sequential(
        nn.Conv2d(frames, a, 8, 4), nn.ReLU(), nn.Conv2d(a, b, 4, 2), nn.ReLU(), nn.Conv2d(b, c, 3), nn.ReLU()
    )


class Network(nn.Module):
    """Encoder, hidden layer and dueling head; a transition model and a predictor if it has jumps."""

    def __init__(self, encoder: nn.Module, maps: int, features: int, hidden: int, actions: int, atoms: int, jumps: int):
        super().__init__()
        self.encoder, self.actions, self.atoms, self.jumps = encoder, actions, max(atoms, 1), jumps
        self.projection = nn.Linear(features, hidden)
        self.value = nn.Linear(hidden, self.atoms)
        self.advantage = nn.Linear(hidden, actions * self.atoms)
        if jumps:
            self.transition = nn.Sequential(
                nn.Conv2d(maps + actions, maps, 3, padding=1), nn.ReLU(), nn.Conv2d(maps, maps, 3, padding=1), nn.ReLU()
            )
            self.predictor = nn.Linear(hidden, hidden)

    def scaled(self, z: Tensor) -> Tensor:
        """With self-prediction: to [0, 1]."""
        if not self.jumps:
            return z
        low, high = (f(z.flatten(1), 1)[..., None, None, None] for f in (torch.amin, torch.amax))
        return (z - low) / (high - low + 1e-5)

    def encode(self, x: Tensor) -> Tensor:
        """Of images from 0 to 255."""
        return self.scaled(self.encoder(x / 255))

    def outputs(self, z: Tensor) -> Tensor:
        """[B, A, atoms]."""
        h = F.relu(self.projection(z.flatten(1)))
        advantage = self.advantage(h).view(-1, self.actions, self.atoms)
        return self.value(h).unsqueeze(1) + advantage - advantage.mean(1, keepdim=True)

    def ahead(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predicted projections, [B, K, hidden]."""
        found = []
        for k in range(actions.shape[1]):
            ones = F.one_hot(actions[:, k], self.actions).to(z.dtype)[..., None, None]
            z = self.scaled(self.transition(torch.cat([z, ones.expand(-1, -1, *z.shape[2:])], 1)))
            found.append(self.predictor(self.projection(z.flatten(1))))
        return torch.stack(found, 1)


def shifted(images: Tensor, pixels: int, intensity: float, moves: Tensor | None = None, noise: Tensor | None = None):
    """Padded images, cropped where `moves` says, in another brightness; both are drawn if they are not given."""
    count, _, height, width = images.shape
    moves = torch.randint(0, 2 * pixels + 1, (count, 2)) if moves is None else moves
    noise = torch.randn(count, 1, 1, 1).clamp(-2, 2) if noise is None else noise
    padded = F.pad(images.float() if images.dtype == torch.uint8 else images, (pixels,) * 4, mode="replicate")
    rows = moves[:, :1] + torch.arange(height)
    columns = moves[:, 1:] + torch.arange(width)
    cropped = padded[torch.arange(count)[:, None, None], :, rows[:, :, None], columns[:, None]]
    return cropped.permute(0, 3, 1, 2) * (1 + intensity * noise)


class PlainPixels:
    """One agent.

    Args:
        network: of the agent.
        step_size: of Adam.
        tau: share of the way that the target goes at each update.
        weight_decay: of Adam, decoupled.
        span: least and greatest return, where there are atoms.
        weight: of the self-predictive loss.
    """

    def __init__(
        self,
        network: Network,
        step_size: float = 1e-4,
        tau: float = 1.0,
        weight_decay: float = 0.0,
        span: tuple[float, float] = (-10.0, 10.0),
        weight: float = 5.0,
        fused: bool = False,
    ):
        self.network, self.target = network, copy.deepcopy(network).requires_grad_(False)
        self.tau, self.weight, self.support = tau, weight, torch.linspace(*span, network.atoms, dtype=torch.float64)
        kind = torch.optim.AdamW if weight_decay else torch.optim.Adam
        self.optimizer = kind(network.parameters(), step_size, eps=1.5e-4, weight_decay=weight_decay, fused=fused)

    def value(self, outputs: Tensor) -> Tensor:
        """q(s, a)."""
        if outputs.shape[-1] == 1:
            return outputs.squeeze(-1)
        return (outputs.softmax(-1) * self.support.to(outputs.dtype)).sum(-1)

    def update(self, batch: dict[str, Tensor]) -> Tensor:
        """One update on augmented images, `states`, `next_states` and `following`; gives the errors."""
        net, rows, distributional = self.network, torch.arange(len(batch["actions"])), self.network.atoms > 1
        with torch.no_grad():
            later = self.target.outputs(self.target.encode(batch["next_states"]))
            best = self.value(net.outputs(net.encode(batch["next_states"]))).argmax(-1)
            if distributional:
                target = self.project(later[rows, best].softmax(-1), batch["rewards"], batch["discounts"])
            else:
                target = batch["rewards"] + batch["discounts"] * later[rows, best, 0]
        z = net.encode(batch["states"])
        own = net.outputs(z)[rows, batch["actions"]]
        if distributional:
            losses = -(target * own.log_softmax(-1)).sum(-1)
        else:
            losses = F.smooth_l1_loss(own[:, 0], target, reduction="none")
        errors = losses.detach() if distributional else target - own[:, 0].detach()
        if net.jumps:
            with torch.no_grad():
                images = batch["following"].flatten(0, 1)
                came = self.target.projection(self.target.encode(images).flatten(1))
            likeness = F.cosine_similarity(net.ahead(z, batch["ahead"]), came.view(len(rows), net.jumps, -1), dim=-1)
            losses = losses + self.weight * ((2 - 2 * likeness) * batch["goes_on"]).mean(-1)
        loss = (losses * batch["weights"]).mean() if "weights" in batch else losses.mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.target.parameters(), net.parameters(), strict=True):
                slow.lerp_(fast, self.tau)
        return errors

    def project(self, probabilities: Tensor, rewards: Tensor, discounts: Tensor) -> Tensor:
        """The distribution of r + gamma z on the support, value by value."""
        z = self.support.to(probabilities.dtype)
        step = z[1] - z[0]
        where = ((rewards[:, None] + discounts[:, None] * z).clamp(z[0], z[-1]) - z[0]) / step
        low, high = where.floor().long(), where.ceil().long()
        found = torch.zeros_like(probabilities)
        found.scatter_add_(1, low, probabilities * (high.to(where) - where + (low == high)))
        return found.scatter_add_(1, high, probabilities * (where - low))
