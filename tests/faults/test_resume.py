"""A resumed run goes on as it was started, with the same data and intact parts, or it is refused in words."""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from neoteny import data, lab
from neoteny.errors import DataError, RunFolderError, SettingError
from neoteny.lab import running
from neoteny.lab.config import RunConfig
from neoteny.lab.execution import Execution
from neoteny.lab.folder import RunFolder
from neoteny.lab.running import ResumeWarning, folder_of, start
from neoteny.report.runs.folders import read_folder

REGRESSION = lab.resolve("slowly-changing-regression", method="cbp", runs=2, scale="tiny")
DIGITS = lab.resolve("online-permuted-mnist", method="backprop", runs=1, scale="tiny")
SCHEMA2 = Path(__file__).parents[1] / "lab" / "schema2"


def digits(seed: int):
    """600 made-up pictures."""
    rng = np.random.default_rng(seed)
    return lambda data_dir=None, train=True: (rng.integers(0, 256, (600, 784), dtype=np.uint8), np.arange(600) % 10)


def cut(config: RunConfig, out: Path, **execution) -> Path:
    """A run that was stopped after some segments."""
    path, segments = folder_of(config, out), iter(range(10**6))
    with pytest.raises(KeyboardInterrupt):
        start(config, path, Execution(compile=False, **execution), stopped=lambda: next(segments) == 1)
    return path


def same(one: Path, other: Path) -> bool:
    return (one / "metrics.parquet").read_bytes() == (other / "metrics.parquet").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that was never interrupted."""
    return lab.run(REGRESSION, out=tmp_path_factory.mktemp("whole"), compile=False, progress=False)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """The same run, stopped."""
    return cut(REGRESSION, tmp_path_factory.mktemp("stopped"))


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A copy of it, in `tmp_path`."""
    return Path(shutil.copytree(stopped_once, folder_of(REGRESSION, tmp_path)))


