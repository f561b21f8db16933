"""Optimizers of the laboratory, one in each file: pure updates over dicts of tensors, named in `neoteny.registry`."""

from neoteny.optim.adam import Adam
from neoteny.optim.adamw import AdamW
from neoteny.optim.base import Optimizer
from neoteny.optim.muon import Muon
from neoteny.optim.obgd import AdaptiveObGD, ObGD
from neoteny.optim.sgd import SGD
from neoteny.optim.swift_td import SwiftTD
from neoteny.optim.trace_sgd import TraceSGD
from neoteny.optim.true_online_td import TrueOnlineTD

__all__ = ["SGD", "Adam", "AdamW", "AdaptiveObGD", "Muon", "ObGD", "Optimizer", "SwiftTD", "TraceSGD", "TrueOnlineTD"]
