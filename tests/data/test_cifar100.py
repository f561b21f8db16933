"""CIFAR-100 from the official files, from a server on this machine, and the ways in which that can fail."""

import importlib
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from neoteny.data import SUPERCLASSES, cifar100, cifar100_superclasses
from neoteny.data.cache import entry
from neoteny.errors import DataError

module = importlib.import_module("neoteny.data.cifar100")

PER_CLASS = {"train": 3, "test": 1}
RANDOM = np.random.default_rng(0)
IMAGES = {part: RANDOM.integers(0, 256, (100 * n, 3072), dtype=np.uint8) for part, n in PER_CLASS.items()}
LABELS = {part: RANDOM.permutation(np.repeat(np.arange(100), n)).tolist() for part, n in PER_CLASS.items()}


def batch(part, **others):
    return {b"data": IMAGES[part], b"fine_labels": LABELS[part], b"batch_label": b"one"} | {
        name.encode(): value for name, value in others.items()
    }


def archive():
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tar:
        for part in PER_CLASS:
            content = pickle.dumps(batch(part))
            info = tarfile.TarInfo(f"cifar-100-python/{part}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return written.getvalue()


@pytest.fixture
def small(monkeypatch, cache, server):
    """A CIFAR-100 of few images on a server of this machine."""
    packed = replace(module._CIFAR100.packed, remote=server.offer("cifar-100-python.tar.gz", archive()))
    monkeypatch.setattr(module, "_CIFAR100", replace(module._CIFAR100, packed=packed, per_class=PER_CLASS))
    return server


@pytest.fixture
def folder(small, tmp_path):
    """The unpacked folder."""
    folder = tmp_path / "data" / "cifar-100-python"
    folder.mkdir(parents=True)
    for part in PER_CLASS:
        (folder / part).write_bytes(pickle.dumps(batch(part)))
    return folder


def is_small(data_dir=None):
    for part, train in (("train", True), ("test", False)):
        images, labels = cifar100(data_dir, train)
        np.testing.assert_array_equal(images, IMAGES[part].reshape(-1, 3, 32, 32))
        np.testing.assert_array_equal(labels, LABELS[part])
        assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
        assert isinstance(images.base, np.memmap)
        assert not images.flags.writeable


def test_real_data(real_data, cache):
    for train, per_class in ((True, 500), (False, 100)):
        images, labels = cifar100(real_data, train)
        assert images.shape == (100 * per_class, 3, 32, 32)
        assert (np.bincount(labels) == per_class).all()
        with open(real_data / "cifar-100-python" / ("train" if train else "test"), "rb") as file:
            found = pickle.load(file, encoding="bytes")
        np.testing.assert_array_equal(images[-7:], found[b"data"][-7:].reshape(-1, 3, 32, 32))
        assert labels.tolist() == found[b"fine_labels"]


def test_fetched_and_decoded_once(small, cache):
    is_small()
    is_small()
    assert len(small.asked) == 1
    assert [path for path in (cache / "cifar100").iterdir() if path.suffix != ".lock"] == [
        entry("cifar100", module._CIFAR100.packed.remote.sha256)
    ]


def test_a_download_that_broke_is_gone_on_with(small, cache):
    small.breaks = 1 << 17
    with pytest.raises(DataError, match="the next try goes on there"):
        cifar100()
    small.breaks = None
    is_small()
    assert [asked for _, asked in small.asked] == [None, "bytes=131072-"]


def test_from_an_unpacked_folder_wherever_it_lies(small, folder, monkeypatch):
    is_small(folder.parent)
    is_small(folder)
    other = folder.parent / "cifar100"
    other.mkdir()
    folder.rename(other / "cifar-100-python")
    is_small(folder.parent)
    monkeypatch.setenv("NEOTENY_DATA", str(folder.parent))
    is_small()
    assert small.asked == []


def test_a_changed_file_is_decoded_anew(folder):
    is_small(folder)
    changed = 255 - IMAGES["train"]
    (folder / "train").write_bytes(pickle.dumps(batch("train", data=changed)))
    os.utime(folder / "train", ns=(1, 1))
    np.testing.assert_array_equal(cifar100(folder)[0].reshape(-1, 3072), changed)


def test_from_the_archive(small, tmp_path):
    path = tmp_path / "cifar-100-python.tar.gz"
    path.write_bytes(small.contents["cifar-100-python.tar.gz"])
    is_small(tmp_path)
    assert path.exists()  # what the user gave is never touched
    assert small.asked == []


def test_a_truncated_or_corrupt_archive(small, tmp_path):
    path, whole = tmp_path / "cifar-100-python.tar.gz", small.contents["cifar-100-python.tar.gz"]
    path.write_bytes(whole[:1000])
    with pytest.raises(DataError, match=r"tar.gz is truncated: 1,000 of its .*Fetch it again from http"):
        cifar100(tmp_path)
    path.write_bytes(whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:])
    with pytest.raises(DataError, match=r"tar.gz is corrupt: its SHA-256.*Fetch it again from http"):
        cifar100(tmp_path)
    path.write_bytes(whole)
    is_small(tmp_path)


