"""Inputs that somebody might give, and many that nobody would: accepted and able to work, or refused in words."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.inputs import KINDS, tried
from neoteny import lab
from neoteny.cli.main import main
from neoteny.errors import SettingError
from neoteny.lab import running
from neoteny.lab.plain import read_yaml
from neoteny.methods import ContinualBackprop
from neoteny.optim import Adam, Muon
from neoteny.report.runs import folders

NAME = "slowly-changing-regression"


@pytest.mark.parametrize(("kind", "count"), [(kind, 400 if "settings" in kind else 50) for kind in KINDS])
def test_a_share_of_the_campaign(kind, count):
    assert tried(kind, count, seed=1)["wrong"] == []


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Adam(eps=float("inf")), "eps = inf is not a finite number"),
        (lambda: Muon(iterations=float("nan")), "iterations = nan is not a whole number"),
        (lambda: ContinualBackprop(compensate="no"), "compensate = 'no' is not true or false; give true or false"),
        (lambda: ContinualBackprop(replacement_rate=1e-320), "not a number that float32 holds"),
        (lambda: ContinualBackprop(maturity_threshold=10**400), "a int|1000.*whole number"),
        (lambda: lab.resolve(NAME, runs=10**9), "runs = 1000000000 is not a whole number from 1 to 100,000"),
        (
            lambda: lab.resolve(NAME, runs=100, grid={"step_size": [k / 2e3 for k in range(1, 2_001)]}),
            "of all points of the grid",
        ),
        (lambda: lab.resolve(NAME, settings=3), "settings = 3 is not"),
        (lambda: lab.resolve(NAME, settings={"step_size": 0.1, "step-size": 0.2}), "step_size is given twice"),
        (lambda: lab.resolve(NAME, settings={"step_size": 0.1, "learning_rate": 0.2}), "step_size is given twice"),
        (lambda: lab.run(NAME, threads=10**6), "threads = 1000000 is not at most 1,024"),
        (lambda: lab.run(NAME, resume="no"), "run: resume = 'no' is not true or false"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, said):
    with pytest.raises(SettingError, match=said):
        make()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step_size: 0.1\nstep_size: 0.2", "step_size is given twice"),
        ("step_size: 0.1\nstep-size: 0.2", "step_size is given twice"),
        ("cbp: {decay_rate: 0.1, decay-rate: 0.2}\nmethod: cbp", "decay_rate is given twice"),
        ("step_size: !!int abc", "is not YAML as settings are written"),
        ("step_size: 2024-01-01", "step_size = '2024-01-01' is not a number"),
        ("scale: {a: 1}", "scale = {'a': 1} is not a name"),
        ("step_size: " + "[" * 3_000, "nested too deeply"),
        ("a: &a [1]\nb: [*a, *a]", "a refers to another value: write the value out"),
        ("step_size: " + "1" * 6_000, "is not YAML as settings are written"),
    ],
)
def test_files_that_cannot_be_meant_are_refused(tmp_path, capsys, text, said):
    (tmp_path / "mine.yaml").write_text(text)
    assert main(["run", NAME, "--config", str(tmp_path / "mine.yaml"), "--dry-run"]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_numbers_are_read_as_they_are_written():
    text = "a: [1e-5, 1., .5, -1E5, 0x10, 1_000, 017, 1:30, 2024-13-45, '1', .inf, on]"
    assert read_yaml(text, "x")["a"] == [
        *(1e-5, 1.0, 0.5, -1e5, 16, 1000, "017", "1:30", "2024-13-45", "1", float("inf"), True)
    ]


def test_what_does_not_fit_into_memory_is_said(tmp_path):
    huge = {"scale": "tiny", "runs": 1, "compile": False, "progress": False}
    with pytest.raises(SettingError, match=r"does not fit into memory.*hidden = 1,000,000,000,000"):
        lab.run(NAME, out=tmp_path, settings={"hidden": 10**12}, **huge)
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_is_said(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["run", NAME, "--scale", "tiny", "--runs", "1", "--out", str(tmp_path / "a"), "--no-compile"]) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_errors_of_the_system_are_said(tmp_path, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr("neoteny.cli.list.main", full)
    assert main(["list"]) == 2
    assert "error: /somewhere: No space left on device" in capsys.readouterr().err
    monkeypatch.setattr("neoteny.cli.list.main", lambda _: [0] * 10**18)
    assert main(["list"]) == 2
    assert "too little memory" in capsys.readouterr().err


def test_the_home_directory_in_every_path(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    for command in (["report", "~/none"], ["resume", "~/none"], ["archive", "~/none", "--to", "~/x"]):
        assert main(command) == 2
        assert str(tmp_path / "none") in capsys.readouterr().err
    assert main(["report", "~nobody-of-this-name/x"]) == 2
    assert "names no folder" in capsys.readouterr().err
    assert main(["run", "slowly-changing-regression", "--scale", "tiny", "--out", "s3://bucket/runs"]) == 2
    assert "s3:/bucket/runs is a URL, not a folder" in capsys.readouterr().err


def test_a_long_search_for_run_folders_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "a" / ".hidden").mkdir(parents=True)
    for place in ("a", "a/.hidden"):
        (tmp_path / place / "config.yaml").write_text("")
    monkeypatch.setattr("neoteny.progress.bars.PATIENCE", -1.0)
    assert folders.find_folders(tmp_path) == [tmp_path / "a"]
    assert "looking for run folders" in capsys.readouterr().err


def test_a_label_is_one_name_that_file_systems_take():
    config = lab.resolve(
        NAME, method="plasticity-injection", methods={"plasticity-injection": {"head": "../../x/ü" * 90}}
    )
    path = running.folder_of(config, "out")
    assert path.parent == Path("out") / config.benchmark
    assert len(path.name.encode()) <= 200
    assert ".." not in path.name.split(",")[1][:7]


def test_many_threads_do_not_end_the_process():
    code = f"from neoteny.cli.main import main; raise SystemExit(main(['run', '{NAME}', '--threads', '1000000']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "at most 1,024" in done.stderr
