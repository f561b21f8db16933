"""Fashion-MNIST from a folder, from where Debian's package puts it, from a server; the real one where it is at hand."""

import gzip
import hashlib
import importlib
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neoteny.data import fashion_mnist
from neoteny.data.fashion_mnist import find_fashion_mnist
from neoteny.data.mnist import find_mnist
from neoteny.errors import DataError

module = importlib.import_module("neoteny.data.fashion_mnist")

RANDOM = np.random.default_rng(0)
IMAGES = {
    "train": RANDOM.integers(0, 256, (6, 28, 28), np.uint8),
    "test": RANDOM.integers(0, 256, (3, 28, 28), np.uint8),
}
LABELS = {part: np.arange(len(images), dtype=np.uint8) for part, images in IMAGES.items()}


@pytest.fixture
def small(monkeypatch, cache, server, tmp_path):
    """A small Fashion-MNIST on a server of this machine, and the folder of a package that is not installed yet."""
    own = {}
    for part in ("train", "test"):
        checked = []
        for file, array in zip(getattr(module._FASHION_MNIST, part), (IMAGES[part], LABELS[part]), strict=True):
            content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
            remote = server.offer(file.name, gzip.compress(content))
            digest = hashlib.sha256(content).hexdigest()
            checked.append(replace(file, sha256=remote.sha256, content_sha256=digest, size=remote.size))
        own[part] = tuple(checked)
    own |= {"mirrors": (f"{server.url}/",), "installed": (tmp_path / "usr",)}
    monkeypatch.setattr(module, "_FASHION_MNIST", replace(module._FASHION_MNIST, **own))
    return server


def put(server, folder):
    folder.mkdir(parents=True)
    for name, content in server.contents.items():
        (folder / name).write_bytes(content)


def is_small(data_dir=None):
    for part, train in (("train", True), ("test", False)):
        images, labels = fashion_mnist(data_dir, train)
        np.testing.assert_array_equal(images, IMAGES[part].reshape(-1, 784))
        np.testing.assert_array_equal(labels, LABELS[part])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)


def test_fetched_once(small):
    assert find_fashion_mnist() is None
    is_small()
    is_small()
    assert len(small.asked) == 4
    assert find_fashion_mnist().name == "fashion-mnist"


def test_what_a_package_of_the_system_has_put_there_is_taken(small, tmp_path, monkeypatch):
    put(small, tmp_path / "usr")
    is_small()
    (tmp_path / "data").mkdir()
    is_small(tmp_path / "data")
    monkeypatch.setenv("NEOTENY_DATA", str(tmp_path / "data"))
    is_small()
    assert find_fashion_mnist() == tmp_path / "usr"
    assert small.asked == []


def test_the_users_folder_goes_before_and_mnist_is_not_taken_for_it(small, tmp_path):
    put(small, tmp_path / "usr")
    put(small, tmp_path / "data" / "fashion-mnist")
    assert find_fashion_mnist(tmp_path / "data") == tmp_path / "data" / "fashion-mnist"
    is_small(tmp_path / "data")
    for name in small.contents:  # MNIST's files have the same names
        (tmp_path / "data" / name).write_bytes(b"other")
        (tmp_path / "data" / "fashion-mnist" / name).unlink()
    assert find_mnist(tmp_path / "data") == tmp_path / "data"
    is_small(tmp_path / "data")


def test_missing_or_another_data_set(small, tmp_path):
    with pytest.raises(DataError, match=r"fashion-mnist/train-images.* is missing.*Put the file there"):
        fashion_mnist(tmp_path)
    name = module._FASHION_MNIST.train[0].name
    (tmp_path / name).write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7])))
    with pytest.raises(DataError, match=rf"{name} is corrupt: its content has the SHA-256"):
        fashion_mnist(tmp_path)


def test_real_data():
    folder = os.environ.get("NEOTENY_DATA")
    where = find_fashion_mnist(folder)
    if where is None or (folder is None and Path("/usr") not in where.parents):
        pytest.skip("needs real Fashion-MNIST: install Debian's dataset-fashion-mnist")
    images, labels = fashion_mnist(folder)
    assert images.shape == (60_000, 784)
    assert labels[:5].tolist() == [9, 0, 0, 3, 0]
    assert (np.bincount(labels) == 6_000).all()
    assert images.mean() == pytest.approx(72.94, abs=0.01)  # 0.2860 of 255, as is known of it
    images, labels = fashion_mnist(folder, train=False)
    assert images.shape == (10_000, 784)
    assert (np.bincount(labels) == 1_000).all()
