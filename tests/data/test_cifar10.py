"""CIFAR-10 in its five batches; what it has in common with CIFAR-100 is tested there."""

import importlib
import io
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from neoteny.data import cifar10
from neoteny.data.cifar10 import find_cifar10
from neoteny.errors import DataError

module = importlib.import_module("neoteny.data.cifar10")

PER_CLASS = {"train": 10, "test": 2}
RANDOM = np.random.default_rng(0)
IMAGES = {part: RANDOM.integers(0, 256, (10 * n, 3072), dtype=np.uint8) for part, n in PER_CLASS.items()}
LABELS = {part: RANDOM.permutation(np.repeat(np.arange(10), n)) for part, n in PER_CLASS.items()}


def batches():
    """Pickles by name, of Python 2 as the official ones; classes differ in number within a batch."""
    for part, files in module._BATCHES.items():
        for name, images, labels in zip(
            files, np.split(IMAGES[part], len(files)), np.split(LABELS[part], len(files)), strict=True
        ):
            yield name, pickle.dumps({b"data": images, b"labels": labels.tolist(), b"filenames": [b"a.png"]}, 2)


@pytest.fixture
def small(monkeypatch, cache, server):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for name, content in batches():
            info = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    packed = replace(module._CIFAR10.packed, remote=server.offer("cifar-10-python.tar.gz", written.getvalue()))
    monkeypatch.setattr(module, "_CIFAR10", replace(module._CIFAR10, packed=packed, per_class=PER_CLASS))
    return server


@pytest.fixture
def folder(small, tmp_path):
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, content in batches():
        (folder / name).write_bytes(content)
    return folder


def is_small(data_dir=None):
    for part, train in (("train", True), ("test", False)):
        images, labels = cifar10(data_dir, train)
        np.testing.assert_array_equal(images, IMAGES[part].reshape(-1, 3, 32, 32))
        np.testing.assert_array_equal(labels, LABELS[part])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


def test_fetched_once_and_gone_on_with_after_a_break(small, cache):
    small.breaks = 1 << 16
    with pytest.raises(DataError, match="the next try goes on there"):
        cifar10()
    small.breaks = None
    is_small()
    is_small()
    assert [asked for _, asked in small.asked] == [None, "bytes=65536-"]
    assert find_cifar10().parent == cache / "cifar10"
    assert not list(cache.rglob("*.tar.gz"))


def test_from_a_folder_or_the_archive(small, folder, tmp_path):
    is_small(folder.parent)
    is_small(folder)
    assert find_cifar10(folder.parent) == folder
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(small.contents["cifar-10-python.tar.gz"])
    is_small(tmp_path)
    assert small.asked == []


def test_a_missing_batch(folder):
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match=r"data_batch_3 cannot be read.*Put the file there"):
        cifar10(folder)


def test_labels_that_are_not_balanced(folder):
    wrong = {b"data": IMAGES["test"], b"labels": [0, *LABELS["test"][1:].tolist()]}
    wrong[b"labels"] = [0] * 20
    (folder / "test_batch").write_bytes(pickle.dumps(wrong))
    with pytest.raises(DataError, match=r"test_batch: 'labels' are not 2 of each of the classes 0 to 9, 20 in all"):
        cifar10(folder)


def test_neither(small, tmp_path):
    with pytest.raises(
        DataError, match=r"CIFAR-10 is missing: .* nor the folder cifar-10-batches-py.*to have it fetched"
    ):
        cifar10(tmp_path)