def test_other_data_is_refused_naming_both(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "mnist", digits(0))
    path = cut(DIGITS, tmp_path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    monkeypatch.setattr(data, "mnist", digits(1))
    with pytest.raises(DataError, match=r"started with data = '\w{32}', and here it is '\w{32}'.*--data-dir"):
        lab.resume(path, progress=False)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    monkeypatch.setattr(data, "mnist", digits(0))
    assert RunFolder(lab.resume(path, progress=False).folder).status == "finished"


def test_every_stream_with_data_has_a_fingerprint(monkeypatch):
    """Changed by a single image; without data there is none."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 15, 3, 32, 32), dtype=np.uint8)
    labels = np.repeat(np.arange(6), 15)
    with_data = (
        "online-permuted-mnist",
        "shuffled-labels",
        "trainability",
        "continual-imagenet",
        "incremental-cifar100",
    )
    for name in with_data:
        problem = lab.resolve(name, scale="tiny", runs=1).problem
        found = []
        for change in (0, 0, 1):
            images[5, 0] ^= change
            grey, colour = np.resize(images, (600, 784)), images.copy()
            classes = data.ImageClasses(tuple(np.concatenate([one, one]) for one in colour), "made up")
            for source, made in (
                ("mnist", (grey, np.arange(600) % 10)),
                ("cifar100", (colour.reshape(-1, 3, 32, 32), labels)),
                ("imagenet32", classes),
            ):
                monkeypatch.setattr(data, source, lambda *_, made=made, **__: made)
            found.append(problem.build_stream([0]).fingerprint())
        assert found[0] == found[1] != found[2], name
    assert REGRESSION.problem.build_stream([0]).fingerprint() == ""


def test_without_provenance_a_run_goes_on_as_it_was_started(tmp_path, whole):
    path = cut(REGRESSION, tmp_path, strategy="loop", threads=2)
    started = {"device": "cpu", "strategy": "loop", "compile": False, "threads": 2, "torch": version("torch")}
    for damaged in ("", "{", "[1]", '{"execution": 3, "training": []}'):
        (path / "provenance.json").write_text(damaged)
        assert RunFolder(path).execution() == started
    (path / "provenance.json").unlink()  # as when it was killed between the two files
    assert RunFolder(path).execution() == started
    resumed = lab.resume(path, progress=False)
    done = RunFolder(resumed.folder).read_provenance()
    assert done["training"]["compiled"] is False
    assert (done["execution"]["strategy"], done["execution"]["threads"]) == ("loop", 2)
    assert resumed.metrics.shape == whole.metrics.shape


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"compile": True}, "compile = False, and here it is True"),
        ({"threads": 2}, "threads = 1, and here it is 2"),
        ({"strategy": "loop"}, "strategy = 'stack', and here it is 'loop'"),
    ],
)
def test_what_would_change_the_numbers_is_refused(tmp_path, stopped, asked, said):
    with pytest.raises(SettingError, match=f"{said}.*not be those of an uninterrupted run"):
        lab.resume(stopped, progress=False, **asked)
    with pytest.raises(SettingError, match=said):
        lab.run(REGRESSION, out=tmp_path, resume=True, progress=False, **{"compile": False, **asked})


def test_another_device_is_named(stopped):
    text = (stopped / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(text.replace("device: cpu", "device: cuda"))
    with pytest.warns(ResumeWarning, match="device = 'cuda', and here it is 'cpu'"):
        lab.resume(stopped, device="cpu", progress=False)


def test_another_version_of_a_package_is_named(stopped):
    text = (stopped / "config.yaml").read_text()
    (stopped / "config.yaml").write_text(re.sub("torch: .*", "torch: 1.0", text))
    with pytest.warns(ResumeWarning, match=r"started with torch 1\.0, and here is torch [2-9]"):
        lab.resume(stopped, progress=False)


def test_configurations_do_not_differ_in_how_they_were_computed(tmp_path, whole):
    content = (whole.folder / "config.yaml").read_text()
    assert "execution:\n  device: cpu\n  strategy: stack\n  compile: false\n  threads: 1\n" in content
    assert RunFolder(whole.folder).config() == REGRESSION
    (tmp_path / "config.yaml").write_text(content.replace("execution:\n", "execution: fast\nelse:\n"))
    with pytest.raises(RunFolderError):
        RunFolder(tmp_path).execution()


def test_a_changed_part_is_noticed_at_resume(stopped, whole):
    path = stopped
    (part,) = (path / "metrics").glob("part-*.parquet")
    intact = part.read_bytes()
    for position in range(8, len(intact) - 8, 397):
        part.write_bytes(intact[:position] + bytes([intact[position] ^ 4]) + intact[position + 1 :])
        with pytest.raises(RunFolderError, match=r"part-00001.parquet was changed.*restore the file"):
            lab.resume(path, progress=False)
    part.unlink()
    with pytest.raises(RunFolderError, match="is missing"):
        lab.resume(path, progress=False)
    part.write_bytes(intact)
    assert same(lab.resume(path, progress=False).folder, whole.folder)


def test_a_changed_result_is_noticed(tmp_path, whole):
    """By whoever reads it: the laboratory and a report. A folder without provenance is taken as it is."""
    path = Path(shutil.copytree(whole.folder, folder_of(REGRESSION, tmp_path)))
    result = lab.RunStack(path, REGRESSION)
    assert result.metrics.equals(whole.metrics) and read_folder(path).frame.height
    content = bytearray((path / "metrics.parquet").read_bytes())
    content[len(content) // 3] ^= 1
    (path / "metrics.parquet").write_bytes(content)
    for read in (lambda: lab.RunStack(path, REGRESSION).metrics, lambda: read_folder(path)):
        with pytest.raises(
            RunFolderError, match=r"metrics.parquet (was changed since its run wrote it|cannot be read)"
        ):
            read()


def test_what_a_late_kill_left_is_cleaned(tmp_path, whole):
    shutil.copytree(whole.folder, path := folder_of(REGRESSION, tmp_path))
    clean = sorted(file.name for file in path.iterdir())
    (path / "metrics").mkdir()
    (path / "metrics" / "part-00001.parquet").write_bytes(b"PAR1")
    (path / ".metrics.parquet.tmp").write_bytes(b"half")
    lab.resume(path, progress=False)
    assert sorted(file.name for file in path.iterdir()) == clean
    assert same(path, whole.folder)


def test_another_process_finishes_between_the_look_and_the_lock(stopped, whole, monkeypatch):
    path, lock = stopped, RunFolder.lock

    def late(folder):
        monkeypatch.setattr(RunFolder, "lock", lock)
        shutil.rmtree(path)
        shutil.copytree(whole.folder, path)
        lock(folder)

    monkeypatch.setattr(RunFolder, "lock", late)
    assert lab.resume(path, progress=False).metrics.equals(whole.metrics)


def test_a_run_that_is_going_on_is_not_called_unfinished(tmp_path, stopped):
    other = RunFolder(stopped)
    other.lock()
    with pytest.raises(RunFolderError, match="being written by another process: wait for it"):
        lab.run(REGRESSION, out=tmp_path, compile=False, progress=False)
    other.unlock()
    with pytest.raises(RunFolderError, match="unfinished run: resume it"):
        lab.run(REGRESSION, out=tmp_path, compile=False, progress=False)


def test_another_process_begins_between_the_look_and_the_lock(tmp_path, whole, monkeypatch):
    path, lock = folder_of(REGRESSION, tmp_path), RunFolder.lock

    def late(folder):
        monkeypatch.setattr(RunFolder, "lock", lock)
        shutil.copytree(whole.folder, path, dirs_exist_ok=True)
        lock(folder)

    monkeypatch.setattr(RunFolder, "lock", late)
    with pytest.raises(RunFolderError, match="finished run, which is never overwritten"):
        lab.run(REGRESSION, out=tmp_path, compile=False, progress=False)
    assert same(path, whole.folder)
    RunFolder(path).lock()  # it was not kept


def test_a_folder_of_before_goes_on_and_lacks_nothing_that_was_added_since(tmp_path):
    """Absent and default are the same, in the configuration and in the checkpoint's copy of it."""
    shutil.copytree(SCHEMA2, tmp_path / "old")
    (path,) = (tmp_path / "old").glob("*/*")
    text = (path / "config.yaml").read_text()
    for line in ("  flip: all\n", "  weight_decay: 0.0\n", "    compensate: false\n"):
        assert line in text
        text = text.replace(line, "")
    (path / "config.yaml").write_text(text)
    content = torch.load(path / "checkpoint.pt", weights_only=True)
    del content["identity"]["settings"]["beta"], content["identity"]["optimizer"]["eps"]
    torch.save(content, path / "checkpoint.pt")
    resumed = lab.resume(path, progress=False)
    settings = {"bin_size": 40, "optimizer.betas": (0.9, 0.99)}
    fresh = lab.run(
        "slowly-changing-regression",
        method="adam+cbp",
        runs=2,
        scale="tiny",
        settings=settings,
        methods={"cbp": {"replacement_rate": 0.02, "maturity_threshold": 5}},
        grid={"step_size": [0.01, 0.003]},
        compile=False,
        out=tmp_path / "new",
        progress=False,
    )
    assert fresh.config == resumed.config
    np.testing.assert_allclose(fresh.metrics["value"], resumed.metrics["value"], rtol=1e-4, atol=1e-6)
    assert resumed.final_weights().keys() == fresh.final_weights().keys()


def test_the_home_directory_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert running.folder_of(REGRESSION, "~/runs") == tmp_path / "runs" / REGRESSION.benchmark / "cbp"
    with pytest.raises(SettingError, match="names no folder"):
        running.folder_of(REGRESSION, "~nobody-of-this-name/runs")


def test_a_full_disk_and_a_folder_that_is_no_ones_are_said(tmp_path, monkeypatch, whole):
    import os

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunFolderError, match=r"cannot be written \(OSError: .*No space left.*make room"):
            lab.run(REGRESSION, out=tmp_path / "full", compile=False, progress=False)
    for bad in ("x" * 300, "a\0b"):
        with pytest.raises(RunFolderError, match="cannot be"):
            lab.run(REGRESSION, out=tmp_path / bad, compile=False, progress=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be"):
        lab.run(REGRESSION, out=tmp_path / "file", compile=False, progress=False)
    assert json.loads((whole.folder / "provenance.json").read_text())["training"]["strategy"] == "stack"


def test_the_provenance_says_where_a_run_went_on(stopped, monkeypatch):
    began = RunFolder(stopped).read_provenance()
    now = {**{name: began[name] for name in ("versions", "cpu")}, "git_commit": "of another day"}
    monkeypatch.setattr("neoteny.lab.training.provenance", lambda: {**began, **now})
    lab.resume(stopped, progress=False)
    said = RunFolder(stopped).read_provenance()
    assert said["resumed"] == [now] and said["git_commit"] == began["git_commit"]


def test_agents_that_learn_from_data_go_on_with_the_same_data(tmp_path):
    file = tmp_path / "data.npz"
    rng = np.random.default_rng(0)

    def write(shift: float) -> None:
        steps = {"observations": rng.random((50, 4)) + shift, "actions": rng.uniform(-1, 1, (50, 2))}
        steps |= {"rewards": rng.random(50), "next_observations": rng.random((50, 4))}
        data.transitions.save_transitions(file, {**steps, "terminals": np.zeros(50), "timeouts": np.zeros(50)})

    write(0.0)
    config = lab.resolve("offline-to-online", runs=1, scale="tiny", settings={"agent": "rlpd", "data": str(file)})
    path = cut(config, tmp_path / "runs")
    write(1.0)
    with pytest.raises(DataError, match="this is other data"):
        lab.resume(path, progress=False)
