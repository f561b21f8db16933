"""Every data set by its name, in one shape."""

import numpy as np
import pytest

from neoteny.data import DATA_SETS, SUPERCLASSES, cifar100, cifar100_superclasses, labelled
from neoteny.data.catalogue import _split
from neoteny.errors import DataError, UnknownNameError

NAMES = {
    "mnist",
    "fashion-mnist",
    "cifar10",
    "cifar100",
    "cifar100-superclasses",
    "svhn",
    "tiny-imagenet",
    "imagenet32",
}


def test_the_names():
    assert set(DATA_SETS) == NAMES | {"flights", "electricity"}
    with pytest.raises(UnknownNameError, match="'flights'"):
        labelled("flights")
    with pytest.raises(UnknownNameError, match=r"'cifar'.*Did you mean"):
        labelled("cifar")


@pytest.mark.parametrize("name", sorted(NAMES))
def test_what_is_missing_is_refused(name, cache, tmp_path):
    data_set = DATA_SETS[name]
    if data_set.find(tmp_path) is not None:
        pytest.skip("installed on this machine")
    with pytest.raises(DataError, match="missing"):
        labelled(name, tmp_path)
    with pytest.raises(DataError, match="missing"):
        data_set.load(tmp_path)


def test_grey_images_get_a_channel():
    def read(data_dir, train):
        return np.arange((4 if train else 2) * 9, dtype=np.uint8).reshape(-1, 9), np.arange(4 if train else 2)

    grey = _split("grey", "grey squares", "1 kB", lambda data_dir: None, read)
    found = grey.labelled(None)
    assert found.train_images.shape == (4, 1, 3, 3)
    assert found.train_images[1, 0, 2].tolist() == [15, 16, 17]
    assert found.test_images.shape == (2, 1, 3, 3)
    assert found.classes == 4
    assert grey.load(None) == "4 + 2 images of 1x3x3 in 4 classes"
    assert grey.find(None) is None


def test_of_imagenet32_the_last_eleventh_of_each_class_is_held_out(cache, tmp_path):
    (tmp_path / "classes").mkdir()
    for number, count in enumerate((22, 5)):
        images = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.full((3, 32, 32), 100 * number, np.uint8)
        np.save(tmp_path / "classes" / f"{number}.npy", images)
    found = labelled("imagenet32", tmp_path)
    assert found.train_images[:, 0, 0, 0].tolist() == [*range(20), 100, 101, 102, 103]
    assert found.test_images[:, 0, 0, 0].tolist() == [20, 21, 104]
    assert found.train_labels.tolist() == [0] * 20 + [1] * 4
    assert found.test_labels.tolist() == [0, 0, 1]


def test_superclasses_of_the_real_images(real_data, cache):
    assert len(SUPERCLASSES) == 20
    assert sorted(SUPERCLASSES) == list(SUPERCLASSES)
    names = sorted(name for row in SUPERCLASSES.values() for name in row)
    assert len(set(names)) == 100
    images, fine = cifar100(real_data, train=False)
    same, coarse = cifar100_superclasses(real_data, train=False)
    assert same.shape == images.shape
    assert (np.bincount(coarse) == 500).all()
    for at in range(0, 10_000, 97):
        assert names[fine[at]] in list(SUPERCLASSES.values())[coarse[at]]
    assert labelled("cifar100-superclasses", real_data).classes == 20


def test_the_table_has_the_names_of_the_real_files(real_data):
    import pickle

    with open(real_data / "cifar-100-python" / "meta", "rb") as file:
        meta = pickle.load(file, encoding="bytes")
    assert [name.decode() for name in meta[b"fine_label_names"]] == sorted(sum(SUPERCLASSES.values(), ()))
    assert [name.decode() for name in meta.get(b"coarse_label_names", [])] in ([], list(SUPERCLASSES))
