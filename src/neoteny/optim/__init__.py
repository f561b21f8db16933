"""Optimizers of the laboratory, one in each file: pure updates over dicts of tensors, named in `neoteny.registry`."""

from neoteny.optim.adam import Adam
from neoteny.optim.adamw import AdamW
from neoteny.optim.base import Optimizer
from neoteny.optim.muon import Muon
from neoteny.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Muon", "Optimizer"]
