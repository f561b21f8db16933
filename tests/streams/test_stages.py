"""Stages: shares, splits and noise as they are described."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError
from neoteny.streams.stages import StagedImages

CLASSES, COUNT, BATCH = 5, 90, 6
rng = np.random.default_rng(0)
LABELS = rng.integers(0, CLASSES, COUNT)
IMAGES = np.zeros((COUNT, 1, 4, 4), np.uint8) + np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
TEST = (IMAGES[:7] + 100, LABELS[:7])


def stream(seeds=(3, 4), test=TEST, **settings):
    usual = {"shares": [0.3, 1.0], "noises": [0.4, 0.0], "steps": [10, 45], "batch_size": BATCH, "pixels": "bytes"}
    return StagedImages(IMAGES, LABELS, test, seeds, **{**usual, **settings})


def test_every_epoch_goes_once_through_the_images_of_the_stage():
    problem = stream()
    x, y = problem.next(55)
    rows = x[:, :, :, 0, 0, 0].long().numpy()
    for run in range(2):
        for stage, (first, epoch, epochs) in enumerate([(0, 4, 2), (10, 15, 3)]):
            chosen, told = problem.learned(run, stage)
            names = dict(zip(chosen.tolist(), told.tolist(), strict=True))
            assert len(chosen) == len(set(chosen)) == [27, 90][stage]
            for start in range(first, first + epoch * epochs, epoch):
                seen = rows[run, start : start + epoch].ravel()
                assert len(set(seen)) == len(seen) == epoch * BATCH
                assert set(seen) <= set(chosen)
                assert [names[row] for row in seen] == y[run, start : start + epoch].flatten().tolist()
            assert not np.array_equal(rows[run, first : first + epoch], rows[run, first + epoch : first + 2 * epoch])
        assert set(problem.learned(run, 0)[0]) <= set(problem.learned(run, 1)[0])
    assert set(problem.learned(0, 0)[0]) != set(problem.learned(1, 0)[0])


@pytest.mark.parametrize("noise", [0.0, 0.25, 0.5, 1.0])
def test_a_share_of_the_labels_is_wrong_and_never_the_true_one(noise):
    rows, told = stream(shares=[1, 1], noises=[noise, 0]).learned(0, 0)
    assert (told != LABELS[rows]).sum() == round(noise * COUNT)
    clean = stream().learned(0, 1)
    assert np.array_equal(clean[1], LABELS[clean[0]])


def test_wrong_labels_are_drawn_from_all_other_classes_alike():
    labels = np.zeros(20_000, np.int64)
    labels[-1] = CLASSES - 1
    many = StagedImages(np.zeros((20_000, 1, 1, 1), np.uint8), labels, TEST, [0], shares=[1], noises=[1], steps=[1],
                        batch_size=1, side=1)  # fmt: skip
    counts = np.bincount(many.learned(0, 0)[1], minlength=CLASSES)
    assert counts[0] <= 1
    assert np.abs(counts[1:] - 5_000).max() < 4 * np.sqrt(20_000 * 0.25 * 0.75)


def test_less_noise_keeps_what_is_still_wrong():
    less, more = (stream(shares=[1, 1], noises=[noise, 0]).learned(1, 0)[1] for noise in (0.3, 0.6))
    truth = LABELS[stream(shares=[1, 1]).learned(1, 0)[0]]
    assert np.array_equal(less[less != truth], more[less != truth])


def test_without_a_test_set_each_run_keeps_back_a_third_of_its_own():
    problem = stream(test=None)
    ((images, labels),) = problem.held_out("test", 0)
    assert images.shape == (2, 30, 1, 4, 4)
    for run in range(2):
        rows = images[run, :, 0, 0, 0].long().numpy()
        assert not set(rows) & set(problem.learned(run, 1)[0])
        assert len(set(rows) | set(problem.learned(run, 1)[0])) == COUNT
        assert np.array_equal(labels[run], LABELS[rows])
    assert not torch.equal(images[0], images[1])


def test_runs_may_have_shares_and_noises_of_their_own():
    both = stream(shares=[[0.3, 1.0], [0.5, 1.0]], noises=[[0.4, 0.0], [0.1, 0.0]])
    x, y = both.next(55)
    for run, (share, noise) in enumerate([(0.3, 0.4), (0.5, 0.1)]):
        alone = stream(seeds=[3 + run], shares=[share, 1.0], noises=[noise, 0.0])
        own_x, own_y = alone.next(55)
        assert torch.equal(x[run], own_x[0]) and torch.equal(y[run], own_y[0])


def test_a_stream_can_be_cut_anywhere_and_go_on():
    whole, cut, later = stream(flat=True), stream(flat=True), stream(flat=True)
    x, y = whole.next(55)
    first = cut.next(13)
    later.load_state_dict(cut.state_dict())
    second = later.next(42)
    assert torch.equal(x, torch.cat([first[0], second[0]], 1)) and torch.equal(y, torch.cat([first[1], second[1]], 1))
    assert x.shape == (2, 55, BATCH, 16)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"shares": [0.0, 1.0]}, "shares = .*in \\(0"),
        ({"shares": [0.5]}, "each of the 2 stages"),
        ({"noises": [1.1, 0.0]}, "noises = "),
        ({"noises": [float("nan"), 0.0]}, "noises = "),
        ({"shares": [0.01, 1.0]}, "1 of the 90 images.*batch has 6"),
    ],
)
def test_bad_stages_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        stream(**settings)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_images_that_are_no_bytes_are_refused(kind):
    """They would be read as bytes, and give noise."""
    settings = {"shares": [1], "noises": [0], "steps": [1], "batch_size": BATCH}
    with pytest.raises(SettingError, match="bytes"):
        StagedImages(IMAGES.astype(kind), LABELS, None, [0], **settings)
    with pytest.raises(SettingError, match="bytes"):
        StagedImages(IMAGES, LABELS, (TEST[0].astype(kind), TEST[1]), [0], **settings)


@pytest.mark.parametrize("labels", [LABELS[1:], 0 * LABELS, LABELS - 1])
def test_labels_that_do_not_fit_are_refused(labels):
    with pytest.raises(SettingError, match="labels of shape"):
        StagedImages(IMAGES, labels, TEST, [0], shares=[1], noises=[0.5], steps=[1], batch_size=BATCH)
