"""What must hold for every registered method on networks, types, groups and moments that nobody picked by hand."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from neoteny import PlasticityWarning
from neoteny.registry import METHODS
from neoteny.testing.comparing import difference
from neoteny.testing.models import Model, mlp
from neoteny.testing.optimizers import OptimizerCase
from neoteny.testing.trial import Trial

EXAMPLES = settings(max_examples=3, deadline=None, derandomize=True, database=None, phases=[Phase.generate])

widths = st.lists(st.integers(1, 9), min_size=3, max_size=4).map(tuple)
sizes = st.integers(1, 7)
moments = st.integers(0, 10)


@pytest.fixture(autouse=True)
def _no_warnings():
    """Methods of strength zero say that they never act."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlasticityWarning)
        yield


def each(inactive=False):
    entries = [entry for entry in METHODS.values() if entry.kind != "architecture"]  # whose rules do nothing
    methods = [entry.load().contract()[inactive][0] for entry in entries]
    return pytest.mark.parametrize("method", methods, ids=repr)


def network(widths):
    return Model(f"mlp{widths}", partial(mlp, *widths), widths[:1], widths[-1], freeze="0")


@st.composite
def optimizers(draw):
    """Several kinds, over as many parameter groups as there are cuts, in any order."""
    kind = draw(st.sampled_from([torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad]))
    rates = draw(st.lists(st.sampled_from([0.0, 1e-3, 0.01, 0.05]), min_size=1, max_size=3))

    def make(parameters):
        groups = [{"params": parameters[i :: len(rates)], "lr": rate} for i, rate in enumerate(rates)]
        return kind([group for group in groups if group["params"]][::-1], lr=0.01)

    return OptimizerCase(f"{kind.__name__}{rates}", make)


types = st.sampled_from([torch.float32, torch.float64, torch.bfloat16])


@each()
@EXAMPLES
@given(widths, optimizers(), types, sizes, moments, moments)
def test_resumed_anywhere_goes_on_bit_for_bit(method, widths, optimizer, dtype, size, task, stop):
    trial = Trial(method, network(widths).prepared(method), optimizer)
    data = trial.batches(12, size=size, dtype=dtype)
    runs = [trial.start(seed=5, dtype=dtype), trial.start(seed=6, weights=1, dtype=dtype)]
    first, second = runs
    for number, batch in enumerate(data):
        if number == stop:
            second.load(first.save())
        for run in runs if number >= stop else runs[:1]:
            if number == task:
                run.plasticity.new_task()
            run.step(*batch)
    found = difference(first.snapshot(), second.snapshot(), ("model", "optimizer", "plasticity"))
    assert found is None, found
    assert all(p.dtype == dtype and bool(p.isfinite().all()) for p in first.model.parameters())


@each()
@EXAMPLES
@given(widths, optimizers(), st.integers(2, 4))
def test_accumulated_gradients_are_those_of_the_batch(method, widths, optimizer, parts):
    trial = Trial(method, network(widths).prepared(method), optimizer)
    data = trial.batches(10, size=2 * parts, dtype=torch.float64)
    whole, cut = (trial.start(dtype=torch.float64) for _ in range(2))
    whole.train_over_tasks(data)
    cut.train_over_tasks(data, parts=parts)
    for a, b in zip(whole.model.parameters(), cut.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)


@each(inactive=True)
@EXAMPLES
@given(widths, optimizers(), types, sizes)
def test_strength_zero_changes_no_bit(method, widths, optimizer, dtype, size):
    trial = Trial(method, network(widths).prepared(method), optimizer)
    data = trial.batches(12, size=size, dtype=dtype)
    ours, bare = trial.start(dtype=dtype), trial.bare.start(dtype=dtype)
    ours.train_over_tasks(data)
    bare.train(data)
    found = difference(bare.snapshot(), ours.snapshot())
    assert found is None, found
