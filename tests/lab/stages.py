"""What tests of training in stages share: made-up images, a run's first network, accuracy."""

from __future__ import annotations

import numpy as np
import torch

from neoteny import data
from neoteny.lab.learner import Learner

EAGER = {"compile": False, "progress": False}


def made_up_images():
    """A class is a pattern, and noise."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256, (10, 1, 28, 28))

    def images(count):
        labels = np.arange(count) % 10
        noisy = patterns[labels] + rng.normal(0, 60, (count, 1, 28, 28))
        return np.clip(noisy, 0, 255).astype(np.uint8), labels

    return data.Labelled(*images(200), *images(60))


def first_network(config, stream):
    """The network that run 0 begins with."""
    problem = config.problem
    learner = Learner(
        problem.build_network,
        stream.probe(problem.batch_size)[0],
        loss=problem.LOSS,
        optimizer=problem.optimizer,
        seeds=config.seeds,
        compile=False,
    )
    net = problem.build_network()
    net.load_state_dict({**net.state_dict(), **{name: value[0] for name, value in learner.initial_weights.items()}})
    return net


def accuracy(net, blocks):
    net.eval()
    with torch.no_grad():
        right = [(net(x[0]).argmax(-1) == y[0]).double() for x, y in blocks]
    net.train()
    return torch.cat(right).mean().item()
