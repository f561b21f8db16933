"""SVHN from files of its format, written by SciPy."""

import errno
import importlib
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from neoteny.data import svhn
from neoteny.data.svhn import find_svhn
from neoteny.errors import DataError

module = importlib.import_module("neoteny.data.svhn")

RANDOM = np.random.default_rng(0)
IMAGES = {part: RANDOM.integers(0, 256, (n, 3, 32, 32), dtype=np.uint8) for part, n in (("train", 23), ("test", 12))}
LABELS = {part: np.arange(len(images)) % 10 for part, images in IMAGES.items()}


@pytest.fixture
def small(monkeypatch, cache, server):
    for part in IMAGES:
        written = io.BytesIO()
        labels = np.where(LABELS[part] == 0, 10, LABELS[part]).astype(np.uint8)[:, None]
        savemat(written, {"X": IMAGES[part].transpose(2, 3, 1, 0), "y": labels}, do_compression=True)
        remote = server.offer(f"{part}_32x32.mat", written.getvalue())
        monkeypatch.setattr(module, f"_{part.upper()}", replace(module._TRAIN, remote=remote))
    return server


def is_small(data_dir=None):
    for part, train in (("train", True), ("test", False)):
        images, labels = svhn(data_dir, train)
        np.testing.assert_array_equal(images, IMAGES[part])
        np.testing.assert_array_equal(labels, LABELS[part])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        assert isinstance(images.base, np.memmap)
        assert not images.flags.writeable


def test_fetched_and_decoded_once(small, cache):
    assert find_svhn() is None
    is_small()
    is_small()
    assert sorted(name for name, _ in small.asked) == ["test_32x32.mat", "train_32x32.mat"]
    assert not list(cache.rglob("*.mat"))
    assert find_svhn() == cache / "svhn"


def test_what_is_decoded_is_read_where_nothing_can_be_deleted(small, monkeypatch):
    is_small()

    def refuse(*_, **__):  # as a file system that is mounted read-only does, also where there is no such file
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "unlink", refuse)
    is_small()


@pytest.mark.parametrize("inner", ["", "svhn"])
def test_from_a_folder(small, tmp_path, inner):
    folder = tmp_path / "data" / inner
    folder.mkdir(parents=True)
    for name, content in small.contents.items():
        assert find_svhn(tmp_path / "data") is None
        (folder / name).write_bytes(content)
    is_small(tmp_path / "data")
    assert find_svhn(tmp_path / "data") == folder
    assert small.asked == []


def test_missing_truncated_or_corrupt(small, tmp_path):
    path, whole = tmp_path / "train_32x32.mat", small.contents["train_32x32.mat"]
    with pytest.raises(DataError, match=r"SVHN is missing: .* there is no train_32x32.mat in it.*to have it fetched"):
        svhn(tmp_path)
    path.write_bytes(whole[:100])
    with pytest.raises(DataError, match=r"train_32x32.mat is truncated: 100 of its"):
        svhn(tmp_path)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"train_32x32.mat is corrupt: its SHA-256"):
        svhn(tmp_path)
    path.write_bytes(whole)
    np.testing.assert_array_equal(svhn(tmp_path)[0], IMAGES["train"])
