"""Fresh networks beside a run: their numbers by NumPy, the run's own unchanged, resumed to the same bytes, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
import torch

from neoteny import data, lab
from neoteny.benchmarks.slowly_changing_regression import SlowlyChangingRegressionBenchmark
from neoteny.errors import SettingError
from neoteny.lab import fresh
from neoteny.lab.building import seeded
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution
from neoteny.lab.fresh import chosen_tasks, fresh_seed
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.lab.recorder import Unrecorded
from neoteny.lab.resolving import resolve
from neoteny.lab.running import folder_of, start
from neoteny.lab.supervised import Supervised
from neoteny.methods import L2, FullReset, WithLayerNorm
from neoteny.methods.base import Method
from neoteny.methods.shared.boundary import BoundaryReset
from neoteny.report.claims.criteria import Falls, Keeps
from neoteny.report.claims.look import Look
from neoteny.report.runs.folders import read_folder
from neoteny.report.runs.groups import group_frames
from neoteny.streams.timeline import Timeline, every

REGRESSION = "slowly-changing-regression"
EAGER: dict[str, Any] = {"compile": False, "progress": False}
SHORT = {"task_length": 20, "bin_size": 15, "measure_every": 40}


@pytest.fixture(autouse=True)
def _made_up_images(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    digits = rng.integers(0, 256, (600, 784), dtype=np.uint8), np.arange(600) % 10
    pairs = data.ImageClasses(tuple(rng.integers(0, 256, (6, 40, 3, 32, 32), dtype=np.uint8)), "made up")
    monkeypatch.setattr(data, "mnist", lambda data_dir=None, train=True: digits)
    monkeypatch.setattr(data, "imagenet32", lambda data_dir=None: pairs)


def recorded(frame: pl.DataFrame, metric: str) -> dict[int, list[float]]:
    """The runs' values by task."""
    rows = frame.filter(pl.col("metric") == metric).sort("task", "run")
    return {int(task): own["value"].to_list() for (task,), own in rows.group_by("task", maintain_order=True)}


