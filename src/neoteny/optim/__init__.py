"""Optimizers of the laboratory, one a file: pure updates over dicts of tensors."""

from neoteny.optim.adam import Adam
from neoteny.optim.base import Optimizer
from neoteny.optim.sgd import SGD

OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adam": Adam}

__all__ = ["OPTIMIZERS", "SGD", "Adam", "Optimizer"]
