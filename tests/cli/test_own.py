"""A module of the user's own, in the folder that the commands are called from: nothing is installed or registered."""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
import pytest

from neoteny import registry
from neoteny.cli.main import main
from neoteny.lab.plain import read_yaml

MODULE = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from neoteny.lab.benchmark import OnlineBenchmark, System
from neoteny.methods import Method
from neoteny.optim import SGD, Optimizer
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.records import PaperFigure
from neoteny.streams import Stream


@dataclass(frozen=True, kw_only=True)
class Fade(Method):
    "Let all weights decay."
    rate: float = 0.01

    def intervene(self, step, state, due):
        step.tensors.update({name: value * (1 - self.rate) for name, value in step.tensors.items()})
        return state


@dataclass(frozen=True, kw_only=True)
class Halved(SGD):
    name: ClassVar[str] = "halved"

    def update(self, tensors, grads, optim, count, signals=None):
        super().update(tensors, {name: grad / 2 for name, grad in grads.items()}, optim, count)


class Signs(Stream):
    "The target is the sign of an input, another one in each task."

    def _begin_task(self, task, again):
        shape = (self.runs, self.length_of(task), 1)
        self._x, self._y = np.empty((*shape, 4), np.float32), np.empty((*shape, 1), np.float32)
        for run, seed in enumerate(self.seeds):
            rng = self._task_generator(seed, task)
            self._x[run] = rng.standard_normal(self._x[run].shape)
            self._y[run] = np.sign(self._x[run][..., [rng.integers(4)]])

    def _take(self, start, stop):
        return torch.from_numpy(self._x[:, start:stop]), torch.from_numpy(self._y[:, start:stop])

    def _probe(self, examples):
        drawn = [self._probe_generator(seed).standard_normal((examples, 4)) for seed in self.seeds]
        return torch.from_numpy(np.stack(drawn).astype(np.float32))


class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, hidden), nn.Linear(hidden, 1)

    def forward(self, x):
        return self.outer(self.inner(x).tanh())


def spread(features):
    return features.mean(dim=(1, 3)).std(dim=-1)


@dataclass(frozen=True, kw_only=True)
class ChangingSigns(OnlineBenchmark):
    LOSS: ClassVar[str] = "mse"
    MEASURES: ClassVar[tuple[str, ...]] = ("weight_magnitude", "own_of_tests:spread")
    SCALES: ClassVar[dict] = {"paper": {}, "small": {}, "tiny": {"tasks": 3, "task_length": 40, "bin_size": 20}}
    SYSTEMS: ClassVar[dict] = {"backprop": System("alone")}
    tasks: int = 30
    task_length: int = 100
    bin_size: int = 50
    measure_every: int = 40
    probe_size: int = 16
    optimizer: Optimizer = SGD(step_size=0.01)
    hidden: int = 8

    def network_settings(self):
        return {"kind": "net", "hidden": self.hidden}

    def build_network(self):
        return Net(self.hidden)

    def build_stream(self, seeds, data_dir=None):
        return Signs(seeds, self.task_length)


def draw(runs):
    from matplotlib.figure import Figure

    page = Figure()
    for series in runs[0].series:
        curve = series.curve("spread", layer=series.layers("spread")[0])
        page.gca().plot(curve.steps, curve.values.mean(axis=0), label=series.label)
    return page


OWN_1 = PaperFigure(
    name="own-1", title="Signs", benchmark="own_of_tests:ChangingSigns", metric="loss", length=3, runs=2,
    conditions=(Condition("alone", "backprop"), Condition("fading", "own_of_tests:Fade")),
)
three = 3
"""
OWN = "own_of_tests:ChangingSigns"
TINY = ("--scale", "tiny", "--runs", "2")


@pytest.fixture
def neoteny(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command as a new program would be, in a folder with the module: nothing was imported or registered before."""
    monkeypatch.chdir(tmp_path)
    Path("own_of_tests.py").write_text(MODULE)
    tables = (registry.METHODS, registry.OPTIMIZERS, registry.BENCHMARKS)
    before = [set(table._added) for table in tables]

    def forget() -> None:
        sys.modules.pop("own_of_tests", None)
        for table, there in zip(tables, before, strict=True):
            for name in set(table._added) - there:
                table.remove(name)

    def run(*arguments: str, status: int = 0) -> str:
        try:
            found = main(arguments)
        finally:
            forget()
        out, err = capsys.readouterr()
        assert found == status, err
        return out if status == 0 else err

    yield run
    forget()


def test_ones_own_is_run_drawn_and_resumed(neoteny):
    shown = neoteny("run", OWN, "--method", "own_of_tests:Fade", "--fade.rate", "0.1",
                    "--optimizer", "own_of_tests:Halved", "--hidden", "6", *TINY)  # fmt: skip
    folder = Path("runs/changing-signs/fade,optimizer=halved,hidden=6,fade.rate=0.1")
    assert str(folder) in shown
    frame = pl.read_parquet(folder / "metrics.parquet")
    assert {"loss", "weight_magnitude", "spread"} <= set(frame["metric"].unique())
    config = read_yaml((folder / "config.yaml").read_text(), "config.yaml")
    assert config["classes"] == {
        "benchmark": OWN, "optimizer": "own_of_tests:Halved", "methods.fade": "own_of_tests:Fade"
    }  # fmt: skip
    whole = (folder / "metrics.parquet").read_bytes()
    for name in ("metrics.parquet", "checkpoint.pt"):
        (folder / name).unlink()
    neoteny("resume", str(folder))
    assert (folder / "metrics.parquet").read_bytes() == whole
    assert neoteny("figure", "own_of_tests:draw").strip() == "draw.png"
    assert Path("draw.png").read_bytes().startswith(b"\x89PNG")
    assert "fade" in neoteny("results", "runs")


def test_the_help_of_ones_own_names_no_source(neoteny, capsys):
    with pytest.raises(SystemExit):
        neoteny("run", OWN, "--help")
    assert "()" not in capsys.readouterr().out.partition("systems")[0]


def test_ones_own_in_a_file_and_as_a_paper_s_figure(neoteny):
    missing = neoteny("figure", "own_of_tests:OWN_1", status=2)
    assert f"neoteny run {OWN} --scale small --runs 10 --method backprop,own_of_tests:Fade" in missing
    Path("mine.yaml").write_text("method: [backprop, own_of_tests:Fade]\nscale: tiny\nruns: 2\n")
    shown = neoteny("run", OWN, "--config", "mine.yaml", "--executor", "here")
    assert "runs/changing-signs/backprop" in shown and "runs/changing-signs/fade" in shown
    assert neoteny("figure", "own_of_tests:OWN_1", "runs", "--out", "own.svg").strip() == "own.svg"
    assert Path("own.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (f"run {OWN} --method own_of_tests:Fad --dry-run", "name in own_of_tests called 'Fad'. Did you mean 'Fade'"),
        ("run none_of_tests:It --dry-run", "call from the folder with none_of_tests"),
        (f"run {OWN} --method own_of_tests:three --dry-run", "derive the class from one of"),
        ("figure own_of_tests:three", "neither a PaperFigure nor a function"),
    ],
)
def test_what_is_not_ones_own_is_told(neoteny, command: str, message: str):
    assert message in neoteny(*command.split(), status=2)