def without_fresh(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(~pl.col("metric").str.contains("^(fresh|task)_"))


def descend(network: torch.nn.Module, x: np.ndarray, y: np.ndarray, step_size: float, decay: float) -> np.ndarray:
    """The squared error of each example before a linear network learns from it, by SGD in float64."""
    weights, bias = (parameter.detach().double().numpy().ravel().copy() for parameter in network.parameters())
    found = []
    for inputs, target in zip(x.astype(np.float64), y.astype(np.float64), strict=True):
        error = inputs @ weights + bias[0] - target
        found.append(error**2)
        weights -= step_size * (2 * error * inputs + decay * weights)
        bias -= step_size * (2 * error + decay * bias)
    return np.array(found)


def test_both_means_are_those_of_numpy(tmp_path: Path):
    """A linear network with L2 by SGD at two step sizes; the fresh ones have no L2. A bin is longer than a task."""
    config = resolve(
        REGRESSION,
        method="l2",
        runs=2,
        scale="tiny",
        settings={"activation": "linear", "fresh_tasks": 3, "bin_size": 150},
        methods={"l2": {"strength": 0.1}},
        grid={"step_size": [0.01, 0.003]},
    )
    frame = lab.run(config, out=tmp_path, **EAGER).metrics
    own, anew = recorded(frame, "task_loss"), recorded(frame, "fresh_loss")
    assert list(own) == list(anew) == [0, 2, 3] == list(chosen_tasks(3, 4))
    assert dict(frame.filter(pl.col("metric") == "fresh_loss").select("task", "step").unique().iter_rows()) == {
        0: 100, 2: 300, 3: 400,
    }  # fmt: skip
    problem, (method,) = config.problem, config.interventions
    assert isinstance(problem, SlowlyChangingRegressionBenchmark)
    assert isinstance(method, L2)
    x, y = (part.numpy() for part in problem.build_stream(config.seeds).next(400))
    example = torch.zeros(1, 20)
    for run, (seed, step_size) in enumerate(zip(config.seeds, config.varied["step_size"], strict=True)):
        rows, targets = x[run, :, 0], y[run, :, 0, 0]
        mine = descend(seeded(problem.build_network, (), example, seed), rows, targets, step_size, method.strength)
        for task in own:
            part = slice(100 * task, 100 * (task + 1))
            network = seeded(problem.build_network, (), example, fresh_seed(seed, task))
            theirs = descend(network, rows[part], targets[part], step_size, 0.0)
            np.testing.assert_allclose(own[task][run], mine[part].mean(), rtol=1e-5)
            np.testing.assert_allclose(anew[task][run], theirs.mean(), rtol=1e-5)


@pytest.mark.parametrize(
    ("benchmark", "method", "settings"),
    [
        (REGRESSION, "cbp", SHORT),
        ("online-permuted-mnist", "shrink-and-perturb", {**SHORT, "dropout": 0.2}),
        ("label-permuted-mnist", "adam", SHORT),
        ("continual-imagenet", "redo", {}),
        ("trainability", "l2-init", {}),
        ("shuffled-labels", "layer-norm", {}),
    ],
)
def test_the_run_itself_stays_as_it_is(tmp_path: Path, benchmark: str, method: str, settings: dict[str, Any]):
    asked: dict[str, Any] = {"method": method, "runs": 2, "scale": "tiny"}
    bare = lab.run(benchmark, settings=settings, out=tmp_path / "bare", **asked, **EAGER)
    with_fresh = lab.run(benchmark, settings={**settings, "fresh_tasks": 2}, out=tmp_path / "fresh", **asked, **EAGER)
    assert without_fresh(with_fresh.metrics).equals(bare.metrics)
    assert "fresh_tasks=2" in with_fresh.config.label.split(",")
    assert "fresh_tasks" not in bare.config.to_yaml()
    assert RunConfig.from_yaml(with_fresh.config.to_yaml()) == with_fresh.config
    for name, weights in with_fresh.final_weights().items():
        assert torch.equal(weights, bare.final_weights()[name])
    kinds = {"loss"} if benchmark == REGRESSION else {"loss", "accuracy"}
    kinds |= {"test_accuracy"} if benchmark == "continual-imagenet" else set()
    assert set(with_fresh.metrics["metric"]) - set(bare.metrics["metric"]) == {
        f"{whose}_{kind}" for whose in ("fresh", "task") for kind in kinds
    }
    for kind in kinds:
        found = recorded(with_fresh.metrics, f"fresh_{kind}")
        assert list(found) == [0, bare.config.problem.tasks - 1]
        assert all(len(values) == 2 for values in found.values())
    if "test_accuracy" in kinds:
        last = recorded(bare.metrics, "test_accuracy")[2]
        assert recorded(with_fresh.metrics, "task_test_accuracy")[2] == last


@pytest.mark.parametrize(
    ("strategy", "compiled", "settings", "methods"),
    [
        ("stack", False, {"activation": "tanh", "batch_size": 3}, [FullReset(period=7)]),  # with clocks and draws
        ("loop", True, {}, []),  # a graph that writes the carry in place
        ("rank-one", True, {}, []),
        ("lanes", True, {}, []),
    ],
)
def test_a_learner_that_begins_anew_is_a_new_learner(
    strategy: str, compiled: bool, settings: dict[str, Any], methods: list[Method]
):
    problem = SlowlyChangingRegressionBenchmark.preset("tiny", **settings)
    stream = problem.build_stream([0, 1])

    def learner(seeds: tuple[int, ...]) -> Learner:
        return Learner(
            problem.build_network,
            stream.probe(problem.batch_size)[0],
            loss="mse",
            optimizer=problem.optimizer,
            methods=methods,
            seeds=seeds,
            compile=compiled,
            strategy=strategy,
            unroll=1,
        )

    batches = examples(*stream.next(12))
    used, new = learner((3, 4)), learner((8, 9))
    used.advance(batches)
    used.begin_anew((8, 9))
    assert used.seeds == (8, 9)
    for name, weights in used.initial_weights.items():
        assert torch.equal(weights, new.initial_weights[name])
    sums, expected = used.advance(batches), new.advance(batches)
    assert sums["loss"].tolist() == expected["loss"].tolist()
    for name, weights in used.weights().items():
        assert torch.equal(weights, new.weights()[name])


def test_nothing_is_said_of_a_network_that_turned_non_finite():
    """The largest of outputs that are NaN is that of class 0: accuracies would be finite."""
    loss, right = torch.tensor([torch.nan, 2.0]), torch.tensor([0.3, 0.6])
    learner: Any = SimpleNamespace(
        begin_anew=lambda seeds: None,
        accuracy=lambda blocks: right,
        advance=lambda batches: {"loss": loss, "accuracy": right},
    )
    new = fresh.Fresh(learner, (0, 1), 1, Timeline(tasks=every(1, 1), bins=every(1, 1), looks=every(1, 1)))
    new.advance(0, {}, {"loss": right, "accuracy": right})
    found = new.finish(0, learner, [])
    assert [name for name, values in found.items() if np.isnan(values[0])] == [
        "fresh_loss", "fresh_accuracy", "fresh_test_accuracy"
    ]  # fmt: skip
    assert all(np.isfinite(values[1]) for values in found.values())


def test_every_run_and_task_has_a_network_of_its_own():
    seeds = [fresh_seed(seed, task) for seed in range(20) for task in range(20)]
    assert len(set(seeds)) == 400
    assert seeds[0] == fresh_seed(0, 0)  # known from the run's seed and the task alone


def cut(config: RunConfig, out: Path, segments: int) -> bool:
    """Train so many segments and stop; whether it was over before."""
    counted = count(1)
    try:
        start(config, folder_of(config, out), Execution(compile=False), stopped=lambda: next(counted) == segments)
    except KeyboardInterrupt:
        return False
    return True


def cuts(config: RunConfig, out: Path) -> Iterator[Path]:
    """The run stopped after one segment, after two, and so on to the last."""
    for segments in count(1):
        if cut(config, out / str(segments), segments):
            return
        yield folder_of(config, out / str(segments))


@pytest.mark.parametrize(
    ("benchmark", "settings"),
    [
        (REGRESSION, {**SHORT, "tasks": 2}),
        ("online-permuted-mnist", {**SHORT, "tasks": 2, "dropout": 0.2}),
    ],
)
def test_a_run_stopped_anywhere_goes_on_to_the_same_bytes(tmp_path: Path, benchmark: str, settings: dict[str, Any]):
    config = resolve(benchmark, method="backprop", runs=2, scale="tiny", settings={"fresh_tasks": 2, **settings})
    whole = lab.run(config, out=tmp_path / "whole", **EAGER)
    expected = (whole.folder / "metrics.parquet").read_bytes()
    folders = list(cuts(config, tmp_path))
    assert len(folders) > config.problem.tasks  # also within tasks
    for folder in folders:
        lab.resume(folder, progress=False)
        assert (folder / "metrics.parquet").read_bytes() == expected


def test_between_the_tasks_a_checkpoint_keeps_nothing_of_them():
    config = resolve(REGRESSION, method="backprop", runs=1, scale="tiny", settings={"fresh_tasks": 1})
    training = Supervised(config, Execution(compile=False))
    training._recorder = Unrecorded()  # pyright: ignore[reportAttributeAccessIssue]
    training._segment()
    state = training._state()["fresh"]
    assert (state["task"], state["learner"]) == (-1, None)


@dataclass(frozen=True, kw_only=True)
class Deadening(BoundaryReset):
    """At each change of task every hidden unit of the first layer is silenced for good."""

    name: ClassVar[str] = "deadening"

    def reset(self, step: Any, when: Any) -> None:
        step.tensors["layers.0.bias"] = torch.full_like(step.tensors["layers.0.bias"], -1e3)


def behind(out: Path, method: Method | str) -> Look:
    """What claims about forty runs are judged on."""
    settings = {"fresh_tasks": 2, "tasks": 4, "task_length": 200, "bin_size": 400, "measure_every": 800}
    run = lab.run(
        REGRESSION, method=method, runs=40, scale="tiny", settings=settings, out=out,
        compile=True, strategy="lanes", progress=False,
    )  # fmt: skip
    (group,) = group_frames([read_folder(run.folder)])
    return Look({"run": group.series[0]}, "loss")


def test_who_has_lost_plasticity_is_behind_and_who_begins_anew_is_level(tmp_path: Path):
    """Two-sided: a network whose units die at each change, and one that is made new at each change."""
    dead, new = behind(tmp_path / "dead", Deadening()), behind(tmp_path / "new", "full-reset")
    assert Falls("run").judge(dead).verdict == "holds"
    assert Keeps("run", 0.05).judge(dead).verdict == "does not hold"
    assert Falls("run").judge(new).verdict == "undecided"  # the interval has 0 in it
    interval, n = Falls("run").effect(new)
    assert interval.low < 0 < interval.high
    assert Keeps("run", float(2 * (interval.high - interval.low))).judge(new).verdict == "holds"
    assert n == "40"


def test_what_belongs_to_the_problem_or_makes_the_network_stays(monkeypatch: pytest.MonkeyPatch):
    seen = []

    def watched(learning: Any, *rest: Any) -> Any:
        found = fresh.beside(learning, *rest)
        seen.append(found)
        return found

    monkeypatch.setattr("neoteny.lab.supervised.beside", watched)
    config = resolve(
        "continual-imagenet", method="l2+layer-norm", scale="tiny", runs=1, settings={"fresh_tasks": 1},
        methods={"head-reset": {"keep_momentum": False}},
        grid={"l2.strength": [0.1, 0.2], "step_size": [0.1, 0.2]},
    )  # fmt: skip
    training = Supervised(config, Execution(compile=False))
    (found,) = seen
    assert [method.name for method in found["methods"]] == ["head-reset", "layer-norm"]
    assert any(isinstance(method, WithLayerNorm) for method in found["methods"])
    assert set(found["varied"]) == {"optimizer.step_size"}
    assert found["strategy"] == training.learner.strategy.name


@pytest.mark.parametrize(
    ("benchmark", "reason"),
    [
        ("slippery-ant", "agents learn from what they do themselves"),
        ("stream-minatar", "agents learn from what they do themselves"),
        ("incremental-cifar100", "`retrained` has a new network for each increment"),
        ("warm-start", "`fresh` has a new network for the last stage"),
        ("generalisability", "`fresh` has a new network"),
        ("trace-conditioning", "what is predicted here comes later"),
    ],
)
def test_where_there_can_be_none_the_reason_is_said(benchmark: str, reason: str):
    with pytest.raises(SettingError, match=f"fresh_tasks = 2 cannot be: .*{reason}.*Leave it at 0"):
        resolve(benchmark, scale="tiny", settings={"fresh_tasks": 2})


@pytest.mark.parametrize(("tasks", "said"), [(-1, "fresh_tasks"), (5, "at most the 4 tasks"), (1.5, "fresh_tasks")])
def test_impossible_numbers_are_refused(tasks: float, said: str):
    with pytest.raises(SettingError, match=said):
        resolve(REGRESSION, scale="tiny", settings={"fresh_tasks": tasks})


def test_a_benchmark_of_ones_own_whose_steps_differ_within_a_run_is_refused(tmp_path: Path):
    class Slower(SlowlyChangingRegressionBenchmark):
        ID: ClassVar[str] = "slower-v1"

        def timeline(self) -> Timeline:
            steps = every(self.task_length, self.steps)
            return Timeline(tasks=steps, bins=steps, looks=steps, rates={0: 1.0, 50: 0.1})

    problem = Slower.preset("tiny", fresh_tasks=2)
    with pytest.raises(SettingError, match="fresh_tasks = 2 cannot be with step sizes that change"):
        lab.run(problem, scale="tiny", runs=1, out=tmp_path, **EAGER)
    assert not list(tmp_path.iterdir())


def test_what_is_repeated_for_a_film_has_none():
    config = resolve(REGRESSION, scale="tiny", runs=1, settings={"fresh_tasks": 4})
    training = Supervised(config, Execution(compile=False))
    assert [step for step, _ in training.replay(2)] == [0, 200, 400]
    assert training._fresh is None
