"""Threshold features that stay, change their sign, are replaced, or come and go, against a slow reading."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError, UnknownNameError
from neoteny.streams.threshold_features import ThresholdFeatures

BUSY = {"inputs": 7, "irrelevant": 3, "features": 6, "outputs": 2, "flips": 0.05, "replacements": 0.03}


def stream(seeds=(3, 4), **settings):
    return ThresholdFeatures(seeds, **{**BUSY, "task_length": 50, **settings})


def test_a_stationary_target_is_the_sum_of_its_units():
    problem = stream(flips=0.0, replacements=0.0, batch_size=2)
    incoming, outgoing = problem._incoming.copy(), problem._outgoing.copy()
    x, y = (value.numpy() for value in problem.next(120))
    for run in range(2):
        for step in range(120):
            for example in range(2):
                bits, found = x[run, step, example, :7], np.zeros(2)
                for unit in range(6):
                    agree = sum(bit == (weight > 0) for bit, weight in zip(bits, incoming[run, unit], strict=True))
                    found += (agree > 0.6 * 7) * outgoing[run, unit]
                assert np.array_equal(y[run, step, example], found.astype(np.float32))
    assert set(np.unique(x)) == {0.0, 1.0}


def test_a_unit_at_whose_inputs_the_share_alone_agrees_does_not_fire():
    problem = ThresholdFeatures([0], inputs=100, beta=0.29, task_length=1)
    bits = (np.arange(100) < np.array([[29], [30]])).astype(np.float32)
    assert problem.fired(bits, np.ones((1, 100))).ravel().tolist() == [False, True]


def test_the_lasting_features_stay_and_the_others_change():
    problem = stream()
    before = problem._incoming.copy(), problem._outgoing.copy()
    problem.next(400)
    problem.next(1)
    for old, new in zip(before, (problem._incoming, problem._outgoing), strict=True):
        assert np.array_equal(old[:, :3], new[:, :3])
        assert not np.array_equal(old[:, 3:], new[:, 3:])


def test_signs_change_as_often_as_asked_for():
    problem = stream(seeds=[0], features=40, replacements=0.0, flips=0.01, lasting=0.0, task_length=1)
    changes, before = 0, None
    for _ in range(500):
        problem.next(1)
        now = problem._after[1][0, :, 0].copy()
        changes += 0 if before is None else int((now != before).sum())
        before = now
    expected = 0.01 * 40 * 499
    assert abs(changes - expected) < 4 * np.sqrt(expected)


def test_absent_features_come_back_as_they_were():
    problem = stream(flips=0.0, replacements=0.0, period=100)
    whole = stream(flips=0.0, replacements=0.0)
    only = stream(flips=0.0, replacements=0.0, lasting=1.0)
    only._outgoing[:, 3:] = 0
    x, y = problem.next(300)
    same_x, same_y = whole.next(300)
    _, lasting = only.next(300)
    assert torch.equal(x, same_x)
    for start, expected in ((0, same_y), (100, lasting), (200, same_y)):
        assert torch.equal(y[:, start : start + 100], expected[:, start : start + 100])
    assert not torch.equal(y[:, 100:200], same_y[:, 100:200])


def test_a_stream_can_be_cut_anywhere_and_run_k_is_the_same_alone():
    whole, cut, later, alone = stream(noise=0.1), stream(noise=0.1), stream(noise=0.1), stream([4], noise=0.1)
    x, y = whole.next(170)
    first = cut.next(77)
    later.load_state_dict(cut.state_dict())
    second = later.next(93)
    assert torch.equal(x, torch.cat([first[0], second[0]], 1)) and torch.equal(y, torch.cat([first[1], second[1]], 1))
    assert torch.equal(alone.next(170)[1][0], y[1])
    assert later.probe(9).shape == (2, 9, 10)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"flips": 1.5}, "flips = 1.5"),
        ({"lasting": -0.1}, "lasting"),
        ({"features": 0}, "features = 0"),
        ({"noise": -1.0}, "noise = -1.0"),
        ({"noise": float("nan")}, "noise = nan"),
        ({"noise": float("inf")}, "noise = inf"),
        ({"period": 70}, "does not divide period = 70"),
    ],
)
def test_bad_settings_are_refused(settings, words):
    with pytest.raises(SettingError, match=words):
        stream(**settings)


def test_normal_output_weights_give_the_same_features_other_weights():
    problem = stream(seeds=range(40), flips=0.0, replacements=0.0, output_weights="normal")
    drawn = problem._outgoing
    assert abs(drawn.mean()) < 0.2 and 0.8 < drawn.std() < 1.2 and len(np.unique(drawn)) == drawn.size
    x, y = (value.numpy() for value in problem.next(5))
    for run in (0, 39):
        bits = x[run, :, 0, :7]
        agree = (bits[:, None] == (problem._incoming[run] > 0)).sum(-1)
        assert np.allclose(y[run, :, 0], (agree > 0.6 * 7) @ drawn[run], atol=1e-5)
    with pytest.raises(UnknownNameError, match="output_weights"):
        stream(output_weights="uniform")
