"""Continual backpropagation in a loop of Accelerate with gradient accumulation; needs `pip install accelerate`.

python examples/accelerate_loop.py             # trains and leaves Accelerate's checkpoint
python examples/accelerate_loop.py --resume    # goes on from it, with the same result as without the stop
"""

import sys

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import neoteny


def main(epochs=2, folder="runs/accelerate_loop", resume_from=0):
    """Train up to `epochs`, from the start or the end of an epoch; returns the network and what neoteny attached."""
    torch.manual_seed(0)
    x, rule = torch.randn(200 * 32, 16), torch.randn(16, 4)  # made-up data
    data = DataLoader(TensorDataset(x, (x @ rule).argmax(1)), batch_size=16, shuffle=True)
    model = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)

    # [attach]
    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=True)
    model, optimizer, data = accelerator.prepare(model, optimizer, data)
    cbp = neoteny.ContinualBackprop(replacement_rate=1e-3)
    plasticity = neoteny.attach(model, optimizer, cbp, example_inputs=x[:2].to(accelerator.device))
    # [attached]

    if resume_from:
        accelerator.load_state(f"{folder}/epoch_{resume_from}")
    for epoch in range(resume_from, epochs):
        for inputs, labels in data:
            with accelerator.accumulate(model):
                loss = nn.functional.cross_entropy(model(inputs), labels)
                accelerator.backward(loss)
                optimizer.step()
                optimizer.zero_grad()
        print(f"epoch {epoch + 1}: loss {loss:.3f}")
        accelerator.save_state(f"{folder}/epoch_{epoch + 1}")
    print(plasticity.counters())
    return model, plasticity


if __name__ == "__main__":
    main(epochs=4, resume_from=2) if "--resume" in sys.argv else main()
