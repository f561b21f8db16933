"""Metrics in TensorBoard, Weights & Biases and MLflow while runs are trained: what is recorded, as means over runs."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neoteny import lab
from neoteny.cli.main import main
from neoteny.errors import MissingPackageError, SettingError, Stopped
from neoteny.lab.supervised import Supervised

REGRESSION = "slowly-changing-regression"
TINY = {"runs": 2, "scale": "tiny", "compile": False, "progress": False}


def means(stack: lab.RunStack, metric: str, layer: str = "") -> dict[int, float]:
    """The means over the runs by step."""
    values = stack[metric, layer]
    return dict(zip(stack.steps((metric, layer)).tolist(), values.mean(0).tolist(), strict=True))


class WandB(types.ModuleType):
    """A client that keeps what it is given."""

    Error = ConnectionError  # stands for wandb's own

    def __init__(self) -> None:
        super().__init__("wandb")
        self.began: list[dict[str, Any]] = []
        self.values: list[dict[str, float]] = []
        self.ended = 0

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def init(self, **how: Any) -> WandB:
        self.began.append(how)
        return self

    def log(self, values: dict[str, float]) -> None:
        self.values.append(values)

    def finish(self) -> None:
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> WandB:
    client = WandB()
    monkeypatch.setitem(sys.modules, "wandb", client)
    return client


def interrupted(out: Path, track: str) -> Path:
    """The folder of a run that was stopped in its midst, after its last checkpoint."""

    def stopped(self, judge=Supervised._judge):
        judge(self)
        if self._step >= 200:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("neoteny.lab.supervised.Supervised._judge", stopped)
        lab.run(REGRESSION, method="cbp", track=track, out=out, **TINY)
    (folder,) = out.glob("*/cbp")
    return folder


def test_wandb_gets_what_is_recorded_and_a_resumed_run_goes_on_there(tmp_path, wandb):
    folder = interrupted(tmp_path, "wandb")
    before = len(wandb.values)
    stack = lab.resume(folder, progress=False)
    first, second = wandb.began
    assert first["id"] == second["id"] and (first["group"], first["name"]) == ("slowly-changing-regression-v1", "cbp")
    assert first["config"]["runs"] == 2 and wandb.ended == 2 and 0 < before < len(wandb.values)
    for name, key in (("loss", ("loss", "")), ("layers.0/dormant_units", ("dormant_units", "layers.0"))):
        name = f"neoteny/{name}"
        told = {values["neoteny/step"]: values[name] for values in wandb.values if name in values}
        assert told == pytest.approx(means(stack, *key))


def test_where_wandb_cannot_begin_the_error_says_what_helps(tmp_path, wandb, monkeypatch):
    def refused(**how: Any) -> None:
        raise wandb.Error("No API key configured")

    monkeypatch.setattr(wandb, "init", refused)
    with pytest.raises(SettingError, match=r"No API key configured.*WANDB_MODE=offline"):
        lab.run(REGRESSION, track="wandb", out=tmp_path, **TINY)


def test_tensorboard_gets_them_in_the_run_folder(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stack = lab.run(REGRESSION, track="tensorboard", out=tmp_path, **TINY)
    found = EventAccumulator(str(stack.folder / "tensorboard")).Reload().Scalars("neoteny/loss")
    assert {one.step: one.value for one in found} == pytest.approx(means(stack, "loss"), rel=1e-6)
    alone = lab.run(REGRESSION, out=tmp_path / "alone", **TINY)
    assert (alone.folder / "metrics.parquet").read_bytes() == (stack.folder / "metrics.parquet").read_bytes()


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch):
    """The real one; it writes to files and tells nobody."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return pytest.importorskip("mlflow")


# SQLAlchemy 2.1 finds something old in MLflow's tables
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")
def test_mlflow_gets_what_is_recorded_and_a_resumed_run_goes_on_there(tmp_path, mlflow, monkeypatch):
    folder = interrupted(tmp_path, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("neoteny/slowly-changing-regression-v1").experiment_id
    (before,) = client.search_runs([experiment])
    assert before.info.status == "KILLED" and before.info.run_name == "cbp"
    assert before.data.params["runs"] == "2" and before.data.params["optimizer.step_size"] == "0.01"
    assert 0 < len(client.get_metric_history(before.info.run_id, "neoteny/loss"))
    stack = lab.resume(folder, progress=False)
    (run,) = client.search_runs([experiment])
    assert run.info.run_id == before.info.run_id and run.info.status == "FINISHED"
    for name, key in (("loss", ("loss", "")), ("layers.0/dormant_units", ("dormant_units", "layers.0"))):
        found = [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, f"neoteny/{name}")]
        assert sorted(found) == list(means(stack, *key).items())  # each once, though the run was resumed

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    elsewhere = lab.run(REGRESSION, track="mlflow", out=tmp_path / "elsewhere", **TINY).folder
    assert not (elsewhere / "mlflow.db").exists() and len(client.search_runs([experiment])) == 2
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://x")
    with pytest.raises(SettingError, match="MLFLOW_TRACKING_URI = 'nowhere://x' cannot be used"):
        lab.run(REGRESSION, track="mlflow", out=tmp_path / "nowhere", **TINY)


def test_what_is_not_finite_is_left_out(tmp_path, wandb):
    lab.run(REGRESSION, track="wandb", out=tmp_path, settings={"step_size": 1e6}, **TINY)
    assert all(np.isfinite(list(values.values())).all() for values in wandb.values)


def test_a_tracker_that_is_not_there_is_refused_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("neoteny.lab.tracking.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install neoteny\[tracking\]"):
        lab.run(REGRESSION, track="wandb", out=tmp_path, **TINY)
    with pytest.raises(SettingError, match="tensorboard or wandb or mlflow"):
        lab.run(REGRESSION, track="comet", out=tmp_path, **TINY)
    monkeypatch.setattr("neoteny.lab.tracking.find_spec", lambda name: None if name == "sqlalchemy" else name)
    with pytest.raises(MissingPackageError, match="'mlflow' needs the package sqlalchemy"):
        lab.run(REGRESSION, track="mlflow", out=tmp_path, **TINY)
    monkeypatch.setattr("neoteny.lab.tracking.find_spec", lambda name: None)
    command = ["run", REGRESSION, "--scale", "tiny", "--track", "tensorboard", "--out", str(tmp_path / "runs")]
    assert main(command) == 2
    assert "needs the package tensorboard" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
