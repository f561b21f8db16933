"""Training in stages against ordinary loops: new optimizers, rising step sizes, clipped gradients, a goal."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.stages import EAGER, accuracy, first_network, made_up_images
from neoteny import attach, data, lab
from neoteny.benchmarks.generalisability import Generalisability
from neoteny.benchmarks.warm_start import WarmStart
from neoteny.errors import SettingError
from neoteny.lab.execution import Execution
from neoteny.lab.resolving import resolve
from neoteny.lab.running import folder_of, start
from neoteny.methods import ShrinkAndPerturb


@pytest.fixture(autouse=True)
def _small_data(monkeypatch):
    monkeypatch.setattr(data, "labelled", lambda name, data_dir=None: made_up_images())


def values(run, metric, of=0):
    return run.metrics.filter((pl.col("metric") == metric) & (pl.col("run") == of)).sort("step")["value"].to_numpy()


@pytest.mark.parametrize("accumulates", [False, True])
def test_generalisability_is_the_ordinary_loop(tmp_path, accumulates):
    settings = {"accumulates": accumulates, "normalisation": "none", "passes": 4, "noise": 0.25, "share": 0.5}
    config = resolve("generalisability", runs=1, scale="tiny", seed=3, settings=settings)
    run = lab.run(config, out=tmp_path, **EAGER)
    problem = config.problem
    stream = problem.build_stream(config.seeds)
    net, losses, tests = first_network(config, stream), [], []
    for stage in range(2):
        optimizer = torch.optim.AdamW(net.parameters(), problem.step_size, weight_decay=1e-4)
        steps = problem.stage_steps[stage]
        rising = round(0.1 * steps)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = problem.step_size * min((step + 1) / rising, 1.0)
            x, y = (value[0, 0] for value in stream.next(1))
            loss = F.cross_entropy(net(x), y)
            if not accumulates:
                optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
        tests.append(accuracy(net, stream.held_out("test", stage)))
    ends = np.cumsum(problem.stage_steps) * problem.batch_size
    found = run.metrics.filter((pl.col("metric") == "test_accuracy") & pl.col("step").is_in(ends.tolist()))
    np.testing.assert_allclose(found.sort("step")["value"].to_numpy(), tests, atol=1e-9)
    bins = problem.timeline().bins
    mean = [np.mean(losses[a:b]) for a, b in zip([0, *bins], bins, strict=False)]
    np.testing.assert_allclose(values(run, "loss"), mean, rtol=1e-3)
    for name, weights in run.final_weights().items():
        torch.testing.assert_close(weights[0], net.get_parameter(name).detach(), rtol=2e-3, atol=2e-5)


def test_gradients_that_are_never_set_to_zero():
    """The published fault, on one number: true gradients .2 .2 -.2 -.2 -.2 become .2 .4 .2 .0 -.2 (clipped to .5)."""
    from neoteny.methods.shared.accumulating import AccumulatingGradient

    method, state, seen = AccumulatingGradient(max_norm=0.5), {"w/sum": torch.zeros(1)}, []
    for gradient in (0.2, 0.2, -0.2, -0.2, -0.2, 0.9):
        step = type("Step", (), {"grads": {"w": torch.tensor([gradient])}})()
        state = method.regularise(step, state)
        seen.append(round(step.grads["w"].item(), 4))
    assert seen == [0.2, 0.4, 0.2, 0.0, -0.2, 0.5]


def test_warm_start_is_the_ordinary_loop_and_stops_at_its_goal(tmp_path):
    settings = {"images": 150, "epochs": 120, "target": 0.9, "batch_size": 8, "step_size": 0.1}
    config = resolve("warm-start", method="backprop", runs=2, scale="tiny", seed=1, settings=settings)
    run = lab.run(config, out=tmp_path, **EAGER)
    problem = config.problem
    for number, seed in enumerate(config.seeds):
        one = resolve("warm-start", method="backprop", runs=1, scale="tiny", seed=seed, settings=settings)
        stream = problem.build_stream([seed])
        net, tests, needed = first_network(one, stream), [], []
        for stage, steps in enumerate(problem.epoch_steps):
            optimizer = torch.optim.SGD(net.parameters(), problem.step_size)
            stream.skip_to(stream.start_of(stage))
            for _epoch in range(problem.epochs):
                right = 0.0
                for _ in range(steps):
                    x, y = (value[0, 0] for value in stream.next(1))
                    outputs = net(x)
                    optimizer.zero_grad()
                    F.cross_entropy(outputs, y).backward()
                    optimizer.step()
                    right += (outputs.argmax(-1) == y).double().mean().item() / steps
                if right >= problem.target:
                    break
            needed.append(_epoch + 1)
            tests.append(accuracy(net, stream.held_out("test", stage)))
        assert values(run, "bins_to_goal", number).tolist() == needed and max(needed) < 120
        np.testing.assert_allclose(values(run, "test_accuracy", number), tests, atol=1e-9)
        assert len(values(run, "accuracy", number)) == sum(needed)  # nothing after the goal is recorded
        for name, weights in run.final_weights().items():
            torch.testing.assert_close(weights[number], net.get_parameter(name).detach(), rtol=0, atol=2e-3)


def test_a_goal_that_is_not_reached_leaves_the_last_weights(tmp_path):
    run = lab.run(
        "warm-start", runs=1, scale="tiny", settings={"target": 1.0, "step_size": 1e-3}, out=tmp_path, **EAGER
    )
    free = {**WarmStart.SCALES["tiny"], "step_size": 1e-3}
    assert np.isnan(values(run, "bins_to_goal")).all() and len(values(run, "loss")) == 2 * free["epochs"]
    moved = [name for name, weights in run.final_weights().items() if weights.abs().sum() > 0]
    assert moved


@pytest.mark.parametrize(("benchmark", "method"), [("warm-start", "backprop-adam"), ("generalisability", "backprop")])
def test_a_run_that_was_stopped_goes_on_to_the_same_bytes(tmp_path, benchmark, method):
    settings = {"target": 0.6, "images": 150, "epochs": 20} if benchmark == "warm-start" else {}
    config = resolve(benchmark, method=method, runs=2, scale="tiny", settings=settings)
    whole = lab.run(config, out=tmp_path / "whole", **EAGER)
    path = folder_of(config, tmp_path / "cut")
    asked = iter([False] * 7 + [True] + [False] * 10_000)
    with pytest.raises(KeyboardInterrupt):
        start(config, path, Execution(compile=False), stopped=lambda: next(asked))
    cut = lab.resume(path, progress=False)
    assert (cut.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()
    weights = whole.final_weights()
    assert all(torch.equal(value, weights[name]) for name, value in cut.final_weights().items())


def test_shares_and_noises_are_a_grid_of_one_stack(tmp_path):
    grid = {"share": [0.2, 0.5], "noise": [0.0, 0.5]}
    run = lab.run("generalisability", runs=1, scale="tiny", grid=grid, out=tmp_path, **EAGER)
    assert run.config.runs == 4 and run.config.varied["noise"] == (0.0, 0.5, 0.0, 0.5)
    alone = {"share": 0.5, "noise": 0.5}
    one = lab.run("generalisability", runs=1, scale="tiny", settings=alone, out=tmp_path / "one", **EAGER)
    np.testing.assert_allclose(values(run, "loss", 3), values(one, "loss"), rtol=1e-4)
    with pytest.raises(SettingError, match="share"):
        resolve("generalisability", scale="tiny", grid={"share": [0.0]})
    with pytest.raises(SettingError, match="passes cannot differ"):
        resolve("generalisability", scale="tiny", grid={"passes": [1, 2]})


@pytest.mark.parametrize(
    "settings",
    [
        {"tasks": 3},
        {"share": 0.0},
        {"noise": 1.5},
        {"lengths": (1.0,)},
        {"max_grad_norm": 0.0},
        {"side": 9},
        {"images": 10**6},
        {"network": "resnet18"},
    ],
)
def test_bad_settings_of_stages_are_refused(settings):
    with pytest.raises(SettingError, match=next(iter(settings))):
        Generalisability(**settings)


def test_stages_have_the_lengths_of_the_published_ones():
    paper = Generalisability()
    assert paper.stage_steps == [100 * (60_000 // 256)] * 2
    assert Generalisability(lengths=(1.0, 1.11)).stage_steps[1] == round(1.11 * 23_400)
    assert Generalisability(tasks=10).stage_steps == [23_400] * 10
    rates = paper.timeline().rates
    assert rates[0] == pytest.approx(1 / 2_340) and rates[2_340] == 1 and rates[23_400] == pytest.approx(1 / 2_340)
    fitted = WarmStart(data="cifar100").epoch_steps
    assert fitted == [16_666 // 128, 33_333 // 128]


def test_running_statistics_begin_anew_with_ash_and_adams_switch():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    switch = ShrinkAndPerturb(when="at_task", shrink=1.0, perturb=0.0, statistics=True)
    plasticity = attach(model, optimizer, switch, example_inputs=torch.randn(8, 4))
    model(torch.randn(8, 4) + 3).sum().backward()
    optimizer.step()
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert model[1].running_mean.abs().max() > 0
    plasticity.new_task()
    assert model[1].running_mean.abs().max() == 0 and (model[1].running_var == 1).all()
    assert model[1].num_batches_tracked == 0
    for name, value in model.named_parameters():
        torch.testing.assert_close(value, before[name])


@pytest.mark.parametrize("system", Generalisability.SYSTEMS)
def test_six_points_are_tried_of_every_system_and_all_may_differ_within_a_stack(system):
    config = resolve("generalisability", method=system, runs=1, scale="tiny", grid=Generalisability.TUNING[system])
    assert config.runs == 6 and set(Generalisability.TUNING) == set(Generalisability.SYSTEMS)
    owners = {"optimizer": config.problem.optimizer} | {method.name: method for method in config.interventions}
    for name in config.varied:
        owner, _, setting = name.rpartition(".")
        assert setting in owners[owner or "optimizer"].varies
