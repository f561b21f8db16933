"""Continual ImageNet's stream against a slow reading of its description."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError, UnknownNameError
from neoteny.seeds import DATA, generator
from neoteny.streams.class_pairs import ClassPairs

CLASSES, EACH, TRAIN, TEST = 7, 12, 8, 3
# Every image tells its class and number by its first two pixels.
IMAGES = [np.zeros((EACH, 3, 4, 4), np.uint8) for _ in range(CLASSES)]
for _label, _images in enumerate(IMAGES):
    _images[:, :, 0, 0] = _label
    _images[:, :, 0, 1] = np.arange(EACH)[:, None]


def stream(seeds=(3, 4), **settings):
    return ClassPairs(IMAGES, seeds, **{"task_length": 20, "batch_size": 4, "train": TRAIN, "test": TEST, **settings})


def read(x):
    """Class and number of each image."""
    return x[..., 0, 0, 0].long(), x[..., 0, 0, 1].long()


def test_classes_come_in_pairs_without_return_and_in_a_new_order_each_round():
    problem = stream()
    for seed in (3, 4):
        rounds = [[problem.pair(seed, task) for task in range(3 * k, 3 * k + 3)] for k in range(3)]
        for each in rounds:
            flat = [label for pair in each for label in pair]
            assert len(set(flat)) == 6  # of seven classes, one is left over
        assert rounds[0] != rounds[1] != rounds[2]
    assert [problem.pair(3, task) for task in range(6)] != [problem.pair(4, task) for task in range(6)]
    again = stream(order="repeated")
    assert [again.pair(3, task) for task in range(3)] == [again.pair(3, task) for task in range(3, 6)]


def test_a_task_shows_the_first_images_of_its_two_classes_pass_after_pass():
    problem = stream()
    for task in range(4):
        x, y = problem.next(20)
        labels, numbers = read(x)
        for run, seed in enumerate((3, 4)):
            pair = problem.pair(seed, task)
            assert [pair[i] for i in y[run].flatten().tolist()] == labels[run].flatten().tolist()
            shown = list(zip(labels[run].flatten().tolist(), numbers[run].flatten().tolist(), strict=True))
            everything = {(label, number) for label in pair for number in range(TRAIN)}
            assert [set(shown[k : k + 16]) for k in range(0, 80, 16)] == [everything] * 5
            assert shown[:16] != shown[16:32]


def test_the_order_is_that_of_the_task_s_own_generator():
    x, _ = stream(seeds=[3]).next(40)
    order = generator(3, DATA, 2, 1).permuted(np.tile(np.arange(16, dtype=np.int32), (5, 1)), axis=1)
    assert read(x)[1][0, 20:].flatten().tolist() == (order.ravel() % TRAIN).tolist()


def test_what_is_tested_with_is_never_learned_from():
    problem = stream()
    problem.next(30)
    ((x, y),) = problem.held_out("test", 0)
    labels, numbers = read(x)
    assert x.shape == (2, 2 * TEST, 3, 4, 4) and x.dtype == torch.float32
    assert numbers.unique().tolist() == list(range(EACH - TEST, EACH))
    for run, seed in enumerate((3, 4)):
        assert [problem.pair(seed, 0)[i] for i in y[run].tolist()] == labels[run].tolist()
    with pytest.raises(SettingError, match="validation"):
        list(problem.held_out("validation", 0))


def test_fewer_images_than_asked_for_make_more_passes_and_it_says_so():
    problem = stream(train=600)
    assert problem.train == EACH - TEST
    said = problem.describe()
    assert said["images_per_class"] == 9 and "instead of 600" in said["adapted"]
    assert said["passes_per_task"] == round(20 * 4 / 18, 2)
    x, _ = problem.next(20)
    assert read(x)[1].max() == 8
    assert "adapted" not in stream().describe()


@pytest.mark.parametrize(("pixels", "expected"), [("bytes", 6.0), ("unit", 6 / 255)])
def test_pixels(pixels, expected):
    problem = stream(seeds=[0], pixels=pixels)
    x, _ = problem.next(60)
    assert x[..., 0, 0].max() == pytest.approx(expected)


def test_standardised_pixels():
    x = stream(seeds=[0], pixels="imagenet").next(1)[0][0, 0, 0]
    corner = np.array([0.485, 0.456, 0.406]) / np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(x[:, 3, 3], -corner, rtol=1e-5)


def test_an_order_that_does_not_exist_is_refused():
    with pytest.raises(UnknownNameError, match="order called 'freshly'. Did you mean 'fresh'"):
        stream(order="freshly")


def test_too_little_to_learn_from_is_refused():
    with pytest.raises(SettingError, match="12 images"):
        stream(test=12)
    for none in ("train", "test"):  # the last 0 images would be all of them
        with pytest.raises(SettingError, match=f"{none} = 0"):
            stream(**{none: 0})
    with pytest.raises(SettingError, match="1 classes"):
        ClassPairs(IMAGES[:1], [0], task_length=3)
