"""Measures of backbone and fringe against NumPy, from a method that only says which is which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.lab.structure import STRUCTURE, structure
from neoteny.methods.base import Method
from neoteny.nn import MLP
from neoteny.optim import IDBD, SGD

UNITS, RUNS = 6, 2


@dataclass(frozen=True, kw_only=True)
class Marked(Method):
    """Tells some units from the others, and counts."""

    name: ClassVar[str] = "marked"

    def init(self, network, tensors):
        (layer,) = network.layers
        numbers = torch.arange(layer.size)
        return {
            f"{layer.name}/backbone": numbers % 3 == 0,
            f"{layer.name}/age": numbers * 10,
            f"{layer.name}/utility": (numbers - 2.0) * (0.5 + 0.1 * numbers),
            f"{layer.name}/share": 0.5 + 0.1 * numbers,
            f"{layer.name}/promoted": torch.tensor(4),
            f"{layer.name}/demoted": torch.tensor(1),
            f"{layer.name}/disturbance": torch.tensor(0.25),
        }

    def intervene(self, step, state, due):
        return state


def learner(optimizer, methods):
    made = Learner(
        lambda: MLP(3, [UNITS], 1),
        torch.zeros(1, 3),
        loss="mse",
        optimizer=optimizer,
        methods=methods,
        seeds=range(RUNS),
        strategy="stack",
        compile=False,
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(RUNS, 30, 1, 3, generator=generator)
    made.advance(examples(x, x.sum(-1, keepdim=True)))
    return made


def test_the_measures_are_those_of_numpy():
    made = learner(IDBD(step_size=0.01, theta=0.1), (Marked(),))
    found = {name: value.numpy() for (name, _), value in structure(made).items()}
    assert set(found) == set(STRUCTURE)
    backbone = np.arange(UNITS) % 3 == 0
    sizes = made.strategy.carry()["optim"]["layers.0.weight"]["beta"].double().exp().numpy()
    gain = np.maximum(np.arange(UNITS) - 2.0, 0)
    expected = {
        "backbone_size": 2.0,
        "fringe_size": 4.0,
        "backbone_age": 15.0,
        "fringe_age": 30.0,
        "backbone_share": gain[backbone].sum() / gain.sum(),
        "promoted": 4.0,
        "demoted": 1.0,
        "disturbance": 0.25,
    }
    for name, value in expected.items():
        assert found[name].tolist() == pytest.approx([value] * RUNS)
    for run in range(RUNS):
        for side, mask in (("backbone", backbone), ("fringe", ~backbone)):
            own = np.sort(sizes[run][mask].ravel())
            assert found[f"{side}_step_size"][run] == pytest.approx(own[(len(own) - 1) // 2], rel=1e-6)
    assert len(np.unique(sizes)) > UNITS


def test_what_nobody_tells_apart_is_not_recorded():
    assert structure(learner(SGD(), ())) == {}
    assert {name for name, _ in structure(learner(SGD(), (Marked(),)))} == {
        name for name in STRUCTURE if "step_size" not in name
    }
