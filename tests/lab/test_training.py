from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from neoteny import lab
from neoteny.errors import SettingError
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.lab.recorder import Recorder
from neoteny.lab.resolving import resolve

REGRESSION = "slowly-changing-regression"
EAGER = {"compile": False, "progress": False}


def values(run, metric, layer=""):
    """Runs by bins."""
    rows = run.metrics.filter((pl.col("metric") == metric) & (pl.col("layer") == layer))
    table = rows.pivot("run", index="step", values="value").sort("step")
    return table["step"].to_numpy(), table.select(sorted(table.columns[1:], key=int)).to_numpy().T


def test_bins_are_the_means_of_the_learner_s_losses(tmp_path):
    config = resolve(REGRESSION, method="l2", runs=2, scale="tiny", settings={"bin_size": 90})
    run = lab.run(config, out=tmp_path, **EAGER)
    problem = config.problem
    stream = problem.build_stream(config.seeds)
    learner = Learner(
        problem.build_network,
        stream.probe(1)[0],
        loss="mse",
        optimizer=problem.optimizer,
        methods=config.interventions,
        seeds=config.seeds,
        compile=False,
    )
    losses = []
    for step in range(problem.steps):
        if step and step % problem.task_length == 0:
            learner.new_task()
        losses.append(learner.advance(examples(*stream.next(1)))["loss"].numpy())
    expected = np.array(losses).T.reshape(2, -1, 10)
    steps, found = values(run, "loss")
    assert steps.tolist() == [90, 180, 270, 360, 400]  # the last bin is the shorter rest
    parts = np.split(expected, [9, 18, 27, 36], axis=1)
    np.testing.assert_allclose(found, np.stack([part.mean(axis=(1, 2)) for part in parts], axis=1), rtol=1e-5)
    for name, weights in run.final_weights().items():
        torch.testing.assert_close(weights, learner.weights()[name], rtol=1e-4, atol=1e-6)


def test_what_is_recorded(tmp_path):
    run = lab.run(REGRESSION, method="cbp", runs=2, scale="tiny", out=tmp_path, **EAGER)
    problem, frame = run.config.problem, run.metrics
    assert frame.equals(frame.sort("step", "metric", "layer", "run"))
    for metric in (*type(problem).MEASURES, "units_replaced"):
        rows = frame.filter(pl.col("metric") == metric)
        assert rows["step"].unique().sort().to_list() == [0, 160, 320, 400], metric
    assert set(frame["metric"]) == {*type(problem).MEASURES, "units_replaced", "loss"}
    # the task is that of the last example seen
    assert dict(frame.select("step", "task").unique().iter_rows()) == {
        step: max(step - 1, 0) // 100 for step in (0, 80, 160, 240, 320, 400)
    }
    assert frame.filter(pl.col("layer") == "")["metric"].unique().sort().to_list() == ["loss", "weight_magnitude"]


def test_two_equal_invocations_leave_equal_bytes(tmp_path):
    first, second = (
        lab.run(
            REGRESSION,
            method="cbp",
            runs=3,
            scale="tiny",
            methods={"cbp": {"replacement_rate": 0.01}},
            out=tmp_path / name,
            checkpoint_every=every,
            **EAGER,
        )
        for name, every in (("rare", 1e9), ("constant", 0))
    )
    assert (first.folder / "metrics.parquet").read_bytes() == (second.folder / "metrics.parquet").read_bytes()
    for name, weights in first.final_weights().items():
        assert torch.equal(weights, second.final_weights()[name])
    assert first.metrics.filter(pl.col("metric") == "units_replaced")["value"].max() > 0


