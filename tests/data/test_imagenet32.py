"""Images by class in every layout, and what is wrong with those that are refused."""

import os
import pickle
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from neoteny.data import imagenet32
from neoteny.errors import DataError

RANDOM = np.random.default_rng(0)
CLASSES = [RANDOM.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8) for count in (4, 3, 5)]


@pytest.fixture
def folder(cache, tmp_path):
    """The folder `imagenet32`, still empty."""
    folder = tmp_path / "data" / "imagenet32"
    folder.mkdir(parents=True)
    return folder


def class_files(folder, classes=CLASSES):
    (folder / "classes").mkdir(exist_ok=True)
    for number, images in enumerate(classes):
        np.save(folder / "classes" / f"{number}.npy", images)


def batches(folder, count=10, key=str, **others):
    labels = RANDOM.permutation(np.repeat([1, 2, 3], [len(images) for images in CLASSES]))
    taken = [0, 0, 0, 0]
    data = []
    for label in labels:
        data.append(CLASSES[label - 1][taken[label]].reshape(-1))
        taken[label] += 1
    for number, rows in enumerate(np.array_split(np.arange(len(labels)), count)):
        batch = {"data": np.array(data)[rows], "labels": labels[rows].tolist(), "mean": np.zeros(3072)} | others
        path = folder / f"train_data_batch_{number + 1}"
        path.write_bytes(pickle.dumps({key(name): value for name, value in batch.items()}))


def are(found, classes=CLASSES):
    assert found.classes == len(classes)
    assert found.images_per_class == min(map(len, classes))
    for images, expected in zip(found.images, classes, strict=True):
        np.testing.assert_array_equal(images, expected)
        assert images.dtype == np.uint8
        assert isinstance(images.base.base, np.memmap)  # a view of all classes' images
        assert not images.flags.writeable


def test_real_data(real_data, cache):
    found = imagenet32(real_data)
    files = len(list((real_data / "imagenet32" / "classes").iterdir()))
    assert found.source.startswith(f"authors' class files, {files} classes of ")
    assert found.classes == files
    for number in (0, files - 1):
        np.testing.assert_array_equal(
            found.images[number], np.load(real_data / "imagenet32" / "classes" / f"{number}.npy")
        )


def test_class_files(folder, monkeypatch):
    class_files(folder)
    (folder / "classes" / "notes.npy").write_text("no number, no class")
    are(found := imagenet32(folder.parent))
    assert found.source == "authors' class files, 3 classes of 3 to 5 images"
    are(imagenet32(folder))
    monkeypatch.setenv("NEOTENY_DATA", str(folder.parent))
    are(imagenet32())


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64])
def test_class_files_of_whole_numbers(folder, dtype):
    class_files(folder, [CLASSES[0], CLASSES[1].astype(dtype)])
    are(imagenet32(folder), CLASSES[:2])


def test_more_classes_than_a_process_may_have_files_open(folder):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(os.listdir("/dev/fd")) + 30
    class_files(folder, [CLASSES[1][:2]] * 100)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        are(imagenet32(folder), [CLASSES[1][:2]] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("key", [str, str.encode])
def test_official_batches(folder, key):
    batches(folder, key=key)
    are(found := imagenet32(folder.parent))
    assert found.source == "official ImageNet32, 3 classes of 3 to 5 images"


def test_some_of_the_official_batches(folder):
    batches(folder, count=2)
    are(found := imagenet32(folder))
    assert found.source == "official ImageNet32 (2 of its 10 batches), 3 classes of 3 to 5 images"


def test_folders_of_images(folder, capsys):
    for name, images in zip(("n01", "n02", "n10"), CLASSES, strict=True):
        (folder / name).mkdir()
        for number, image in enumerate(images):
            # every pixel twice in both directions, and a border that the crop takes off
            large = np.pad(image.transpose(1, 2, 0).repeat(2, 0).repeat(2, 1), ((0, 0), (10, 10), (0, 0)))
            Image.fromarray(large).save(folder / name / f"{number}.PNG")
        (folder / name / "readme.txt").write_text("no image")
    (folder / "empty").mkdir()
    are(found := imagenet32(folder))
    assert found.source == "folders of images, 3 classes of 3 to 5 images"
    assert "decoding images" in capsys.readouterr().err
    are(imagenet32(folder))
    assert "decoding" not in capsys.readouterr().err  # only once


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (32, 32), (20, 40), (7, 5), (33, 1000)])
@pytest.mark.parametrize(
    ("mode", "kind"), [("RGB", "jpeg"), ("L", "png"), ("RGBA", "png"), ("P", "png"), ("CMYK", "jpeg")]
)
def test_images_of_any_size_and_mode(folder, size, mode, kind):
    for name in "ab":
        (folder / name).mkdir()
        for number in range(2):
            Image.new("RGB", size, (204, 204, 204)).convert(mode).save(folder / name / f"{number}.{kind}")
    found = imagenet32(folder)
    assert np.abs(found.images[0].astype(int) - 204).max() <= 3


def test_the_first_layout_counts(folder):
    batches(folder)
    class_files(folder, CLASSES[:2])
    assert imagenet32(folder).source.startswith("authors' class files")
    class_files(folder.parent)
    are(imagenet32(folder.parent), CLASSES[:2])  # the folder of its name goes before


