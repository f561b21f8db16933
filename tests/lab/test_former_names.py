"""Run folders of earlier versions: they load, they go on, and a report can be made of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from neoteny import lab, report
from neoteny.lab.config import RunConfig
from neoteny.lab.folder import RunFolder

EVIDENCE = Path(__file__).parents[2] / "docs" / "evidence" / "runs"
OLD = Path(__file__).parent / "schema1"
FOLDER = "slowly-changing-regression-v1/adam+l2"


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in EVIDENCE.rglob("config.yaml")), ids=lambda path: path.name
)
def test_every_folder_of_the_evidence_loads_and_keeps_its_name(folder: Path):
    config = RunFolder(folder).config()
    assert config.label == folder.name
    assert RunConfig.from_dict(config.to_dict()) == config
    assert config.optimizer["name"] == config.settings["optimizer"]


def test_an_unfinished_folder_goes_on_as_if_nothing_had_changed(tmp_path: Path):
    shutil.copytree(OLD, tmp_path / "old")
    resumed = lab.resume(tmp_path / "old" / FOLDER, progress=False)
    assert resumed.config.problem.optimizer.betas == (0.9, 0.99)
    fresh = lab.run(
        "slowly-changing-regression",
        method="adam+l2",
        runs=2,
        scale="tiny",
        settings={"bin_size": 40, "optimizer.betas": (0.9, 0.99)},
        grid={"step_size": [0.01, 0.003]},
        compile=False,
        out=tmp_path / "new",
        progress=False,
    )
    assert fresh.config == resumed.config
    assert fresh.metrics.drop("value").equals(resumed.metrics.drop("value"))
    np.testing.assert_allclose(fresh.metrics["value"], resumed.metrics["value"], rtol=1e-4, atol=1e-6)
    assert set(resumed.final_weights()) == set(fresh.final_weights())


def test_old_and_new_folders_are_reported_on_together(tmp_path: Path):
    shutil.copytree(OLD, tmp_path / "runs")
    lab.resume(tmp_path / "runs" / FOLDER, progress=False)
    lab.run("slowly-changing-regression", method="adam+l2", runs=2, scale="tiny", seed=7, out=tmp_path / "runs",
            settings={"bin_size": 40, "optimizer.betas": (0.9, 0.99)}, compile=False, progress=False)  # fmt: skip
    (group,) = report.load(tmp_path / "runs")
    assert [series.label for series in group.series] == ["adam+l2 step_size=0.003", "adam+l2 step_size=0.01"]
    assert [series.runs for series in group.series] == [2, 4]  # the new seeds join the old ones of the same settings
    assert pl.Series([series.frame["metric"].n_unique() for series in group.series]).n_unique() == 1


def test_a_setting_that_is_absent_is_its_default():
    config = lab.resolve("slowly-changing-regression", method="adam")
    content = config.to_dict()
    for section, key in (("settings", "flip"), ("optimizer", "weight_decay"), ("network", "activation")):
        del content[section][key]
    assert RunConfig.from_dict(content) == config


def test_adamw_of_old_did_not_decay_and_a_new_one_does():
    new = lab.resolve("slowly-changing-regression", optimizer="adamw")
    assert new.problem.optimizer.weight_decay == 0.01
    stated = {"name": "adamw", "step_size": 0.01, "betas": [0.9, 0.999], "epsilon": 1e-8}
    old = new.to_dict() | {"schema": 1, "optimizer": stated}
    assert RunConfig.from_dict(old).problem.optimizer.weight_decay == 0.0
