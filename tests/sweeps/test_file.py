"""A sweep's file, and what is said of one that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from neoteny.errors import SettingError, UnknownNameError
from neoteny.sweeps.file import read_sweep
from neoteny.sweeps.searching import Drawn, Grid, Range

WHOLE = """
benchmark: [slowly-changing-regression, trainability]
scale: tiny
runs: 4
budget: 2
settings: {tasks: 5}
rows:
  backprop:
  adam: {method: backprop, settings: {optimizer: adam, tasks: 6}, grid: {step-size: [1e-3, 1e-2]}}
  cbp: {methods: {cbp: {maturity_threshold: 9}}, grid: {cbp.replacement_rate: {low: 1e-6, high: 1e-4, log: true}}}
search: {points: 6}
"""


@pytest.fixture
def read(tmp_path: Path):
    def of(text: str):
        (tmp_path / "it.yaml").write_text(text)
        return read_sweep(tmp_path / "it.yaml")

    return of


def test_a_whole_file(read):
    said = read(WHOLE.replace("search: {points: 6}", ""))
    assert said.benchmarks == ("slowly-changing-regression-v1", "trainability-v1")
    assert (said.scale, said.runs, said.tuning_runs, said.budget) == ("tiny", 4, 3, 2.0)
    backprop, adam, cbp = said.rows
    assert (backprop.system, backprop.settings, bool(backprop.search("trainability", "small"))) == (
        "backprop",
        {"tasks": 5},
        False,
    )
    assert adam.settings == {"tasks": 6, "optimizer": "adam"}
    assert adam.search("trainability", "small") == Grid({"step_size": [1e-3, 1e-2]})
    assert cbp.methods == {"cbp": {"maturity_threshold": 9}}
    assert cbp.search("trainability", "small") == Drawn({"cbp.replacement_rate": Range(1e-6, 1e-4, log=True)})
    said = read(WHOLE)
    assert [row.search("trainability", "small").most for row in said.rows] == [0, 6, 6]
    assert [row.name for row in read("benchmark: trainability\nrows: [l2, cbp]").rows] == ["l2", "cbp"]


@pytest.mark.parametrize(
    ("old", "new", "error", "said"),
    [
        ("scale:", "scalle:", UnknownNameError, "Did you mean 'scale'"),
        ("trainability]", "trainabilty]", UnknownNameError, "trainability"),
        ("runs: 4", "runs: many", SettingError, "runs = 'many' is not a whole number"),
        ("budget: 2", "budget: -1", SettingError, "budget = -1.*give core-hours"),
        ("rows:", "row:", UnknownNameError, "'rows'"),
        ("[1e-3, 1e-2]", "1e-3", SettingError, "no list of values and no range"),
        ("low: 1e-6,", "", SettingError, "give low and high"),
        ("methods:", "metods:", UnknownNameError, "Did you mean 'methods'"),
        ("{points: 6}", "{point: 6}", UnknownNameError, "Did you mean 'points'"),
        ("{points: 6}", "{points: 0}", SettingError, "points = 0 is not a whole number"),  # nothing would be tuned
        ("{points: 6}", "{points: '6'}", SettingError, "points = '6' is not a whole number"),
        ("{points: 6}", "{seed: 0.5}", SettingError, "seed = 0.5 is not a whole number"),
        ("{points: 6}", "{trials: 2.5}", SettingError, "trials = 2.5 is not a whole number"),
        ("{points: 6}", "{sampler: [tpe]}", UnknownNameError, "Did you mean 'tpe'"),
        ("log: true", "log: 'false'", SettingError, "log = 'false' is not true or false"),
        ("log: true", "whole: true", SettingError, "not of whole numbers"),
        ("{tasks: 5}", "[5]", SettingError, "not settings"),
    ],
)
def test_what_cannot_be(read, old, new, error, said):
    with pytest.raises(error, match=said):
        read(WHOLE.replace(old, new, 1))


def test_no_file(tmp_path):
    with pytest.raises(SettingError, match="cannot be read"):
        read_sweep(tmp_path / "none.yaml")