def test_missing(cache, tmp_path):
    with pytest.raises(DataError, match=r"no folder was given.*image-net.org.*NEOTENY_DATA"):
        imagenet32()
    with pytest.raises(DataError, match=r"there are no images in .* or its folder imagenet32"):
        imagenet32(tmp_path)
    with pytest.raises(DataError, match=r"there are no images in"):
        imagenet32(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("images", "cause"),
    [
        (CLASSES[0].reshape(4, 32, 32, 3), r"uint8 of shape \(4, 32, 32, 3\): a class file is \[n, 3, 32, 32\] uint8"),
        (CLASSES[0][0], r"uint8 of shape \(3, 32, 32\)"),
        (CLASSES[0].astype(complex), "complex128 of shape"),
        (CLASSES[0] > 9, "bool of shape"),
        (CLASSES[0][:1], "has too few images: 1. A class needs at least 2"),
        (CLASSES[0] / 255, "values must be whole numbers from 0 to 255.*neither scaled nor normalised"),
        (CLASSES[0] - 1.0 * np.iinfo(np.uint8).max, "values must be whole numbers"),
        (CLASSES[0] + np.float32(256), "values must be whole numbers"),
        (np.full((2, 3, 32, 32), np.nan), "holds nan: values must be whole numbers"),
    ],
)
def test_class_files_of_another_shape_type_or_count(folder, images, cause):
    class_files(folder, [*CLASSES, images])
    with pytest.raises(DataError, match=rf"classes/3.npy .*{cause}"):
        imagenet32(folder)
    class_files(folder, [*CLASSES, CLASSES[0]])
    are(imagenet32(folder), [*CLASSES, CLASSES[0]])


def test_too_few_or_missing_classes(folder):
    class_files(folder, CLASSES[:1])
    with pytest.raises(DataError, match="0.npy is the only class: at least 2 are needed"):
        imagenet32(folder)
    class_files(folder)
    (folder / "classes" / "1.npy").unlink()
    with pytest.raises(DataError, match=r"classes/1.npy cannot be read.*Put the file there"):
        imagenet32(folder)


@pytest.mark.parametrize("spoil", [lambda b: b[:-1], lambda b: b[:50], lambda b: b"", lambda b: b"?" + b[1:]])
def test_a_truncated_or_corrupt_class_file(folder, spoil):
    class_files(folder)
    path = folder / "classes" / "2.npy"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"classes/2.npy is missing, truncated or corrupt"):
        imagenet32(folder)


def test_a_class_file_with_objects_is_not_unpickled(folder, tmp_path):
    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it ran"),)

    class_files(folder)
    np.save(folder / "classes" / "2.npy", np.array([Malicious()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"classes/2.npy is missing, truncated or corrupt"):
        imagenet32(folder)
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    ("others", "cause"),
    [
        (
            {"data": np.zeros((2, 3071), np.uint8)},
            r"'data' is uint8 of shape \(2, 3071\), not uint8 of shape \(n, 3072\)",
        ),
        ({"data": np.zeros((2, 3072))}, "'data' is float64"),
        ({"data": [[0] * 3072] * 2}, "'data' is a list"),
        ({"labels": [1]}, "'labels' are not . whole numbers from 1 to 1000"),
        ({"labels": [0] * 6}, "'labels' are not"),
        ({"labels": [1001] * 6}, "'labels' are not"),
        ({"labels": [[1], [1, 2]]}, "'labels' are not"),
        ({"labels": None}, "'labels' are not"),
    ],
)
def test_wrong_batches(folder, others, cause):
    batches(folder, count=2, **others)
    with pytest.raises(DataError, match=rf"train_data_batch_1: {cause}.*Fetch the file again"):
        imagenet32(folder)


def test_batches_without_labels_or_of_too_few_images(folder):
    for number in (1, 2):
        (folder / f"train_data_batch_{number}").write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}))
    with pytest.raises(DataError, match=r"train_data_batch_1 has no 'labels' \(it has 'data'\)"):
        imagenet32(folder)
    for number in (1, 2):
        batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [1, 3]}
        (folder / f"train_data_batch_{number}").write_bytes(pickle.dumps(batch))
    with pytest.raises(DataError, match=r"class 2 in .*imagenet32 has too few images: 0"):
        imagenet32(folder)


def test_a_truncated_batch(folder):
    batches(folder)
    path = folder / "train_data_batch_7"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"train_data_batch_7 is truncated or corrupt"):
        imagenet32(folder)


def image_folders(folder):
    for name in "ab":
        (folder / name).mkdir()
        for number in range(3):
            Image.fromarray(CLASSES[0][number].transpose(1, 2, 0)).save(folder / name / f"{number}.jpeg")


@pytest.mark.parametrize("spoil", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"no image"])
def test_a_corrupt_image(folder, cache, spoil):
    image_folders(folder)
    path = folder / "b" / "1.jpeg"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(DataError, match=r"b/1.jpeg is no image, truncated or corrupt.*remove it"):
        imagenet32(folder)
    assert [found.name for found in (cache / "imagenet32").iterdir() if found.suffix != ".lock"] == []
    path.unlink()
    assert imagenet32(folder).images_per_class == 2


def test_a_class_of_one_image(folder):
    image_folders(folder)
    (folder / "b" / "0.jpeg").unlink()
    (folder / "b" / "1.jpeg").unlink()
    with pytest.raises(DataError, match=r"imagenet32/b has too few images: 1"):
        imagenet32(folder)


def test_without_pillow(folder, monkeypatch):
    image_folders(folder)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match=r"pip install pillow"):
        imagenet32(folder)


def test_too_little_disk(folder, monkeypatch):
    class_files(folder)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=30_000))
    with pytest.raises(DataError, match=r"too little room for the decoded imagenet32: .*NEOTENY_CACHE"):
        imagenet32(folder)
