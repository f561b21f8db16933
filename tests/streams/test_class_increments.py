"""Class-incremental CIFAR-100's stream against a slow reading of its description."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError
from neoteny.seeds import DATA, generator
from neoteny.streams.augment import Augmentation
from neoteny.streams.class_increments import ClassIncrements
from neoteny.units import random

CLASSES, EACH, TEST_EACH, VALIDATION, TRAIN = 6, 9, 4, 2, 6
rng = np.random.default_rng(0)
LABELS = rng.permutation(np.repeat(np.arange(CLASSES), EACH)).astype(np.int64)
TEST_LABELS = rng.permutation(np.repeat(np.arange(CLASSES), TEST_EACH)).astype(np.int64)


def numbered(count):
    """Every image tells its row by its pixels."""
    images = np.zeros((count, 3, 8, 8), np.uint8)
    images += np.arange(count, dtype=np.uint8)[:, None, None, None]
    return images


IMAGES, TEST_IMAGES = numbered(len(LABELS)), numbered(len(TEST_LABELS))


def stream(seeds=(3, 4), **settings):
    usual = {"increments": 3, "classes": 2, "epochs": 3, "batch_size": 4, "train": TRAIN, "validation": VALIDATION}
    usual |= {"test": TEST_EACH, "side": 8, "pixels": "bytes"}
    return ClassIncrements(IMAGES, LABELS, TEST_IMAGES, TEST_LABELS, seeds, **{**usual, **settings})


def rows(x):
    return x[..., 0, 0, 0].long()


def test_an_increment_brings_its_classes_and_keeps_those_of_before():
    problem = stream()
    assert problem.task_length == (9, 18, 27)
    for task, steps in enumerate((9, 18, 27)):
        x, y = problem.next(steps)
        shown = rows(x)
        for run in range(2):
            order = problem.class_order(run)
            assert sorted(order) == list(range(CLASSES))
            of = torch.from_numpy(LABELS)[shown[run]]
            assert torch.equal(torch.tensor(order)[y[run]], of)  # labels count the classes as they come
            expected = {int(r) for label in order[: 2 * (task + 1)] for r in np.flatnonzero(LABELS == label)[2:8]}
            for epoch in shown[run].reshape(3, -1):  # each goes through every image once
                assert sorted(epoch.tolist()) == sorted(expected)
            assert not torch.equal(*shown[run].reshape(3, -1)[:2])
    assert problem.class_order(0) != problem.class_order(1)
    with pytest.raises(SettingError, match="ended"):
        problem.next(1)


def test_an_epoch_s_order_is_that_of_its_own_generator():
    problem = stream(seeds=[5])
    x, _ = problem.next(9 + 7)
    order = problem.class_order(0)
    images = np.concatenate([np.flatnonzero(LABELS == label)[2:8] for label in order[:4]])
    shuffled = images[generator(5, DATA, 2, 1, 2).permutation(24)]  # the second epoch of the second increment
    assert rows(x)[0, 9 + 6 :].flatten().tolist() == shuffled[:4].tolist()
    assert order == generator(5, DATA, 1).permutation(CLASSES).tolist()


@pytest.mark.parametrize(
    ("split", "each", "labels"), [("validation", VALIDATION, LABELS), ("test", TEST_EACH, TEST_LABELS)]
)
@pytest.mark.parametrize("task", [0, 2])
def test_validated_and_tested_with_images_of_the_classes_seen_so_far(split, each, labels, task):
    problem = stream()
    blocks = list(problem.held_out(split, task))
    x, y = torch.cat([b[0] for b in blocks], 1), torch.cat([b[1] for b in blocks], 1)
    for run in range(2):
        order = problem.class_order(run)
        expected = np.concatenate([np.flatnonzero(labels == label)[:each] for label in order[: 2 * (task + 1)]])
        assert rows(x)[run].tolist() == expected.tolist()
        assert y[run].tolist() == np.repeat(np.arange(2 * (task + 1)), each).tolist()


def test_learned_from_validated_and_tested_with_are_three_sets():
    problem = stream(seeds=[1])
    learned = set(rows(problem.next(54)[0]).flatten().tolist())
    validated = {r for x, _ in problem.held_out("validation", 2) for r in rows(x).flatten().tolist()}
    assert not learned & validated and len(learned) == 36 and len(validated) == 12


def test_many_test_images_come_in_blocks(monkeypatch):
    from neoteny.streams import epochs

    whole = [b for b in stream().held_out("test", 2)]
    monkeypatch.setattr(epochs, "_BLOCK", 5)
    blocks = list(stream().held_out("test", 2))
    assert [b[0].shape[1] for b in blocks] == [5, 5, 5, 5, 4]
    assert torch.equal(torch.cat([b[0] for b in blocks], 1), whole[0][0])


def test_the_probe_shows_the_classes_that_come_next():
    problem = stream(seeds=[2])
    order = problem.class_order(0)
    for task, steps in enumerate((9, 18, 27)):
        seen = torch.from_numpy(LABELS)[rows(problem.probe(12))].flatten().tolist()
        assert set(seen) == set(order[2 * task : 2 * task + 2]) and len(seen) == 12
        problem.next(steps)
    assert len(problem.probe(40)[0]) == 40  # more than there are: some twice


def test_images_are_augmented_by_keys_of_run_and_step():
    plain, moved = stream(), stream(augmentation=Augmentation())
    x, _ = plain.next(12)
    found, _ = moved.next(12)
    assert found.shape == x.shape and not torch.equal(found, x)
    for run, seed in enumerate((3, 4)):
        root = random.key(int(generator(seed, DATA, 4).integers(2**62)))
        for step in range(12):
            expected = Augmentation()(x[run, step], random.fold_in(root, torch.tensor(step)))
            torch.testing.assert_close(found[run, step], expected)


@pytest.mark.parametrize("augmentation", [None, Augmentation()])
def test_cut_anywhere_and_resumed_it_is_the_same(augmentation):
    whole = stream(augmentation=augmentation).next(54)
    problem = stream(augmentation=augmentation)
    pieces = [problem.next(steps) for steps in (1, 7, 3, 20)]
    other = stream(augmentation=augmentation)
    other.load_state_dict(problem.state_dict())
    pieces.append(other.next(23))
    for number in (0, 1):
        assert torch.equal(torch.cat([piece[number] for piece in pieces], 1), whole[number])


def test_images_can_be_shrunk():
    x, _ = stream(seeds=[0], side=4).next(2)
    assert x.shape == (1, 2, 4, 3, 4, 4)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"batch_size": 5}, "5 does not divide the 12"),
        ({"increments": 4}, "8 classes"),
        ({"train": 8}, "10 images"),
        ({"side": 3}, "side = 3"),
    ],
)
def test_what_the_data_cannot_give_is_refused(settings, match):
    with pytest.raises(SettingError, match=match):
        stream(**settings)


def test_a_class_without_test_images_is_refused():
    """Without it the classes behind it would be tested with the images of others."""
    there = TEST_LABELS != 0
    with pytest.raises(SettingError, match="one has 0"):
        ClassIncrements(IMAGES, LABELS, TEST_IMAGES[there], TEST_LABELS[there], [0], increments=2, classes=2, epochs=1,
                        batch_size=4, train=TRAIN, validation=VALIDATION, test=TEST_EACH, side=8)  # fmt: skip
