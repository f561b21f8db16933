"""Runs that learn in epochs: tests on images kept back, early stopping, step-size schedule, seen classes, dropout."""

from __future__ import annotations

import itertools
import json

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.stages import first_network
from neoteny import data, lab
from neoteny.benchmarks.incremental_cifar100 import IncrementalCIFAR100
from neoteny.lab.execution import Execution
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.lab.prediction import only
from neoteny.lab.resolving import resolve
from neoteny.lab.running import folder_of, start
from neoteny.optim import SGD
from neoteny.streams import epochs as epoch_streams
from neoteny.streams.picking import picked

IMAGENET, CIFAR = "continual-imagenet", "incremental-cifar100"
EAGER = {"compile": False, "progress": False}


@pytest.fixture(autouse=True)
def _small_data(monkeypatch):
    """Made-up images: each class a colour of its own and noise."""
    rng = np.random.default_rng(0)

    def images(classes, each):
        colours = rng.integers(40, 216, (classes, 1, 3, 1, 1))
        return np.clip(colours + rng.normal(0, 40, (classes, each, 3, 32, 32)), 0, 255).astype(np.uint8)

    pairs = data.ImageClasses(tuple(images(6, 40)), "made-up images")
    train, test = images(6, 20), images(6, 5)
    cifar = {
        True: (train.reshape(-1, 3, 32, 32), np.repeat(np.arange(6), 20)),
        False: (test.reshape(-1, 3, 32, 32), np.repeat(np.arange(6), 5)),
    }
    monkeypatch.setattr(data, "imagenet32", lambda data_dir=None: pairs)
    monkeypatch.setattr(data, "cifar100", lambda data_dir=None, train=True: cifar[train])


def rows(run, metric, layer=""):
    return run.metrics.filter((pl.col("metric") == metric) & (pl.col("layer") == layer))


def test_continual_imagenet_is_the_ordinary_loop(tmp_path):
    """The same numbers from a loop that anyone would write: SGD with momentum, a zeroed head, a test at each end."""
    config = resolve(IMAGENET, runs=1, scale="tiny", seed=5)
    run = lab.run(config, out=tmp_path, **EAGER)
    problem = config.problem
    stream = problem.build_stream(config.seeds)
    net = first_network(config, stream)
    optimizer = torch.optim.SGD(net.parameters(), problem.step_size, momentum=0.9)
    losses, tests = [], []
    for task in range(problem.tasks):
        with torch.no_grad():
            net.layers[-1].weight.zero_()
            net.layers[-1].bias.zero_()
        total = 0.0
        for _ in range(problem.task_length):
            x, y = (value[0, 0] for value in stream.next(1))
            loss = F.cross_entropy(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / problem.task_length)
        ((x, y),) = stream.held_out("test", task)
        tests.append((net(x[0]).argmax(-1) == y[0]).double().mean().item())
    np.testing.assert_allclose(rows(run, "loss")["value"].to_numpy(), losses, rtol=1e-4)
    np.testing.assert_allclose(rows(run, "test_accuracy")["value"].to_numpy(), tests, atol=1e-9)
    assert rows(run, "test_accuracy")["task"].to_list() == [0, 1, 2]
    for name, weights in run.final_weights().items():
        torch.testing.assert_close(weights[0], net.get_parameter(name).detach(), rtol=1e-3, atol=1e-5)


def test_provenance_says_which_images_were_used(tmp_path):
    run = lab.run(IMAGENET, runs=1, scale="tiny", settings={"images_per_class": 35}, out=tmp_path, **EAGER)
    said = json.loads((run.folder / "provenance.json").read_text())["data"]
    assert said["source"] == "made-up images" and said["images_per_class"] == 30
    assert "instead of 35" in said["adapted"]