def test_killed_between_the_last_checkpoint_and_the_finished_metrics(tmp_path, monkeypatch):
    """What was measured at the end is not measured again."""
    config = resolve(REGRESSION, method="cbp", runs=2, scale="tiny")
    whole = lab.run(config, out=tmp_path / "whole", **EAGER)
    finish = Recorder.finish

    def killed(self, sealed):
        raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "finish", killed)
    with pytest.raises(KeyboardInterrupt):
        lab.run(config, out=tmp_path / "cut", **EAGER)
    monkeypatch.setattr(Recorder, "finish", finish)
    resumed = lab.run(config, out=tmp_path / "cut", resume=True, **EAGER)
    assert (resumed.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()


def test_a_run_alone_is_that_run_in_the_stack(tmp_path):
    """Equal up to the rounding of sums taken in another order: losses to 1e-4 over these 400 steps."""
    stack = lab.run(REGRESSION, method="l2", runs=4, seed=5, scale="tiny", out=tmp_path / "stack", **EAGER)
    alone = lab.run(REGRESSION, method="l2", runs=1, seed=7, scale="tiny", out=tmp_path / "alone", **EAGER)
    np.testing.assert_allclose(values(stack, "loss")[1][2:3], values(alone, "loss")[1], rtol=1e-4)
    layer = "layers.0"
    np.testing.assert_allclose(
        values(stack, "weight_magnitude", layer)[1][2:3], values(alone, "weight_magnitude", layer)[1], rtol=1e-4
    )


def test_a_run_that_turns_non_finite_ends_alone(tmp_path):
    grid = {"step_size": [0.01, 1e6, 0.02]}
    run = lab.run(REGRESSION, runs=1, scale="tiny", grid=grid, out=tmp_path, **EAGER)
    frame = run.metrics
    assert frame.filter(pl.col("metric") == "non_finite").rows() == [(1, 80, 0, "non_finite", "", 1.0)]
    assert frame.filter(pl.col("run") == 1)["step"].max() == 80
    assert frame.filter((pl.col("run") == 1) & (pl.col("metric") == "loss")).is_empty()
    assert frame["value"].is_finite().all()
    for number in (0, 2):
        alone = lab.run(
            REGRESSION,
            runs=1,
            scale="tiny",
            settings={"step_size": grid["step_size"][number]},
            out=tmp_path / str(number),
            **EAGER,
        )
        np.testing.assert_allclose(values(run, "loss")[1][number // 2], values(alone, "loss")[1][0], rtol=1e-4)


def test_weights_that_turn_non_finite_between_bins_end_the_run(tmp_path, monkeypatch):
    advance = Learner.advance

    def poisoned(self, batches):
        sums = advance(self, batches)
        carry = self.strategy.carry()
        name = next(iter(carry["tensors"]))
        carry["tensors"][name] = carry["tensors"][name].clone()
        carry["tensors"][name][1] = float("nan")
        self.strategy.load(carry)
        return {metric: torch.ones_like(value) for metric, value in sums.items()}

    monkeypatch.setattr(Learner, "advance", poisoned)
    run = lab.run(REGRESSION, runs=2, scale="tiny", settings={"bin_size": 400}, out=tmp_path, **EAGER)
    assert run.metrics.filter(pl.col("metric") == "non_finite").select("run", "step").rows() == [(1, 160)]


def test_when_every_run_has_ended_it_is_over(tmp_path):
    run = lab.run(REGRESSION, runs=2, scale="tiny", settings={"step_size": 1e6}, out=tmp_path, **EAGER)
    assert run.metrics["step"].max() == 80
    assert run.metrics.filter(pl.col("metric") == "non_finite").height == 2


def test_progress_is_told(tmp_path):
    heard = []
    lab.run(REGRESSION, runs=2, scale="tiny", out=tmp_path, compile=False, progress=heard.append)
    assert (heard[0].examples, heard[-1].examples, heard[-1].total, heard[-1].runs) == (0, 400, 400, 2)
    assert heard[-1].metric == "loss" and heard[-1].value > 0


def test_an_unknown_device_is_refused(tmp_path):
    with pytest.raises(SettingError, match="device = 'abacus'"):
        lab.run(REGRESSION, runs=1, scale="tiny", out=tmp_path, device="abacus", progress=False)
    assert not list(tmp_path.iterdir())
