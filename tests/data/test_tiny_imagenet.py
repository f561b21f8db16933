"""Tiny-ImageNet from a look-alike of few classes, as an archive and as a folder."""

import importlib
import io
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from neoteny.data import tiny_imagenet
from neoteny.data.tiny_imagenet import find_tiny_imagenet
from neoteny.errors import DataError

Image = pytest.importorskip("PIL.Image")
module = importlib.import_module("neoteny.data.tiny_imagenet")

NAMES = ["n03", "n01", "n02"]  # not in the order of the labels, as in the official file
TRAIN, TEST = 4, 2


def jpeg(shade, mode="RGB", size=(64, 64)):
    written = io.BytesIO()
    Image.new(mode, size, shade if mode == "L" else (shade, shade // 2, 0)).save(written, "JPEG", quality=95)
    return written.getvalue()


def content():
    """The files by name; every picture has a shade of its own, and one is grey."""
    files = {"wnids.txt": "\n".join(NAMES).encode(), "words.txt": b"n01\tfish"}
    for at, name in enumerate(NAMES):
        for number in range(TRAIN):
            grey = number == 3
            files[f"train/{name}/images/{name}_{number}.JPEG"] = jpeg(40 * at + 10 * number, "L" if grey else "RGB")
        files[f"train/{name}/{name}_boxes.txt"] = b"0"
    lines = []
    for number in range(TEST * len(NAMES)):
        files[f"val/images/val_{number}.JPEG"] = jpeg(200 + number)
        lines.append(f"val_{number}.JPEG\t{NAMES[number % 3]}\t0\t0\t62\t62\n")
    return files | {"val/val_annotations.txt": "".join(lines).encode()}


@pytest.fixture
def small(monkeypatch, cache, server):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, found in content().items():
            archive.writestr(f"tiny-imagenet-200/{name}", found)
    remote = server.offer("tiny-imagenet-200.zip", written.getvalue())
    monkeypatch.setattr(module, "_TINY_IMAGENET", replace(module._TINY_IMAGENET, remote=remote))
    monkeypatch.setattr(module, "_CLASSES", len(NAMES))
    monkeypatch.setattr(module, "_PER_CLASS", {"train": TRAIN, "test": TEST})
    monkeypatch.setattr(module, "_CHUNK", 5)
    return server


@pytest.fixture
def folder(small, tmp_path):
    folder = tmp_path / "data" / "tiny-imagenet-200"
    for name, found in content().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(found)
    return folder


def is_small(data_dir=None):
    images, labels = tiny_imagenet(data_dir)
    assert labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    red = [40 * at + 10 * number for at in (1, 2, 0) for number in range(TRAIN)]  # n01 is second in the file
    np.testing.assert_allclose(images[:, 0].mean((1, 2)), red, atol=2)
    assert (images[3, 0] == images[3, 2]).all()
    images, labels = tiny_imagenet(data_dir, train=False)
    assert labels.tolist() == [2, 0, 1, 2, 0, 1]
    np.testing.assert_allclose(images[:, 0].mean((1, 2)), np.arange(200, 206), atol=2)
    assert images.shape == (6, 3, 64, 64)
    assert (images.dtype, labels.dtype) == (np.uint8, np.int64)
    assert not images.flags.writeable


def test_fetched_and_decoded_once(small, cache):
    is_small()
    is_small()
    assert len(small.asked) == 1
    assert find_tiny_imagenet().parent == cache / "tiny-imagenet"


def test_from_a_folder_or_the_archive(small, folder, tmp_path):
    is_small(folder.parent)
    is_small(folder)
    (tmp_path / "tiny-imagenet-200.zip").write_bytes(small.contents["tiny-imagenet-200.zip"])
    is_small(tmp_path)
    assert small.asked == []


def test_a_changed_picture_is_decoded_anew(folder):
    is_small(folder)
    (folder / "val/images/val_4.JPEG").write_bytes(jpeg(7))
    assert tiny_imagenet(folder, train=False)[0][4, 0].mean() == pytest.approx(7, abs=2)


@pytest.mark.parametrize(
    ("name", "found", "cause"),
    [
        ("train/n02/images/n02_1.JPEG", None, r"n02_1.JPEG cannot be read.*Put the file there"),
        ("train/n02/images/n02_1.JPEG", b"no picture", r"n02_1.JPEG is no image, truncated or corrupt"),
        ("train/n02/images/n02_1.JPEG", jpeg(3, size=(64, 32)), r"n02_1.JPEG has 64x32 pixels, not 64x64"),
        ("wnids.txt", b"n01\nn02", r"wnids.txt has 2 classes, not 3"),
        (
            "val/val_annotations.txt",
            b"val_0.JPEG\tn01\t0",
            r"annotations.txt does not name 2 pictures of each of the 3",
        ),
        ("val/val_annotations.txt", b"val_0.JPEG\tn09\n" * 6, r"annotations.txt does not name 2 pictures"),
    ],
)
def test_what_is_wrong_is_named(folder, name, found, cause):
    if found is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(found)
    with pytest.raises(DataError, match=cause):
        tiny_imagenet(folder)


def test_without_pillow(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="needs Pillow: pip install pillow"):
        tiny_imagenet(folder)


def test_neither(small, tmp_path):
    with pytest.raises(DataError, match=r"Tiny-ImageNet is missing: .* nor the folder tiny-imagenet-200"):
        tiny_imagenet(tmp_path)
