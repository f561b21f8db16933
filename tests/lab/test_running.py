from __future__ import annotations

import os
import signal
import time

import matplotlib
import matplotlib.pyplot as plt
import pytest
import torch

from neoteny import lab
from neoteny.errors import CheckpointError, DataError, RunFolderError, Stopped
from neoteny.lab.folder import RunFolder

REGRESSION = "slowly-changing-regression"
TINY = {"runs": 2, "scale": "tiny", "compile": False, "progress": False}

BEFORE = signal.getsignal(signal.SIGINT)  # a shell that starts something in the background has it ignored


@pytest.fixture
def interrupted(tmp_path):
    """A run stopped by Ctrl-C, and the same run that was not."""

    def interrupt(progress):
        if progress.examples >= 150 and not asked:
            asked.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    asked: list[bool] = []
    settings = {"bin_size": 40}  # several segments
    whole = lab.run(REGRESSION, method="cbp", out=tmp_path / "whole", settings=settings, **TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.monotonic", iter(range(10**9)).__next__)  # a second at each look: progress at every segment
        with pytest.raises(KeyboardInterrupt):
            lab.run(
                REGRESSION, method="cbp", out=tmp_path / "cut", settings=settings, **{**TINY, "progress": interrupt}
            )
    return tmp_path / "cut" / whole.config.benchmark / whole.config.label, whole


def test_ctrl_c_leaves_a_folder_that_can_be_resumed(interrupted):
    path, whole = interrupted
    assert RunFolder(path).status == "unfinished"
    cut = lab.RunStack(path, whole.config)
    assert 120 <= cut.metrics["step"].max() < 400
    with pytest.raises(RunFolderError, match="neoteny resume"):
        cut.final_weights()
    resumed = lab.resume(path, progress=False)
    assert (resumed.folder / "metrics.parquet").read_bytes() == (whole.folder / "metrics.parquet").read_bytes()
    for name, weights in whole.final_weights().items():
        assert torch.equal(weights, resumed.final_weights()[name])
    assert RunFolder(path).read_provenance()["execution"]["compile"] is False


def test_ctrl_c_interrupts_a_segment_that_takes_long(tmp_path, monkeypatch):
    def forever(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr("neoteny.lab.supervised.Supervised._segment", forever)
    began = time.monotonic()
    with pytest.raises(Stopped, match=r"`neoteny resume .*backprop` goes on"):
        lab.run(REGRESSION, out=tmp_path, **TINY)
    assert time.monotonic() - began < 50
    monkeypatch.undo()
    (folder,) = tmp_path.glob("*/*")
    assert lab.resume(folder, progress=False).metrics.height  # from the beginning: there was no checkpoint yet


def test_handlers_of_signals_are_put_back(interrupted):
    assert signal.getsignal(signal.SIGINT) is BEFORE


def test_a_folder_with_a_run_is_refused_unless_it_is_to_be_resumed(interrupted):
    path, whole = interrupted
    out = path.parent.parent
    with pytest.raises(RunFolderError, match="neoteny resume"):
        lab.run(whole.config, out=out, compile=False, progress=False)
    done = lab.run(whole.config, out=out, resume=True, progress=False, compile=False)
    before = done.folder.stat().st_mtime_ns
    with pytest.raises(RunFolderError, match="never overwritten"):
        lab.run(whole.config, out=out, compile=False, progress=False)
    assert lab.run(whole.config, out=out, resume=True, progress=False).metrics.equals(whole.metrics)
    assert lab.resume(path, progress=False).folder == path
    assert done.folder.stat().st_mtime_ns == before
    other = lab.resolve(REGRESSION, method="cbp", runs=2, scale="tiny", seed=9, settings={"bin_size": 40})
    with pytest.raises(CheckpointError, match="seed is 0 there and 9 here"):
        lab.run(other, out=out, resume=True, progress=False)


def test_a_checkpoint_of_another_run_is_refused(interrupted, tmp_path):
    path, _ = interrupted
    other = lab.run(REGRESSION, method="l2", out=tmp_path / "other", **TINY)
    (path / "checkpoint.pt").write_bytes((other.folder / "checkpoint.pt").read_bytes())
    before = sorted(p.name for p in path.rglob("*"))
    with pytest.raises(CheckpointError, match="another configuration"):
        lab.resume(path, progress=False)
    assert sorted(p.name for p in path.rglob("*")) == before  # nothing is lost


def test_a_damaged_checkpoint_is_refused_and_without_one_it_begins_again(interrupted):
    path, whole = interrupted
    checkpoint = path / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="delete it to start this run again"):
        lab.resume(path, progress=False)
    checkpoint.unlink()
    assert lab.resume(path, progress=False).metrics.equals(whole.metrics)


def test_what_cannot_start_leaves_no_trace(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        lab.run("online-permuted-mnist", out=tmp_path / "runs", data_dir=str(tmp_path / "empty"), **TINY)
    assert not (tmp_path / "runs").exists()


def test_resume_needs_a_run_folder(tmp_path):
    with pytest.raises(RunFolderError, match="no run folder"):
        lab.resume(tmp_path / "nothing")


def test_plot_shows_a_figure(tmp_path):
    matplotlib.use("agg")
    figure = lab.run(REGRESSION, out=tmp_path, **TINY).plot()
    assert figure.axes
    plt.close(figure)


def test_names_are_the_functions():
    from neoteny.lab import comparing, running

    assert (lab.run, lab.resume, lab.compare) == (running.run, running.resume, comparing.compare)
    assert lab.RunStack is running.RunStack
    with pytest.warns(FutureWarning, match="RunStack"):
        assert lab.Run is running.RunStack
