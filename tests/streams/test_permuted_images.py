import numpy as np
import pytest
import torch

from neoteny.errors import SettingError
from neoteny.seeds import DATA, generator
from neoteny.streams import PermutedImages

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (40, 30), dtype=np.uint8)
LABELS = RNG.integers(0, 10, 40)


def slow_reference(seed, steps, task_length):
    """One run, one image at a time; number 2 marks the tasks' generators."""
    xs, ys = [], []
    for step in range(steps):
        if step % task_length == 0:
            rng = generator(seed, DATA, 2, step // task_length)
            permutation = rng.permutation(30)
            order = rng.permutation(40)
        image = order[step % task_length % 40]
        xs.append([IMAGES[image, pixel] / 255 for pixel in permutation])
        ys.append(LABELS[image])
    return np.array(xs), np.array(ys)


@pytest.mark.parametrize("task_length", [40, 13, 95])
def test_against_the_formula(task_length):
    x, y = PermutedImages(IMAGES, LABELS, [3, 4], task_length=task_length).next(200)
    for run in range(2):
        expected_x, expected_y = slow_reference(3 + run, 200, task_length)
        np.testing.assert_allclose(x[run, :, 0].numpy(), expected_x, rtol=1e-7)
        np.testing.assert_array_equal(y[run, :, 0].numpy(), expected_y)


def test_a_task_is_one_pass():
    stream = PermutedImages(IMAGES, np.arange(40), [0, 1])
    assert stream.task_length == 40
    _, y = stream.next(120)
    orders = y[:, :, 0].reshape(2, 3, 40)
    assert (orders.sort(-1).values == torch.arange(40)).all()
    flat = orders.reshape(6, 40)
    assert len({tuple(order.tolist()) for order in flat}) == 6  # every run and task has its own


def test_a_permutation_moves_pixels_and_keeps_them():
    x, y = PermutedImages(IMAGES, np.arange(40), [0]).next(80)
    originals = torch.from_numpy(IMAGES[y[0, :, 0]]).float() / 255
    assert torch.equal(x[0, :, 0].sort(-1).values, originals.sort(-1).values)
    # One permutation in a task, another in the next: in the order of the images, each column is a column of the images.
    first = x[0, :40, 0][y[0, :40, 0].argsort()]
    second = x[0, 40:, 0][y[0, 40:, 0].argsort()]
    columns = {tuple(column.tolist()) for column in (torch.from_numpy(IMAGES).float() / 255).T}
    assert {tuple(column.tolist()) for column in first.T} == columns
    assert {tuple(column.tolist()) for column in second.T} == columns
    assert not torch.equal(first, second)


def test_a_short_task_takes_as_many_images_of_a_fresh_order():
    _, y = PermutedImages(IMAGES, np.arange(40), [0], task_length=10).next(200)
    tasks = y[0, :, 0].reshape(20, 10)
    assert all(len(set(task.tolist())) == 10 for task in tasks)
    assert len({frozenset(task.tolist()) for task in tasks}) == 20


def test_batches_are_the_same_stream():
    x, y = PermutedImages(IMAGES, LABELS, [2]).next(40)
    batched = PermutedImages(IMAGES, LABELS, [2], batch_size=8)
    assert batched.task_length == 5
    bx, by = batched.next(5)
    assert torch.equal(bx.reshape(1, 40, 1, 30), x)
    assert torch.equal(by.reshape(1, 40, 1), y)
    # What does not fill a batch is left out of the task.
    assert PermutedImages(IMAGES, LABELS, [2], batch_size=7).task_length == 5


def test_the_probe_is_fixed_images_under_the_current_permutation():
    stream = PermutedImages(IMAGES, LABELS, [2, 3])
    before = stream.probe(25)
    stream.next(40)
    after = stream.probe(25)
    assert not torch.equal(before, after)
    assert torch.equal(before.sort(-1).values, after.sort(-1).values)


def test_read_only_and_strided_images_are_taken():
    read_only = IMAGES.copy()
    read_only.flags.writeable = False
    strided = np.asfortranarray(IMAGES)
    expected = PermutedImages(IMAGES, LABELS, [2]).next(50)[0]
    for images in (read_only, strided):
        assert torch.equal(PermutedImages(images, LABELS.astype(np.uint8), [2]).next(50)[0], expected)


def test_images_are_never_changed():
    before = IMAGES.copy()
    PermutedImages(IMAGES, LABELS, [2, 3]).next(100)
    assert (before == IMAGES).all()


def test_bad_data_is_refused():
    for images in (IMAGES.astype(np.float32), IMAGES.reshape(40, 5, 6), IMAGES[:0]):
        with pytest.raises(SettingError, match="images of shape"):
            PermutedImages(images, LABELS, [0])
    for labels in (LABELS[:-1], LABELS.astype(float)):
        with pytest.raises(SettingError, match="labels of shape"):
            PermutedImages(IMAGES, labels, [0])
    with pytest.raises(SettingError, match="batch_size = 41: there are 40 images"):
        PermutedImages(IMAGES, LABELS, [0], batch_size=41)
    with pytest.raises(SettingError, match="batch_size = 0"):
        PermutedImages(IMAGES, LABELS, [0], batch_size=0)