def by_hand(config):
    """Class-incremental CIFAR-100 in an ordinary loop, run 0."""
    problem = config.problem
    stream = problem.build_stream(config.seeds)
    net = first_network(config, stream)
    optimizer = torch.optim.SGD(net.parameters(), problem.step_size, momentum=0.9, weight_decay=5e-4)
    found = {"loss": [], "validation_accuracy": [], "test_accuracy": [], "rates": []}

    @torch.no_grad()
    def judge(split, task, seen):
        net.eval()
        right = [(net(x[0])[:, :seen].argmax(-1) == y[0]).double() for x, y in stream.held_out(split, task)]
        net.train()
        return torch.cat(right).mean().item()

    for task, steps in enumerate(problem.epoch_steps):
        seen, best, kept = problem.classes_per_increment * (task + 1), -1.0, None
        for epoch in range(problem.epochs):
            drops = sum(epoch >= round(share * problem.epochs) for share in problem.drops)
            for group in optimizer.param_groups:
                group["lr"] = problem.step_size * problem.drop_factor**drops
            found["rates"].append(problem.drop_factor**drops)
            total = 0.0
            for _ in range(steps):
                x, y = (value[0, 0] for value in stream.next(1))
                loss = F.cross_entropy(net(x)[:, :seen], y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
            found["loss"].append(total / steps)
            accuracy = judge("validation", task, seen)
            found["validation_accuracy"].append(accuracy)
            if accuracy > best:
                best, kept = accuracy, {name: value.clone() for name, value in net.state_dict().items()}
        net.load_state_dict(kept)
        found["test_accuracy"].append(judge("test", task, seen))
    return found, net


def test_incremental_cifar100_is_the_ordinary_loop(tmp_path, monkeypatch):
    """Schedule, logits of the classes seen so far, early stopping and tests, against a loop that anyone would write.

    In double precision, as batch norms on ten images of 8x8 magnify rounding a thousandfold; with step sizes that
    single precision has exactly.
    """
    build = IncrementalCIFAR100.build_network
    monkeypatch.setattr(IncrementalCIFAR100, "build_network", lambda self: build(self).double())
    monkeypatch.setattr(epoch_streams, "picked", lambda *own: picked(*own).double())
    settings = {"epochs": 6, "drops": (0.5,), "drop_factor": 0.125, "step_size": 2**-6}
    config = resolve(CIFAR, runs=1, scale="tiny", seed=3, settings=settings)
    run = lab.run(config, out=tmp_path, **EAGER)
    found, net = by_hand(config)
    assert found["rates"] == [1, 1, 1, 0.125, 0.125, 0.125] * 3
    np.testing.assert_allclose(rows(run, "loss")["value"].to_numpy(), found["loss"], rtol=1e-6)
    for metric in ("validation_accuracy", "test_accuracy"):
        np.testing.assert_allclose(rows(run, metric)["value"].to_numpy(), found[metric], atol=1e-9)
    validated = np.array(found["validation_accuracy"]).reshape(3, -1)
    assert (validated.argmax(axis=1) < 5).any()  # else restoring the best weights would make no difference
    for name, weights in run.final_weights().items():
        torch.testing.assert_close(weights[0], net.get_parameter(name).detach(), rtol=1e-5, atol=1e-7)


def test_units_are_looked_at_before_each_increment(tmp_path):
    run = lab.run(CIFAR, runs=1, scale="tiny", out=tmp_path, **EAGER)
    problem = run.config.problem
    starts = [0, *np.cumsum(problem.task_length)[:-1] * problem.batch_size]
    for metric in ("dormant_units", "srank_99"):
        looked = run.metrics.filter(pl.col("metric") == metric)
        assert looked["step"].unique().sort().to_list() == starts
        assert looked.filter(pl.col("layer") != "")["layer"].n_unique() == 17  # the convolutions of the main path


def test_without_early_stopping_nothing_comes_back(tmp_path):
    settings = {"early_stopping": False, "epochs": 6, "step_size": 0.02}
    run = lab.run(CIFAR, runs=1, scale="tiny", seed=3, settings=settings, out=tmp_path, **EAGER)
    assert rows(run, "validation_accuracy").is_empty() and len(rows(run, "test_accuracy")) == 3


def test_systems_differ_where_they_should(tmp_path):
    """In the first increment all are the base system; resets come with the second."""
    found = {}
    for system in ("backprop", "head-reset", "retrained", "cbp"):
        run = lab.run(CIFAR, method=system, runs=2, scale="tiny", out=tmp_path, **EAGER)
        found[system] = [rows(run, "loss").filter(pl.col("task") == task)["value"].to_list() for task in (0, 1)]
    first, second = found["backprop"]
    assert first[0] != first[1]  # two seeds differ
    for system, (theirs, later) in found.items():
        assert theirs == first
        assert (later == second) == (system in ("backprop", "cbp"))  # no unit is old enough to be replaced here


@pytest.mark.parametrize(
    ("name", "settings"),
    [(IMAGENET, {"dropout": 0.3}), (CIFAR, {"epochs": 3})],
    ids=["dropout", "early stopping"],
)
def test_interrupted_and_resumed_equals_never_interrupted(tmp_path, name, settings):
    config = resolve(name, method="cbp", runs=2, scale="tiny", settings=settings)
    whole = lab.run(config, out=tmp_path / "whole", **EAGER)
    folder, segments = folder_of(config, tmp_path / "cut"), itertools.count(1)
    with pytest.raises(KeyboardInterrupt):
        start(config, folder, Execution(compile=False), stopped=lambda: next(segments) == 2)
    resumed = lab.resume(folder, progress=False)
    assert (resumed.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()
    for name, weights in whole.final_weights().items():
        assert torch.equal(weights, resumed.final_weights()[name])


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_a_run_alone_is_that_run_in_the_stack(tmp_path, strategy):
    # a small step size, since batch norms on ten images of 8x8 magnify the rounding of the first steps
    usual = {"scale": "tiny", "settings": {"step_size": 0.002}, **EAGER}
    stack = lab.run(CIFAR, runs=2, seed=1, out=tmp_path / "both", strategy=strategy, **usual)
    alone = lab.run(CIFAR, runs=1, seed=2, out=tmp_path / "one", strategy="loop", **usual)
    for metric in ("loss", "test_accuracy"):
        mine = rows(stack, metric).filter(pl.col("run") == 1)["value"].to_numpy()
        np.testing.assert_allclose(mine, rows(alone, metric)["value"].to_numpy(), rtol=5e-3, atol=1e-3)


def test_only_the_classes_seen_learn():
    outputs = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 1, 1, 0, 1])
    F.cross_entropy(only(outputs, torch.tensor(2)), y).backward()
    expected = outputs.detach().clone().requires_grad_()
    F.cross_entropy(expected[:, :2], y).backward()
    torch.testing.assert_close(outputs.grad, expected.grad)
    assert (outputs.grad[:, 2:] == 0).all()


