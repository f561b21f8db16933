"""Continual backpropagation in a Lightning module; needs `pip install lightning`.

python examples/lightning_module.py             # trains and leaves Lightning's checkpoint
python examples/lightning_module.py --resume    # goes on from it, with the same result as without the stop
"""

import sys
from pathlib import Path

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import neoteny


class Classifier(lightning.LightningModule):
    """A small network; only `configure_optimizers` uses neoteny."""

    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))

    def training_step(self, batch, index):
        """The loss of one batch."""
        x, y = batch
        return nn.functional.cross_entropy(self.network(x), y)

    # [attach]
    def configure_optimizers(self):
        """Lightning calls this once the network is on its device, and before it loads the optimizer's state."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        cbp = neoteny.ContinualBackprop(replacement_rate=1e-3)
        inputs = torch.zeros(1, 16, device=self.device)
        self.plasticity = neoteny.attach(self.network, optimizer, cbp, example_inputs=inputs)
        return optimizer

    # [attached]


def main(epochs=2, folder="runs/lightning_module", resume=False, **options):
    """Train up to `epochs`; returns the Lightning module."""
    torch.manual_seed(0)
    module = Classifier()
    x, rule = torch.randn(200 * 32, 16), torch.randn(16, 4)  # made-up data
    data = DataLoader(TensorDataset(x, (x @ rule).argmax(1)), batch_size=32)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        **options,
    )
    # [resume]
    path = Path(folder, "last.ckpt")
    trainer.fit(module, data, ckpt_path=path if resume else None)
    trainer.save_checkpoint(path)
    # [resumed]
    print(module.plasticity.counters())
    return module


if __name__ == "__main__":
    resume = "--resume" in sys.argv
    main(epochs=4 if resume else 2, resume=resume)
