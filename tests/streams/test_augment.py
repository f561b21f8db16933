"""Augmentation against one image at a time, pixel by pixel, in NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neoteny.errors import SettingError
from neoteny.streams import Augmentation
from neoteny.units import random

MANY = 40_000


def slowly(image, flipped, down, right, degrees, pad):
    """One image [C, H, W]: mirrored, cut from its padded self, turned about its centre counter-clockwise."""
    height, width = image.shape[1:]
    if flipped:
        image = image[:, :, ::-1]
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    crop = padded[:, pad + down : pad + down + height, pad + right : pad + right + width]
    angle = math.radians(degrees)
    turned = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            # with y upwards a turn by +angle moves (x, y) to where the pixel is, so it comes from a turn by -angle
            x, y = column - (width - 1) / 2, (height - 1) / 2 - row
            from_x = x * math.cos(angle) + y * math.sin(angle)
            from_y = y * math.cos(angle) - x * math.sin(angle)
            source_row = round((height - 1) / 2 - from_y)
            source_column = round(from_x + (width - 1) / 2)
            if 0 <= source_row < height and 0 <= source_column < width:
                turned[:, row, column] = crop[:, source_row, source_column]
    return turned


@pytest.mark.parametrize(
    ("side", "settings"),
    [
        ((32, 32), {}),
        ((16, 16), {"degrees": (-40.0, 200.0)}),
        ((8, 8), {"pad": 7, "flip": 1.0}),
        ((7, 10), {"pad": 2, "degrees": (15.0, 15.0), "flip": 0.0}),
        ((7, 10), {"pad": 6, "degrees": (0.0, 0.0)}),
    ],
)
def test_it_is_the_slow_reference(side, settings):
    augmentation = Augmentation(**settings)
    images = torch.randn(12, 2, *side)
    key = random.key(5)
    moved = augmentation(images, key)
    moves = augmentation.draw(key, 12)
    for number, own in enumerate(zip(*(each.tolist() for each in moves), strict=True)):
        np.testing.assert_array_equal(moved[number].numpy(), slowly(images[number].numpy(), *own, augmentation.pad))


def test_a_quarter_turn_is_torchs_own():
    images = torch.randn(3, 3, 9, 9)
    turned = Augmentation(flip=0.0, pad=0, degrees=(90.0, 90.0))(images, random.key(0))
    assert torch.equal(turned, images.rot90(1, (-2, -1)))  # counter-clockwise, rows counted downwards


def test_without_anything_to_do_it_is_the_identity():
    images = torch.randn(2, 5, 3, 32, 32)
    keys = torch.stack([random.key(0), random.key(1)])
    still = Augmentation(flip=0.0, pad=0, degrees=(0.0, 0.0))(images, keys)
    assert torch.equal(still, images)
    assert still.data_ptr() != images.data_ptr()
    flipped = Augmentation(flip=1.0, pad=0, degrees=(0.0, 0.0))(images, keys)
    assert torch.equal(flipped, images.flip(-1))


def test_an_image_that_draws_no_move_stays_as_it_is():
    augmentation = Augmentation(pad=1, degrees=(0.0, 0.0))
    images = torch.randn(200, 1, 8, 8)
    moves = augmentation.draw(random.key(2), 200)
    unmoved = ~moves.flipped & (moves.down == 0) & (moves.right == 0)
    assert 0 < unmoved.sum() < 50
    moved = augmentation(images, random.key(2))
    assert torch.equal(moved[unmoved], images[unmoved])
    assert all(not torch.equal(moved[i], images[i]) for i in (~unmoved).nonzero().flatten().tolist())


@given(
    runs=st.integers(1, 4), batches=st.integers(1, 3), count=st.integers(1, 9), seed=st.integers(0, 2**40),
    kind=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)  # fmt: skip
def test_a_run_alone_equals_the_run_in_a_stack(runs, batches, count, seed, kind):
    images = torch.randn(runs, batches, count, 2, 9, 9).to(kind)
    keys = torch.stack([random.fold_in(random.key(seed + run), torch.arange(batches)) for run in range(runs)])
    augmentation = Augmentation()
    stacked = augmentation(images, keys)
    assert (stacked.shape, stacked.dtype) == (images.shape, kind)
    for run in range(runs):
        assert torch.equal(stacked[run], augmentation(images[run], keys[run]))
        assert torch.equal(stacked[run, 0], augmentation(images[run, 0], keys[run, 0]))
        # nor does it matter how many images a batch has
        assert torch.equal(stacked[run, 0, :1], augmentation(images[run, 0, :1], keys[run, 0]))


def test_a_large_stack_is_worked_on_in_pieces_with_the_same_result():
    images, keys = torch.randn(40, 90, 1, 16, 16), torch.stack([random.key(run) for run in range(40)])
    whole = Augmentation()(images, keys)
    for run in (0, 13, 39):
        assert torch.equal(whole[run], Augmentation()(images[run], keys[run]))


def test_strides_do_not_matter_and_the_input_stays():
    images = torch.randn(6, 12, 12, 3).permute(0, 3, 1, 2)
    before = images.clone()
    moved = Augmentation()(images, random.key(1))
    assert torch.equal(moved, Augmentation()(images.contiguous(), random.key(1)))
    assert torch.equal(images, before)


def test_equal_keys_give_equal_images_and_others_do_not():
    images = torch.randn(20, 3, 16, 16)
    assert torch.equal(Augmentation()(images, random.key(3)), Augmentation()(images, random.key(3)))
    assert not torch.equal(Augmentation()(images, random.key(3)), Augmentation()(images, random.key(4)))


def test_draws_have_their_distributions():
    augmentation = Augmentation(flip=0.3, pad=4, degrees=(-5.0, 15.0))
    moves = augmentation.draw(random.key(0), MANY)
    # four standard errors of a share p among 40,000
    assert moves.flipped.double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / MANY))
    for shift in (moves.down, moves.right):
        values, counts = shift.unique(return_counts=True)
        assert values.tolist() == list(range(-4, 5))
        assert (counts / MANY - 1 / 9).abs().max() < 4 * math.sqrt(8 / 81 / MANY)
    assert (-5 <= moves.degrees).all()
    assert (moves.degrees <= 15).all()
    shares = torch.histc(moves.degrees, 20, -5, 15) / MANY
    assert (shares - 1 / 20).abs().max() < 4 * math.sqrt(0.0475 / MANY)
    together = torch.stack([each.double() for each in moves])
    assert (torch.corrcoef(together) - torch.eye(4)).abs().max() < 4 / math.sqrt(MANY)


def test_the_largest_draw_is_still_a_shift(monkeypatch):
    """In single precision the largest uniform number is 1."""
    monkeypatch.setattr(random, "uniform", lambda key, shape: torch.ones(shape))
    moves = Augmentation(flip=1.0).draw(random.key(0), 3)
    assert moves.flipped.all()
    assert moves.down.tolist() == moves.right.tolist() == [4, 4, 4]


def test_what_lies_outside_is_black_and_nothing_is_invented():
    images = torch.rand(50, 1, 16, 16) + 1
    moved = Augmentation(degrees=(45.0, 45.0))(images, random.key(0))
    assert (moved[:, :, 0, 0] == 0).all()
    assert (moved[:, :, 8, 8] > 0).all()
    for before, after in zip(images, moved, strict=True):
        assert torch.isin(after[after > 0], before).all()


def test_bad_input_is_refused_with_cause_and_cure():
    with pytest.raises(SettingError, match=r"flip = 1\.5"):
        Augmentation(flip=1.5)
    with pytest.raises(SettingError, match="pad = -1"):
        Augmentation(pad=-1)
    for degrees in ((3.0, 1.0), (0.0, math.inf), (math.nan, 1.0)):
        with pytest.raises(SettingError, match="smallest angle"):
            Augmentation(degrees=degrees)
    with pytest.raises(SettingError, match="pad = 4 for images of 4 x 9 pixels"):
        Augmentation()(torch.zeros(1, 3, 4, 9), random.key(0))
    with pytest.raises(SettingError, match=r"one for each batch"):
        Augmentation()(torch.zeros(2, 1, 3, 9, 9), random.key(0))
    with pytest.raises(SettingError, match=r"\[3, 9, 9\]"):
        Augmentation()(torch.zeros(3, 9, 9), random.key(0))
    assert Augmentation()(torch.zeros(0, 3, 9, 9), random.key(0)).shape == (0, 3, 9, 9)
