"""Images picked and moved by the kernel against torch, bit by bit, and against one image at a time in NumPy."""

import numpy as np
import pytest
import torch

from neoteny import compiling
from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams import Augmentation, picking
from neoteny.streams.images import PIXELS
from neoteny.streams.picking import picked
from neoteny.units import random
from streams.test_augment import slowly

needs_a_compiler = pytest.mark.skipif(compiling.compiler() is None, reason="the kernel needs a C++ compiler")
SHIFTS = Augmentation(pad=3, degrees=(0.0, 0.0))


def bytes_of(*shape):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def keys_of(*seeds):
    return torch.stack([random.key(seed) for seed in seeds])


@pytest.fixture
def by_torch(monkeypatch):
    def pick(*given):
        with monkeypatch.context() as patch:
            patch.setattr(picking, "_kernel", lambda: None)
            return picked(*given)

    return pick


@needs_a_compiler
@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("augmentation", [None, SHIFTS, Augmentation(pad=3), Augmentation(flip=1.0, pad=0)])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 4, 17)])
def test_the_kernel_gives_the_numbers_that_torch_gives(shape, augmentation, pixels, by_torch):
    images, rows = bytes_of(50, *shape), torch.randint(0, 50, (2, 3, 40))
    keys = None if augmentation is None else keys_of(*range(6)).view(2, 3, 2)
    given = images, rows, pixels, augmentation, keys
    assert picking._kernel() is not None
    found, expected = picked(*given), by_torch(*given)
    assert (found.shape, found.dtype) == ((2, 3, 40, *shape), torch.float32)
    assert torch.equal(found, expected)


def test_each_image_is_the_slow_reference():
    images, rows = bytes_of(9, 2, 7, 10), torch.arange(60) % 9
    augmentation = Augmentation(pad=6, degrees=(0.0, 0.0))
    moves = augmentation.draw(random.key(4), 60)
    found = picked(images, rows, "bytes", augmentation, random.key(4)).numpy()
    for number, own in enumerate(zip(*(each.tolist() for each in moves), strict=True)):
        np.testing.assert_array_equal(found[number], slowly(images[rows[number]].numpy(), *own, augmentation.pad))
    assert {-6, 6} <= set(moves.right.tolist()) and {-6, 6} <= set(moves.down.tolist())


def test_a_run_alone_equals_the_run_in_a_stack():
    images, rows, keys = bytes_of(30, 1, 8, 8), torch.randint(0, 30, (4, 25)), keys_of(1, 2, 3, 4)
    whole = picked(images, rows, "unit", SHIFTS, keys)
    for run in range(4):
        assert torch.equal(whole[run], picked(images, rows[run], "unit", SHIFTS, keys[run]))


@pytest.mark.parametrize("through", ["kernel", "torch"])
def test_bad_input_is_refused(through, by_torch):
    pick = picked if through == "kernel" else by_torch
    images, rows = bytes_of(5, 1, 4, 4), torch.tensor([0, 4])
    for wrong in (-1, 5):
        with pytest.raises(IndexError):
            pick(images, torch.tensor([0, wrong]), "unit")
    with pytest.raises(SettingError, match="pad = 4 for images of 4 x 4 pixels"):
        pick(images, rows, "unit", Augmentation(pad=4, degrees=(0.0, 0.0)), random.key(0))
    with pytest.raises(SettingError, match="one for each batch"):
        pick(images, rows, "unit", SHIFTS, keys_of(0, 1))
    with pytest.raises(UnknownNameError, match="scaling of pixels"):
        pick(images, rows, "sepia")
    assert pick(images, rows[:0], "unit", SHIFTS, random.key(0)).shape == (0, 1, 4, 4)


def test_images_that_do_not_lie_in_one_piece():
    images = bytes_of(8, 8, 3, 20).permute(3, 2, 0, 1)
    rows, key = torch.tensor([19, 3, 3]), random.key(0)
    assert torch.equal(
        picked(images, rows, "signed", SHIFTS, key), picked(images.contiguous(), rows, "signed", SHIFTS, key)
    )