class Dropped(nn.Module):
    def __init__(self, kind=nn.Dropout):
        super().__init__()
        self.inner, self.drop, self.outer = nn.Linear(6, 50), kind(0.4), nn.Linear(50, 2)

    def forward(self, x):
        return self.outer(self.drop(torch.relu(self.inner(x))))


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_dropout_draws_from_run_and_step(strategy):
    """A share p of the activations is dropped, others with each step and run, the same when it is run again."""

    def losses(seeds):
        learner = Learner(
            Dropped,
            torch.zeros(3, 6),
            loss="cross_entropy",
            optimizer=SGD(step_size=1e-9),
            seeds=seeds,
            strategy=strategy,
            compile=False,
        )
        x = torch.ones(len(seeds), 1, 3, 6)
        y = torch.zeros(len(seeds), 1, 3, dtype=torch.int64)
        return torch.stack([learner.advance(examples(x, y))["loss"] for _ in range(4)])

    found = losses([1, 2])
    assert torch.equal(found, losses([1, 2]))
    torch.testing.assert_close(found[:, 1:], losses([2]))
    assert len(found.unique()) == 8


def test_the_share_that_is_dropped_and_what_the_others_are():
    from neoteny.lab.dropout import Dropping
    from neoteny.units import random

    net = Dropped().train()
    dropping = Dropping(net)
    dropping.key = random.key(0)
    out = net.drop(torch.ones(1000, 50))
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.6])
    assert (out == 0).double().mean().item() == pytest.approx(0.4, abs=0.01)
    net.eval()
    assert torch.equal(net.drop(torch.ones(3)), torch.ones(3))


def test_a_dropout_that_does_more_is_refused():
    from neoteny.errors import NetworkError
    from neoteny.lab.dropout import Dropping

    with pytest.raises(NetworkError, match="drop is AlphaDropout"):
        Dropping(Dropped(nn.AlphaDropout))


@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_bfloat16_computes_coarsely_and_keeps_weights_in_float32(tmp_path, strategy):
    settings = {"step_size": 0.001}
    coarse, fine = (
        lab.run(
            IMAGENET,
            method="cbp",
            runs=2,
            scale="tiny",
            settings={**settings, "precision": precision},
            strategy=strategy,
            out=tmp_path / precision,
            **EAGER,
        )
        for precision in ("bfloat16", "float32")
    )
    theirs, ours = (rows(run, "loss")["value"].to_numpy() for run in (coarse, fine))
    assert not np.array_equal(ours, theirs)
    np.testing.assert_allclose(ours, theirs, rtol=0.05)
    assert {value.dtype for value in coarse.final_weights().values()} == {torch.float32}


def test_a_share_of_units_is_also_that_of_the_whole_network(tmp_path):
    run = lab.run(IMAGENET, runs=2, scale="tiny", out=tmp_path, **EAGER)
    sizes = {"layers.0": 3, "layers.3": 6, "layers.6": 13, "layers.10": 13, "layers.12": 13}  # a tenth of the paper's
    frame = run.metrics.filter(pl.col("metric") == "dormant_units")
    layers = frame.filter(pl.col("layer") != "").with_columns(units=pl.col("layer").replace_strict(sizes))
    whole = layers.group_by("run", "step").agg((pl.col("value") * pl.col("units")).sum() / sum(sizes.values()))
    found = frame.filter(pl.col("layer") == "").sort("run", "step")["value"].to_numpy()
    np.testing.assert_allclose(found, whole.sort("run", "step")["value"].to_numpy(), rtol=1e-6)
    assert frame["layer"].n_unique() == 6 and found.max() > 0
