from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from neoteny import registry
from neoteny.errors import RunFolderError
from neoteny.lab import checkpoint, former_names, resolve
from neoteny.lab.folder import RunFolder, provenance
from neoteny.lab.plain import read_yaml
from neoteny.lab.recorder import Recorder
from neoteny.report.runs.folders import read_folder


@pytest.fixture(scope="module")
def config():
    return resolve("slowly-changing-regression", method="l2", runs=2, scale="tiny")


def test_a_new_folder_holds_its_configuration(tmp_path, config):
    folder = RunFolder(tmp_path / "a" / "b")
    assert folder.status == "absent"
    folder.create(config)
    assert folder.status == "unfinished"
    assert folder.config() == config
    folder.unlock()


def test_nothing_is_overwritten(tmp_path, config):
    folder = RunFolder(tmp_path)
    folder.create(config)
    folder.unlock()
    with pytest.raises(RunFolderError, match=f"unfinished run.*neoteny resume {tmp_path}"):
        folder.create(config)
    (tmp_path / "metrics.parquet").write_bytes(b"")
    with pytest.raises(RunFolderError, match=r"finished run.*--out"):
        folder.create(config)


def test_somebody_elses_folder_is_left_alone(tmp_path, config):
    (tmp_path / "thesis.tex").write_text("...")
    with pytest.raises(RunFolderError, match=r"no run folder.*--out"):
        RunFolder(tmp_path).create(config)
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder(tmp_path / "thesis.tex").config()
    with pytest.raises(RunFolderError, match="nothing there"):
        RunFolder(tmp_path / "absent").config()


@pytest.mark.parametrize("damage", ["", "benchmark: [", "schema: 1\nbenchmark: x\n", "\x00", "schema: 99", "- a\n- b"])
def test_a_half_written_configuration_is_said(tmp_path, config, damage):
    (tmp_path / "config.yaml").write_text(damage)
    with pytest.raises(RunFolderError, match=r"(?s)config.yaml cannot be used .*run it again"):
        RunFolder(tmp_path).config()


@pytest.mark.parametrize("lines", range(1, 12, 2))
def test_a_configuration_cut_anywhere_is_said(tmp_path, config, lines):
    text = config.to_yaml().splitlines()
    (tmp_path / "config.yaml").write_text("\n".join(text[: lines * len(text) // 13]))
    with pytest.raises(RunFolderError, match=r"(?s)config.yaml cannot be used .*run it again"):
        RunFolder(tmp_path).config()


def test_metrics_that_are_no_parquet_are_said(tmp_path, config):
    (tmp_path / "metrics.parquet").write_bytes(b"PAR1")
    with pytest.raises(RunFolderError, match=r"metrics.parquet cannot be read.*run it again"):
        RunFolder(tmp_path).metrics()


def test_one_process_writes_at_a_time(tmp_path, config):
    pytest.importorskip("fcntl")
    folder = RunFolder(tmp_path)
    folder.create(config)
    with pytest.raises(RunFolderError, match="another process"):
        RunFolder(tmp_path).lock()
    folder.unlock()
    path = str(tmp_path / ".lock")
    script = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX); print(1); input()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "1\n"
        with pytest.raises(RunFolderError, match="another process"):
            folder.lock()
        process.kill()
    folder.lock()  # the system took the lock back
    folder.unlock()


@pytest.mark.parametrize("program", ["/home/me/bin/neoteny", "/home/me/src/neoteny/__main__.py", "neoteny"])
def test_provenance_has_the_command_without_the_programs_folder(monkeypatch, program):
    monkeypatch.setattr("sys.argv", [program, "run", "x", "--grid", "a=1 2"])
    assert provenance()["command"] == "neoteny run x --grid 'a=1 2'"


def test_provenance_has_a_script_with_its_place_below_the_working_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for typed, kept in (
        ("docs/mine.py", "docs/mine.py"),
        (str(tmp_path / "docs" / "mine.py"), "docs/mine.py"),
        ("/elsewhere/mine.py", "mine.py"),
    ):
        monkeypatch.setattr("sys.argv", [typed, "--only", "a"])
        assert provenance()["command"] == f"python {kept} --only a"


def test_provenance_says_where_numbers_come_from(tmp_path, config):
    content = provenance("neoneny run x")
    assert {"torch", "numpy", "polars", "neoteny", "python"} <= content["versions"].keys()
    assert content["command"] == "neoneny run x"
    folder = RunFolder(tmp_path)
    assert folder.read_provenance() == {}
    folder.write_provenance(content)
    assert folder.read_provenance() == content
    (tmp_path / "provenance.json").write_text("{")
    assert folder.read_provenance() == {}


def test_names_of_earlier_versions_are_read_as_the_present_ones(tmp_path):
    today = resolve("ant", scale="tiny", runs=1, settings={"max_grad_norm": 0.5})
    former = {new: old for old, new in former_names.PPO.items()}
    folder = RunFolder(tmp_path / "run")
    folder.create(today)
    text = (folder.path / "config.yaml").read_text()
    for new, old in former.items():
        text = text.replace(f" {new}:", f" {old}:")
    (folder.path / "config.yaml").write_text(text)
    recorder = Recorder(folder.path, runs=1)
    for name in ("kl", "clip_share", "entropy"):
        recorder.add(name, [0.1], step=1, task=0)
    recorder.flush()
    assert folder.config() == today
    assert folder.metrics()["metric"].to_list() == ["approx_kl", "clip_fraction", "entropy"]
    seen = read_folder(folder.path)
    assert seen.config["settings"]["max_grad_norm"] == 0.5
    assert seen.frame["metric"].to_list() == ["approx_kl", "clip_fraction", "entropy"]
    settings = {former.get(name, name): value for name, value in today.settings.items()}
    checkpoint.save(folder.checkpoint, {"step": 3}, {**today.to_dict(), "settings": settings})
    assert folder.state(today) == {"step": 3}


def test_runs_of_the_evidence_have_every_setting_of_today():
    """So that later runs of the same join them: a setting that came later stands in `former_names.LATER`."""
    lacking = set()
    for path in (Path(__file__).parents[2] / "docs" / "evidence" / "runs").rglob("config.yaml"):
        config = former_names.brought_up_to_date(read_yaml(path.read_text(encoding="utf-8"), str(path)))
        problem = registry.benchmark(config["benchmark"]).load()
        parts = {name: (registry.METHODS[name].load(), own) for name, own in config["methods"].items()}
        for owner, (cls, own) in {config["benchmark"]: (problem, config["settings"]), **parts}.items():
            lacking |= {f"{owner}: {one.name}" for one in fields(cls) if one.name not in own}
    # it is written only where there are some
    assert {one for one in lacking if not one.endswith(": fresh_tasks")} == set()
