"""Continual backpropagation in a plain PyTorch loop, with a checkpoint and a resume.

python examples/plain_pytorch.py             # trains and leaves a checkpoint
python examples/plain_pytorch.py --resume    # goes on from it, with the same result as without the stop
"""

import sys
from pathlib import Path

import torch
from torch import nn

import neoteny


def batch(step):
    """Made-up data, a function of the step: every 100 steps the rule for the labels changes."""
    rule = torch.randn(16, 4, generator=torch.Generator().manual_seed(step // 100))
    x = torch.randn(32, 16, generator=torch.Generator().manual_seed(10_000 + step))
    return x, (x @ rule).argmax(1)


def main(steps=400, folder="runs/plain_pytorch", resume=False):
    """Train up to `steps`; returns the network and what neoteny attached to it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    # [attach]
    cbp = neoteny.ContinualBackprop(replacement_rate=1e-3)
    plasticity = neoteny.attach(model, optimizer, cbp, example_inputs=batch(0)[0])
    # [attached]

    start, path = 0, Path(folder, "checkpoint.pt")
    if resume:
        # [resume]
        checkpoint = torch.load(path)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])  # restores neoteny's state as well
        # [resumed]
        start = checkpoint["step"]

    for step in range(start, steps):
        x, y = batch(step)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss:.3f}")

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": steps}, path)
    print(plasticity.counters())
    return model, plasticity


if __name__ == "__main__":
    resume = "--resume" in sys.argv
    main(steps=800 if resume else 400, resume=resume)
