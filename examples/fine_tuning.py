"""A small transformer is fine-tuned again and again, as more images come and wrong labels are corrected.

    python examples/fine_tuning.py                                       # Hare & Tortoise, seconds
    python examples/fine_tuning.py --systems plain restart --seeds 3     # beside others

The network reads the rows of an image one after the other. Each of six rounds has more images than the one before and
fewer wrong labels; the last has all images and right labels. What counts is the accuracy on test images.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

import neoteny
from neoteny import data

CLASSES, SIDE = 10, 14  # images are shrunk to 14x14: 14 tokens of 14 pixels
IMAGES, TEST = 300, 2_000  # that each round adds; to test on
WRONG = (0.5, 0.4, 0.3, 0.2, 0.1, 0.0)  # share of wrong labels in each round
BATCH, UPDATES, STEP_SIZE = 32, 300, 1e-3  # of each round

SYSTEMS = {  # the methods that are attached
    "hare-and-tortoise": lambda: neoteny.HareAndTortoise(mu=0.99, period=100),
    "plain": lambda: None,  # the last round's network, trained on
    "ema": lambda: neoteny.EMA(mu=0.99),
    "shrink-and-perturb": lambda: neoteny.ShrinkAndPerturb(when="at_task", shrink=0.4, perturb=0.1),
    "head-reset": lambda: neoteny.HeadReset(),
    "restart": lambda: None,  # a new network in every round
}


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x))."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1, self.qkv, self.project = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.norm2, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.heads = heads

    def forward(self, x):  # noqa: D102
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    """Says which class an image is of, `[batch, rows, pixels]`."""

    def __init__(self, width=32, layers=2, heads=4):
        super().__init__()
        self.row, self.position = nn.Linear(SIDE, width), nn.Parameter(torch.randn(SIDE, width) / 10)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x):  # noqa: D102
        return self.head(self.norm(self.blocks(self.row(x) + self.position)).mean(1))


def shrunk(images):
    """Bytes [N, 1, 28, 28] as [N, 14, 14] in [0, 1], each pixel the mean of four."""
    return F.avg_pool2d(torch.from_numpy(images).float() / 255, 2).squeeze(1)


def with_mistakes(labels, share, draw):
    """The labels, a share of them replaced by other ones."""
    chosen = torch.randperm(len(labels), generator=draw)[: round(share * len(labels))]
    other = labels[chosen] + torch.randint(1, CLASSES, chosen.shape, generator=draw)
    return labels.index_copy(0, chosen, other % CLASSES)


def new(system):
    """A network and its optimizer, with the system's methods attached."""
    model = Transformer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=STEP_SIZE, weight_decay=0.01)
    methods = SYSTEMS[system]()
    if methods is None:
        return model, optimizer, None
    # [attach]
    plasticity = neoteny.attach(model, optimizer, methods, example_inputs=torch.zeros(1, SIDE, SIDE))
    # [attached]
    return model, optimizer, plasticity


@torch.no_grad()
def accuracy(model, x, y):
    """The share of images whose class is told rightly."""
    return (torch.cat([model(part) for part in x.split(500)]).argmax(1) == y).float().mean().item()


def train(system, seed, found, rounds, updates):
    """One run; the accuracy on test images at the end of each round."""
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(found.train_labels), generator=draw)[: IMAGES * rounds].numpy()
    x, y = shrunk(found.train_images[chosen]), torch.from_numpy(found.train_labels[chosen])
    tests = shrunk(found.test_images[:TEST]), torch.from_numpy(found.test_labels[:TEST])
    torch.manual_seed(seed)
    model, optimizer, plasticity = new(system)
    accuracies = []
    for number, share in enumerate(WRONG[:rounds]):
        labels = with_mistakes(y, share, draw)[: IMAGES * (number + 1)]
        if number and system == "restart":
            model, optimizer, plasticity = new(system)
        # [round]
        if number and plasticity is not None:
            plasticity.new_task()
        for _ in range(updates):
            batch = torch.randint(len(labels), (BATCH,), generator=draw)
            loss = F.cross_entropy(model(x[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        # [trained]
        if plasticity is None:
            accuracies.append(accuracy(model, *tests))
        else:
            with plasticity.evaluating():  # the tortoise, or the average
                accuracies.append(accuracy(model, *tests))
    return accuracies


def main(arguments=None):
    """Run systems with seeds; print the accuracy after the last round and write all of them into a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--systems", nargs="+", default=["hare-and-tortoise"], choices=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data", default="mnist", help="mnist or fashion-mnist")
    parser.add_argument(
        "--data-dir", type=Path, help="folder of data sets; otherwise NEOTENY_DATA, or it is downloaded"
    )
    parser.add_argument("--rounds", type=int, default=len(WRONG))
    parser.add_argument("--updates", type=int, default=UPDATES, help="in each round")
    parser.add_argument("--folder", type=Path, default=Path("runs/fine-tuning"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    images, found = data.labelled(options.data, options.data_dir), {}
    for system in options.systems:
        began = time.process_time()
        found[system] = [train(system, seed, images, options.rounds, options.updates) for seed in range(options.seeds)]
        rounds = " ".join(f"{statistics.mean(each):.3f}" for each in zip(*found[system], strict=True))
        print(f"{system}: {rounds}  ({(time.process_time() - began) / options.seeds:.0f} s a run)", flush=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    (options.folder / "accuracies.json").write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
