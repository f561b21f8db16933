"""The public code of Hare & Tortoise against `authors_code`: an ordinary loop that is written as that code is."""

from __future__ import annotations

import copy

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.stages import EAGER, accuracy, first_network, made_up_images
from neoteny import data, lab
from neoteny.benchmarks.generalisability import Generalisability
from neoteny.errors import SettingError
from neoteny.lab.resolving import resolve
from neoteny.methods import HeadReset, ReDo, SelfDistillation, ShrinkAndPerturb
from neoteny.methods.shared.published_code import as_published, returns

SETTINGS = {"authors_code": True, "normalisation": "none", "passes": 4, "noise": 0.25, "share": 0.5}
OWN = {"hare-and-tortoise": {"mu": 0.8}, "l2-init": {"strength": 0.01}, "ema": {"mu": 0.8}}


@pytest.fixture(autouse=True)
def _small_data(monkeypatch):
    monkeypatch.setattr(data, "labelled", lambda name, data_dir=None: made_up_images())


def published(config, system, net, stream):
    """Weights at the end, and the test accuracy after each stage."""
    problem, tests = config.problem, []
    start = [parameter.detach().clone() for parameter in net.parameters()]
    slow, head = copy.deepcopy(net), 2
    sizes = [problem.count * share // problem.batch_size for share in (0.5, 1)]
    for stage, steps in enumerate(problem.stage_steps):
        if stage and system == "shrink-and-perturb":
            for parameter, first in zip(net.parameters(), start, strict=True):
                parameter.data = 0.2 * parameter.data + 0.8 * first
        if stage and system == "head-reset":
            for parameter, first in list(zip(net.parameters(), start, strict=True))[-head:]:
                parameter.data = first.clone()
        optimizer = torch.optim.AdamW(net.parameters(), problem.step_size, weight_decay=1e-4)
        rising = round(0.1 * steps)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = problem.step_size * min((step + 1) / rising, 1.0)
            x, y = (value[0, 0] for value in stream.next(1))
            loss = F.cross_entropy(net(x), y)
            parameters = list(net.parameters())
            if system == "l2-init":
                for part in (range(len(start) - head), range(len(start) - head, len(start))):
                    for place in part:  # overwritten by each
                        pull = (parameters[place] - start[place]).norm()
                    loss = loss + 0.01 * pull
            loss.backward()  # and no zero_grad
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
            if system in ("hare-and-tortoise", "ema"):
                for fast, own in zip(net.parameters(), slow.parameters(), strict=True):
                    own.data = 0.8 * own.data + 0.2 * fast.data
            epoch, rest = divmod(step + 1, int(sizes[stage]))
            if system == "hare-and-tortoise" and rest == 0 and (epoch - 1) % 10 == 0:
                for fast, own in zip(net.parameters(), slow.parameters(), strict=True):
                    fast.data = own.data  # the same memory, until the average is a new tensor
        tests.append(accuracy(slow if system in ("hare-and-tortoise", "ema") else net, stream.held_out("test", stage)))
    return net, tests


@pytest.mark.parametrize("system", ["shrink-and-perturb", "head-reset", "l2-init", "hare-and-tortoise", "ema"])
def test_the_authors_code_is_their_loop(tmp_path, system):
    methods = {system: OWN[system]} if system in OWN else {}
    config = resolve(
        "generalisability", method=system, runs=1, scale="tiny", seed=3, settings=SETTINGS, methods=methods
    )
    assert config.problem.stage_steps == [96, 192]  # with half of the images added, 200 epochs for 100
    run = lab.run(config, out=tmp_path, **EAGER)
    stream = config.problem.build_stream(config.seeds)
    net, tests = published(config, system, first_network(config, stream), stream)
    ends = (np.cumsum(config.problem.stage_steps) * config.problem.batch_size).tolist()
    found = run.metrics.filter((pl.col("metric") == "test_accuracy") & pl.col("step").is_in(ends)).sort("step")
    np.testing.assert_allclose(found["value"].to_numpy(), tests, atol=1e-9)
    for name, weights in run.final_weights().items():
        torch.testing.assert_close(weights[0], net.get_parameter(name).detach(), rtol=2e-3, atol=5e-5)


def test_self_distillation_is_divided_by_the_classes():
    method = as_published(SelfDistillation(), test_every=1, stages=[], epochs=[])
    student, teacher = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))
    theirs = F.kl_div(student.log_softmax(-1), teacher.softmax(-1), reduction="none").mean()  # the default's value
    torch.testing.assert_close(method._distance(student, teacher), theirs)


@pytest.mark.parametrize(
    "method",
    [
        ShrinkAndPerturb(weight_decay=1e-3, sigma=1e-3),
        ShrinkAndPerturb(when="at_task", noise="normal", sigma=0.1),
        HeadReset(to="zero"),
        HeadReset(period=100),
    ],
    ids=["every step", "normal noise", "zero", "period"],
)
def test_what_the_public_code_does_not_have_acts_as_it_says(method):
    assert as_published(method, test_every=1, stages=[], epochs=[]) is method


def test_mnist_has_the_mean_of_cifar_10():
    stream = Generalisability(**SETTINGS, side=7, batch_size=4, images=200).build_stream([0])
    scaled = stream.probe(200).numpy()
    plain = (
        Generalisability(**{**SETTINGS, "authors_code": False}, side=7, batch_size=4, images=200)
        .build_stream([0])
        .probe(200)
    )
    bytes_ = 127.5 * plain.numpy() + 127.5
    np.testing.assert_allclose(scaled, (bytes_ / 255 - 0.4914) / 0.3081, atol=1e-4)


def test_stages_as_the_authors_have_them():
    published, ours = Generalisability(authors_code=True), Generalisability()
    whole = 100 * (60_000 // 256)
    assert published.stage_steps == [whole, round(1.11 * whole)] and ours.stage_steps == [whole, whole]
    assert Generalisability(authors_code=True, tasks=1).stage_steps == [whole]
    budgets = {budget: Generalisability(tasks=1, budget=budget).stage_steps for budget in ("last", "authors", "all")}
    assert budgets == {"last": [whole], "authors": [round(whole * 100 / 111)], "all": [2 * whole]}
    assert returns(published.stage_steps, [23, 234])[:3] == (23, 253, 483)
    assert whole + 234 in returns(published.stage_steps, [23, 234])
    assert as_published(ReDo(), test_every=1_170, stages=[], epochs=[]).period == 1_170
    ash = ShrinkAndPerturb(when="at_task", shrink=0.4, perturb=0.1, statistics=True)
    assert as_published(ash, test_every=1, stages=[], epochs=[]) is ash  # other authors' code
    with pytest.raises(SettingError, match="authors_code"):
        Generalisability(authors_code=True, lengths=(1.0, 2.0))
    with pytest.raises(SettingError, match="one share a stack"):
        published.acting((), ("share",))
