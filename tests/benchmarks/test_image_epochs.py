"""Trainability and shuffled labels: the ordinary loop, going on after a stop, and a stream no system changes."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F

from neoteny import data, lab
from neoteny.lab.execution import Execution
from neoteny.lab.learner import Learner
from neoteny.lab.resolving import resolve
from neoteny.lab.running import folder_of, start
from neoteny.streams.images import shrink_flat

EAGER = {"compile": False, "progress": False}
each = pytest.mark.parametrize("name", ["trainability", "shuffled-labels"])


@pytest.fixture(autouse=True)
def _small_data(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (90, 784), dtype=np.uint8)
    monkeypatch.setattr(data, "mnist", lambda data_dir=None, train=True: (images, np.arange(90) % 10))


def rows(run, metric):
    return run.metrics.filter((pl.col("metric") == metric) & (pl.col("layer") == ""))


@each
@pytest.mark.parametrize("system", ["backprop", "adam"])
@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_a_run_is_the_ordinary_loop(tmp_path, name, system, strategy):
    config = resolve(name, method=system, runs=2, scale="tiny", seed=3)
    problem = config.problem
    run = lab.run(config, out=tmp_path, strategy=strategy, **EAGER)
    stream, net = problem.build_stream([4]), problem.build_network()  # the second run alone
    optimizer = problem.optimizer
    learner = Learner(
        problem.build_network, stream.probe(1)[0], loss="cross_entropy", optimizer=optimizer, seeds=[4], compile=False
    )
    net.load_state_dict({key: value[0] for key, value in learner.initial_weights.items()})
    kind = torch.optim.SGD if system == "backprop" else torch.optim.Adam
    optimizer = kind(net.parameters(), problem.step_size)
    losses, accuracies = [], []
    for _task, _epoch in itertools.product(range(problem.tasks), range(problem.epochs)):
        loss_sum = right = 0.0
        for _ in range(problem.epoch_steps):
            x, y = (value[0, 0] for value in stream.next(1))
            outputs = net(x)
            loss = F.cross_entropy(outputs, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            right += (outputs.argmax(-1) == y).sum().item()
        losses.append(loss_sum / problem.epoch_steps)
        accuracies.append(right / problem.images)
    mine = {metric: rows(run, metric).filter(pl.col("run") == 1).sort("step") for metric in ("loss", "accuracy")}
    np.testing.assert_allclose(mine["loss"]["value"].to_numpy(), losses, rtol=1e-4)
    np.testing.assert_allclose(mine["accuracy"]["value"].to_numpy(), accuracies, atol=1e-9)
    assert mine["loss"]["task"].to_list() == [task for task in range(problem.tasks) for _ in range(problem.epochs)]
    assert mine["loss"]["step"].to_list()[problem.epochs - 1 :: problem.epochs] == problem.last_epochs
    for key, weights in run.final_weights().items():
        torch.testing.assert_close(weights[1], net.get_parameter(key).detach(), rtol=1e-3, atol=1e-5)


@each
@pytest.mark.parametrize("after", [1, 4])
def test_interrupted_and_resumed_equals_never_interrupted(tmp_path, name, after):
    config = resolve(name, method="cbp", runs=2, scale="tiny")
    whole = lab.run(config, out=tmp_path / "whole", **EAGER)
    folder, segments = folder_of(config, tmp_path / "cut"), itertools.count(1)
    with pytest.raises(KeyboardInterrupt):
        start(config, folder, Execution(compile=False), stopped=lambda: next(segments) == after)
    resumed = lab.resume(folder, progress=False)
    assert (resumed.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()


@each
def test_every_system_learns_from_the_same_examples(name):
    seen = []
    for system in ("backprop", "muon", "full-reset"):
        problem = resolve(name, method=system, runs=1, scale="tiny").problem
        seen.append(problem.build_stream([5]).next(problem.steps))
    for x, y in seen[1:]:
        assert torch.equal(x, seen[0][0]) and torch.equal(y, seen[0][1])


@each
def test_labels_of_other_systems_differ_where_they_should(tmp_path, name):
    """All are alike in the first task; a reset comes with the second."""
    found = {}
    for system in ("backprop", "head-reset", "full-reset"):
        run = lab.run(name, method=system, runs=1, scale="tiny", out=tmp_path, **EAGER)
        found[system] = [rows(run, "loss").filter(pl.col("task") == task)["value"].to_list() for task in (0, 1)]
    first, second = found["backprop"]
    for system, (theirs, later) in found.items():
        assert theirs == first and (later == second) == (system == "backprop")


def test_a_pixel_of_a_shrunk_image_is_the_mean_of_a_square():
    images = np.random.default_rng(1).integers(0, 256, (5, 784), dtype=np.uint8)
    small = shrink_flat(images, 14).reshape(5, 14, 14)
    squares = images.reshape(5, 28, 28).astype(float)
    for row, column in itertools.product(range(14), range(14)):
        mean = squares[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((1, 2))
        assert (np.abs(small[:, row, column] - mean) <= 0.5).all()
    assert np.shares_memory(shrink_flat(images, 28), images)
