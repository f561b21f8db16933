"""Runs of agents that learn from replay: evaluations, resets; stopped, killed and resumed equals never stopped."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest
import torch

from neoteny import lab
from neoteny.cli.main import main
from neoteny.data.transitions import load_transitions
from neoteny.lab.execution import Execution
from neoteny.lab.learner import Learner
from neoteny.lab.resolving import resolve
from neoteny.lab.running import folder_of, resume, start
from neoteny.rl import load_policy
from neoteny.rl.evaluation import evaluate

EAGER = {"compile": False, "progress": False}


def config_of(benchmark="primacy-bias", method="primed-full-reset", **settings):
    return resolve(benchmark, method=method, runs=2, scale="tiny", settings=settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return lab.run(config_of(), out=tmp_path_factory.mktemp("whole"), **EAGER)


def require_equal(one, other):
    assert (one.folder / "metrics.parquet").read_bytes() == (other.folder / "metrics.parquet").read_bytes()
    for name, weights in one.final_weights().items():
        assert torch.equal(weights, other.final_weights()[name]), name


def stopped_at(config, out, after):
    segments = iter(range(1, 10**6))
    with pytest.raises(KeyboardInterrupt):
        start(config, folder_of(config, out), Execution(compile=False), stopped=lambda: next(segments) == after)
    return folder_of(config, out)


def test_what_is_recorded(whole):
    frame = whole.metrics
    found = frame.filter(metric="evaluation_return")
    assert found.select("run", "step").rows() == [(0, 60), (1, 60), (0, 120), (1, 120)]
    assert found["value"].is_finite().all()
    assert set(frame["metric"]) >= {"critic_loss", "entropy", "temperature", "dormant_units", "srank_99"}
    assert frame.filter(metric="critic_loss")["value"].is_finite().all()
    layers = set(frame.filter(metric="dormant_units")["layer"])
    assert {"actor.layers.0", "critic.0.layers.2", "critic.1.layers.0"} <= layers
    assert not (whole.folder / "replay").exists()
    action = load_policy(whole.folder, agent=1)(np.zeros(11))
    assert np.abs(action).max() <= 1


@pytest.mark.parametrize(
    "benchmark",
    [
        ("primacy-bias", "primed-full-reset"),
        ("minatar-100k", "hare-and-tortoise"),
        ("atari-100k", "hare-and-tortoise-head-reset"),
    ],
)
def test_stopped_killed_and_resumed_equals_never_stopped(benchmark, whole, tmp_path, monkeypatch):
    if benchmark[0] == "atari-100k":
        pytest.importorskip("ale_py")
    config = config_of(*benchmark)
    reference = whole if config == whole.config else lab.run(config, out=tmp_path / "whole", **EAGER)
    path = stopped_at(config, tmp_path / "cut", 2)
    assert list((path / "replay").iterdir())

    class Killed(BaseException):
        pass

    kind, done = config.problem.agent_class(), []
    iterate = kind.iterate

    def dying(self):
        if len(done) == 2:
            self.state_dict(path / "replay")  # a part that no checkpoint knows
            raise Killed
        done.append(1)
        return iterate(self)

    monkeypatch.setattr(kind, "iterate", dying)
    with pytest.raises(Killed):
        resume(path, progress=False)
    monkeypatch.setattr(kind, "iterate", iterate)
    require_equal(resume(path, progress=False), reference)


def test_agents_are_evaluated_before_their_reset(monkeypatch, tmp_path):
    events = []
    new_task = Learner.new_task

    def telling(self):
        events.append("reset")
        new_task(self)

    monkeypatch.setattr(Learner, "new_task", telling)
    monkeypatch.setattr(
        "neoteny.rl.training.evaluate",
        lambda prefer, environments, seeds, step, *_: (events.append(step), np.zeros((len(seeds), 2)))[1],
    )
    config = config_of(method="full-reset")
    lab.run(config, out=tmp_path, **EAGER)
    assert events == [60, "reset", 120]


def test_an_evaluation_is_of_the_preferred_actions_and_changes_nothing():
    problem = config_of().problem
    agents = problem.build_agents([3, 4], methods=(), optimizer=problem.optimizer, compile=False)
    agents.iterate()
    games = problem.build_evaluation([3, 4])
    before = agents.state_dict()
    found = evaluate(agents.prefer, games, agents.seeds, 20)
    again = evaluate(agents.prefer, games, agents.seeds, 20)
    np.testing.assert_array_equal(found, again)
    assert found.shape == (2, 2) and not np.array_equal(found, evaluate(agents.prefer, games, agents.seeds, 40))
    assert np.array_equal(before["actors"]["seen"], agents.actors.observations)
    alone = evaluate(lambda rows: agents.prefer(np.tile(rows, (2, 1, 1)))[1:], problem.build_evaluation([4]), [4], 20)
    np.testing.assert_allclose(alone[0], found[1], rtol=1e-5)


@pytest.mark.skipif(find_spec("gymnasium_robotics") is None, reason="mazes are gymnasium-robotics'")
@pytest.mark.parametrize("method", ["rlpd", "iql-full-reset", "behaviour-cloning"])
def test_agents_learn_in_a_maze_with_data_at_hand(method, tmp_path):
    run = lab.run("offline-to-online", method=method, runs=1, scale="tiny", out=tmp_path, **EAGER)
    found = run.metrics.filter(metric="evaluation_return")
    ends = {"rlpd": [40, 80], "iql-full-reset": [40, 80, 100], "behaviour-cloning": [20]}
    assert found["step"].to_list() == ends[method]
    assert found["value"].is_in([0.0, 0.5, 1.0]).all()
    assert load_policy(run.folder).step == ends[method][-1]


def test_every_system_runs(tmp_path):
    for benchmark in ("replay-ratio", "minatar-100k"):
        run = lab.run(benchmark, method="head-reset" if benchmark == "replay-ratio" else "redo", runs=1, scale="tiny",
                      out=tmp_path, **EAGER)  # fmt: skip
        assert run.metrics.filter(pl.col("metric").is_in(["episodic_return"])).height == 3


def test_an_ant_that_learned_to_go_somewhere_is_driven_through_a_maze(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gymnasium_robotics")
    monkeypatch.chdir(tmp_path)
    run = lab.run("primacy-bias", runs=1, scale="tiny", settings={"task": "goal-ant"}, out=tmp_path / "runs", **EAGER)
    command = ["collect", "ant-maze", "--policy", str(run.folder), "--transitions", "60"]
    assert main(command) == 0
    assert "60 transitions" in capsys.readouterr().out
    found = load_transitions(tmp_path / "ant-maze-umaze.npz")
    assert found["observations"].shape == (60, 29)
