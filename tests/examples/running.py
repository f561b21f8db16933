"""Examples as modules, and what is asked of every trainer."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch.utils._pytree import tree_flatten

FOLDER = Path(__file__).parents[2] / "examples"


def load(name):
    """An example, imported from its file."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same(one, other):
    """Nested containers of tensors and plain values are equal, bit for bit."""
    (leaves, spec), (others, other_spec) = tree_flatten(one), tree_flatten(other)
    assert spec == other_spec
    for a, b in zip(leaves, others, strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def replaced(plasticity):
    """Units made new so far, layer by layer."""
    return [layer["units_replaced"] for layer in plasticity.counters()["cbp"].values()]


def assert_never_stopped(interrupted, straight):
    """Network and plasticity of a run that was stopped and restored are those of one that never was."""
    (model, plasticity), (other, reference) = interrupted, straight
    assert all(replaced(reference))
    assert_same(plasticity.state_dict(), reference.state_dict())
    assert_same(dict(model.state_dict()), dict(other.state_dict()))
