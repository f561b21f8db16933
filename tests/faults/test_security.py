"""What comes from others runs no code here and writes nowhere but where it is told to.

That pickles are refused and downloads checked is in `tests/data`, that a checkpoint runs no code in
`tests/lab/test_checkpoint.py`, and that pages escape what they show in `tests/report`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from neoteny import compiling, lab
from neoteny.compiling import code_folder, compiler, kernel
from neoteny.errors import RunFolderError, SettingError
from neoteny.lab.graph import direct
from neoteny.report.runs.archive import archive


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return lab.run("slowly-changing-regression", runs=1, scale="tiny", out=out, compile=False, progress=False).folder


@pytest.mark.parametrize("name", ["../../stolen", "/tmp/stolen", "..", ".hidden", "a/b", "a\\\\b", "''", "7"])
def test_an_archive_stays_in_its_folder(tmp_path, finished, name):
    folder = Path(shutil.copytree(finished, tmp_path / "in" / "backprop"))
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("benchmark: slowly-changing-regression-v1", f"benchmark: {name}"))
    if name == "7":
        archive([folder], tmp_path / "to")  # odd, but a name
    else:
        with pytest.raises(RunFolderError):
            archive([folder], tmp_path / "to" / "deep")
    written = {path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "in" not in path.parents}
    assert all(tmp_path / "to" in path.parents for path in written)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder of compiled code, which has been foreseen and made by somebody else."""
    folder = tmp_path / "torchinductor"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder))
    compiling.kernel.cache_clear()
    yield folder
    compiling.kernel.cache_clear()


def test_the_folder_of_code_is_torchs(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    assert str(compiling._default_folder()) == default_cache_dir()


def test_code_of_others_is_not_loaded(cache, tmp_path, monkeypatch):
    source = tmp_path / "answer.cpp"
    source.write_text('extern "C" int answer() { return 42; }')
    code_folder()
    cache.chmod(0o777)
    with pytest.raises(SettingError, match=r"others may write to it.*TORCHINDUCTOR_CACHE_DIR"):
        kernel(source)
    with pytest.raises(SettingError, match="others may write to it"):
        direct(lambda tensors: tensors, [torch.zeros(1)])
    cache.chmod(0o755)
    owner = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: owner + 1)
        with pytest.raises(SettingError, match="belongs to another user"):
            kernel(source)
    if compiler() is not None:
        assert kernel(source).answer() == 42
        (built,) = (cache / "neoteny").glob("answer-*.so")
        built.chmod(0o777)
        compiling.kernel.cache_clear()
        with pytest.raises(SettingError, match="not loaded"):
            kernel(source)
