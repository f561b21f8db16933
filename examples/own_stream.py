"""A stream of one's own: every example once, a step size for each weight, and units that are replaced.

    python examples/own_stream.py

A sensor reading is predicted from its own recent past, among inputs that tell nothing; the process behind it changes
now and then. No buffer, no batches, and no step size to tune.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

import neoteny
from neoteny.optim import Autostep, Intentional, TorchOptimizer

WINDOW, IRRELEVANT = 8, 24
Make = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
SYSTEMS: dict[str, Make] = {
    "Intentional": lambda parameters: TorchOptimizer(parameters, Intentional()),
    "Autostep": lambda parameters: TorchOptimizer(parameters, Autostep(newborn_step="median")),
    **{
        f"SGD, {step_size}": lambda parameters, step_size=step_size: torch.optim.SGD(parameters, step_size)
        for step_size in (0.003, 0.01, 0.03)
    },
}


def readings(steps: int, generator: torch.Generator) -> Iterator[tuple[Tensor, float]]:
    """What is known before each reading, [1, 32], and the reading: two waves, whose lengths change, and noise."""
    past, short, long = torch.zeros(1, WINDOW), 1.0, 1.0
    for step in range(steps):
        if step % 2_000 == 0:
            short, long = (5 + 25 * torch.rand(2, generator=generator)).tolist()
        noise = torch.randn(IRRELEVANT + 1, generator=generator)
        wave = math.sin(2 * math.pi * step / short) + math.sin(2 * math.pi * step / long)
        reading = wave + 0.1 * noise[-1].item()
        yield torch.cat([past, noise[None, :-1]], 1), reading
        past = torch.cat([torch.full((1, 1), reading), past[:, :-1]], 1)


def main(make: Make = SYSTEMS["Intentional"], steps: int = 6_000, seed: int = 0) -> float:
    """Predict each reading, then learn from it; the mean squared error after the first tenth."""
    torch.manual_seed(seed)
    stream, errors = readings(steps, torch.Generator().manual_seed(seed)), []
    # [stream]
    network = nn.Sequential(nn.Linear(WINDOW + IRRELEVANT, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = make(network.parameters())  # TorchOptimizer(network.parameters(), Intentional())
    neoteny.attach(network, optimizer, neoteny.ContinualBackprop(), torch.zeros(1, WINDOW + IRRELEVANT))

    for known, reading in stream:
        prediction = network(known).squeeze()
        error = reading - prediction.item()
        optimizer.zero_grad()
        if isinstance(optimizer, TorchOptimizer):
            prediction.backward()  # the gradient of the prediction; the error goes to the step
            optimizer.step(error)
        else:
            (reading - prediction).square().div(2).backward()
            optimizer.step()
        errors.append(error**2)
    # [/stream]
    return sum(errors[steps // 10 :]) / (steps - steps // 10)


if __name__ == "__main__":
    for name, system in SYSTEMS.items():
        print(f"{name:12} {sum(main(system, seed=seed) for seed in range(3)) / 3:.3f}", flush=True)
