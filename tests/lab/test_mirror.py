"""Run folders on a store: whole at every moment, and enough to go on from elsewhere to the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from neoteny import lab
from neoteny.errors import MissingPackageError, RunFolderError, SettingError
from neoteny.lab.folder import RunFolder
from neoteny.lab.mirror import Mirror, fetch_below

fsspec = pytest.importorskip("fsspec")

EAGER = {"compile": False, "device": "cpu", "progress": False, "checkpoint_every": 0.0}
CONFIG = lab.resolve("slowly-changing-regression", method="l2", runs=2, scale="tiny")


def interrupted(out: Path, at: int = 200, **options) -> Path:
    """The folder of a run that was stopped in the middle."""

    def stop(progress):
        if progress.examples >= at:
            raise SystemExit

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        # a checkpoint and a message at every segment, however long this machine takes for them
        patch.setattr("neoteny.lab.training.SPARING", 0)
        patch.setattr("time.monotonic", iter(range(10**9)).__next__)
        lab.run(CONFIG, out=out, **{**EAGER, "progress": stop}, **options)
    return lab.folder_of(CONFIG, out)


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path):
    url = f"memory://{tmp_path.name}" if request.param == "memory" else f"file://{tmp_path}/store"
    yield url
    fsspec.filesystem("memory").store.clear()


def test_a_run_goes_on_elsewhere(store, tmp_path):
    here = interrupted(tmp_path / "here", mirror=store)
    shutil.rmtree(tmp_path / "here")  # the machine is gone
    run = lab.run(CONFIG, out=tmp_path / "there", mirror=store + "/", resume=True, **EAGER)
    whole = lab.run(CONFIG, out=tmp_path / "whole", **EAGER)
    assert run.folder.relative_to(tmp_path / "there") == here.relative_to(tmp_path / "here")
    assert (run.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()
    fetch_below(store, tmp_path / "third")
    third = RunFolder(lab.folder_of(CONFIG, tmp_path / "third"))
    assert third.status == "finished" and third.metrics().equals(whole.metrics)
    names = {path.name for path in third.path.iterdir()}
    assert names == {"config.yaml", "provenance.json", "checkpoint.pt", "metrics.parquet"}  # its parts are gone there
    with pytest.raises(RunFolderError, match="never overwritten"):
        lab.run(CONFIG, out=tmp_path / "fourth", mirror=store, **EAGER)


def test_an_unfinished_folder_here_gives_way_to_a_finished_one(tmp_path):
    url = f"file://{tmp_path}/store"
    mine = interrupted(tmp_path / "mine")
    theirs = lab.run(CONFIG, out=tmp_path / "theirs", mirror=url, **EAGER)
    folder = RunFolder(mine)
    folder.lock()
    with pytest.raises(RunFolderError, match="another process"):
        fetch_below(url, tmp_path / "mine")
    folder.unlock()
    (again,) = lab.compare([CONFIG], out=tmp_path / "mine", mirror=url, resume=True, executor="here", **EAGER)
    assert again.metrics.equals(theirs.metrics)


def test_an_unfinished_folder_here_gives_way_to_one_that_is_further(tmp_path):
    url = f"file://{tmp_path}/store"
    mine, theirs = interrupted(tmp_path / "mine", 100), interrupted(tmp_path / "theirs", 300, mirror=url)
    behind, ahead = (RunFolder(path).read_provenance()["checkpoint"] for path in (mine, theirs))
    assert 0 < behind < ahead
    fetch_below(url, tmp_path / "mine")
    assert RunFolder(mine).read_provenance()["checkpoint"] == ahead
    shutil.rmtree(mine)
    mine = interrupted(tmp_path / "mine", 400)
    fetch_below(url, tmp_path / "mine")  # now this one is further
    assert RunFolder(mine).read_provenance()["checkpoint"] > ahead
    run = lab.run(CONFIG, out=tmp_path / "mine", mirror=url, resume=True, **EAGER)
    assert run.metrics.equals(lab.run(CONFIG, out=tmp_path / "whole", **EAGER).metrics)


def test_a_finished_run_whose_last_copy_failed_is_copied_when_it_is_asked_for_again(tmp_path, monkeypatch):
    url, push = f"file://{tmp_path}/store", Mirror.push

    def failing(self):
        if (self._folder / "metrics.parquet").exists():
            raise RunFolderError("the store is away")
        push(self)

    monkeypatch.setattr(Mirror, "push", failing)
    with pytest.raises(RunFolderError, match="the store is away"):
        lab.run(CONFIG, out=tmp_path / "here", mirror=url, **EAGER)
    monkeypatch.setattr(Mirror, "push", push)
    fetch_below(url, tmp_path / "here")
    fetch_below(url, tmp_path / "there")
    assert RunFolder(lab.folder_of(CONFIG, tmp_path / "there")).status == "finished"


def test_the_copy_is_whole_wherever_copying_breaks_off(tmp_path, monkeypatch):
    """A checkpoint there never counts on what is not there."""
    url, folder = f"file://{tmp_path}/store/it", tmp_path / "it"
    copied: list[str] = []
    copy = Mirror._copy

    def breaking(self, path, to):
        if len(copied) == breaks:
            raise OSError("no route to the store")
        copied.append(path.name)
        copy(self, path, to)

    monkeypatch.setattr(Mirror, "_copy", breaking)
    (folder / "metrics").mkdir(parents=True)
    (folder / "config.yaml").touch()
    for breaks in range(5):
        copied.clear()
        (folder / "metrics" / f"part-{breaks}.parquet").write_text("rows")
        (folder / "checkpoint.pt").write_text(f"needs {breaks}")
        try:
            Mirror(url, folder).push()
        except RunFolderError as error:
            assert "cannot be written (OSError: no route" in str(error)
        there = tmp_path / "store" / "it"
        if (there / "checkpoint.pt").exists():
            needed = int((there / "checkpoint.pt").read_text().split()[1])
            assert all((there / "metrics" / f"part-{part}.parquet").exists() for part in range(needed + 1))


def test_a_store_that_fails_on_the_way_is_warned_of(tmp_path, monkeypatch):
    fails = [True]
    push = Mirror.push

    def failing(self):
        if fails.pop() if fails else False:
            raise RunFolderError("the store is away")
        push(self)

    monkeypatch.setattr(Mirror, "push", failing)
    with pytest.warns(UserWarning, match="the store is away"):
        lab.run(CONFIG, out=tmp_path / "out", mirror=f"file://{tmp_path}/store", **EAGER)
    fetch_below(f"file://{tmp_path}/store", tmp_path / "again")
    assert RunFolder(lab.folder_of(CONFIG, tmp_path / "again")).status == "finished"


def test_what_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(SettingError, match="cannot be opened"):
        Mirror("nothing://bucket", tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(MissingPackageError, match="neoteny.cluster"):
        Mirror("memory://bucket", tmp_path)