def test_neither(small, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"CIFAR-100 is missing: the data directory names .* fetched"):
        cifar100(tmp_path)
    monkeypatch.setenv("NEOTENY_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"CIFAR-100 is missing: NEOTENY_DATA names"):
        cifar100()


def test_a_truncated_pickle_or_one_of_two_missing(folder):
    content = (folder / "test").read_bytes()
    (folder / "test").write_bytes(content[:-5])
    with pytest.raises(DataError, match=r"cifar-100-python/test is truncated or corrupt"):
        cifar100(folder)
    (folder / "test").unlink()
    with pytest.raises(DataError, match=r"cifar-100-python/test cannot be read.*Put the file there"):
        cifar100(folder)


def test_a_malicious_pickle(folder, tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    (folder / "train").write_bytes(pickle.dumps(batch("train", fine_labels=Malicious())))
    with pytest.raises(DataError, match=r"cifar-100-python/train is refused: .*mkdir.*official source"):
        cifar100(folder)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("others", "cause"),
    [
        ({"data": IMAGES["train"][:-1]}, r"'data' is uint8 of shape \(299, 3072\), not uint8 of shape \(300, 3072\)"),
        ({"data": IMAGES["train"].astype(float)}, "'data' is float64 of shape"),
        ({"data": IMAGES["train"].tolist()}, "'data' is a list"),
        ({"fine_labels": LABELS["train"][:-1]}, "'fine_labels' are not 3 of each of the classes 0 to 99, 300 in all"),
        ({"fine_labels": [*LABELS["train"][:-1], 100]}, "'fine_labels' are not 3 of each"),
        ({"fine_labels": [*LABELS["train"][:-1], -1]}, "'fine_labels' are not 3 of each"),
        ({"fine_labels": [0] * 300}, "'fine_labels' are not 3 of each"),
        ({"fine_labels": 5}, "'fine_labels' are not 3 of each"),
        ({"fine_labels": np.array(LABELS["train"]) + 0.5}, "'fine_labels' are not 3 of each"),
        ({"fine_labels": None}, "'fine_labels' are not 3 of each"),
        ({"fine_labels": [["a"]] * 300}, "'fine_labels' are not 3 of each"),
    ],
)
def test_wrong_contents(folder, others, cause):
    (folder / "train").write_bytes(pickle.dumps(batch("train", **others)))
    with pytest.raises(DataError, match=rf"cifar-100-python/train: {cause}.*Fetch"):
        cifar100(folder)


def test_superclasses_are_the_files_own(small, folder):
    own = np.array([number for _, number in sorted((n, k) for k, row in enumerate(SUPERCLASSES.values()) for n in row)])
    coarse = own[LABELS["train"]].tolist()
    (folder / "train").write_bytes(pickle.dumps(batch("train", coarse_labels=coarse)))
    assert cifar100_superclasses(folder)[1].tolist() == coarse
    for wrong, cause in (([1 - coarse[0], *coarse[1:]], "image 0 of class"), (coarse[1:], "it has others")):
        (folder / "train").write_bytes(pickle.dumps(batch("train", coarse_labels=wrong)))
        os.utime(folder / "train", ns=(len(wrong), 1))
        with pytest.raises(DataError, match=rf"'coarse_labels' are not the superclasses of 'fine_labels': {cause}"):
            cifar100_superclasses(folder)


@pytest.mark.parametrize("key", ["data", "fine_labels"])
def test_missing_labels_or_images(folder, key):
    found = batch("train")
    del found[key.encode()]
    (folder / "train").write_bytes(pickle.dumps(found))
    with pytest.raises(DataError, match=rf"train has no '{key}' \(it has .*'batch_label'\)"):
        cifar100(folder)


def test_too_little_disk(folder, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(DataError, match=r"too little room for the decoded cifar100: it needs 1.2 MB, and 1.0 MB are"):
        cifar100(folder)


def test_with_too_little_disk_the_archive_stays(small, cache, monkeypatch):
    usage, room = shutil.disk_usage("."), len(small.contents["cifar-100-python.tar.gz"])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=room))
        with pytest.raises(DataError, match=r"too little room for the decoded cifar100"):
            cifar100()
    is_small()
    assert len(small.asked) == 1


def test_two_processes_at_once(real_data, cache):
    code = (
        "import sys, numpy as np\nfrom neoteny.data import cifar100\n"
        f"print(int(cifar100({str(real_data)!r}, train=False)[0].sum(dtype=np.int64)), 'torch' in sys.modules)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert said[0] == said[1] == f"{cifar100(real_data, train=False)[0].sum(dtype=np.int64)} False\n"
