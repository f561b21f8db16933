"""Operant conditioning: cues as described, and the same numbers however the stream is cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from neoteny.errors import SettingError
from neoteny.streams.operant import Operant

SMALL = {"signals": 20, "task_length": 90}


def test_cutting_resuming_and_other_runs_change_nothing():
    whole, parts = Operant([0, 4], **SMALL).next(300), Operant([0, 4], **SMALL)
    cut = [torch.cat(each, 1) for each in zip(*[parts.next(n) for n in (1, 88, 2, 100, 109)], strict=True)]
    first, resumed = Operant([0, 4], **SMALL), Operant([0, 4], **SMALL)
    first.next(200)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    later, alone = resumed.next(100), Operant([4], **SMALL).next(300)
    for n, part in enumerate(whole):
        assert torch.equal(part, cut[n])
        assert torch.equal(part[:, 200:], later[n])
        assert torch.equal(part[1:], alone[n])
    assert torch.equal(whole[0][:, 1:], whole[1][:, :-1])
    assert resumed.probe(5).shape == (2, 5, 20)


def test_a_cue_says_which_action_is_rewarded():
    stream = Operant([1, 2], signals=20, cues=3, task_length=6_000)
    x, _, rewards = (part[:, :, 0].numpy() for part in stream.next(6_000))
    for run in range(2):
        best = rewards[run].argmax(1)
        rewarded = np.flatnonzero(best)
        np.testing.assert_allclose(rewards[run, rewarded].max(1), 0.9, rtol=1e-6)
        pauses = np.diff(rewarded)
        assert (pauses.min(), pauses.max()) == (5, 15)
        for action in (1, 2, 3):
            here = np.flatnonzero((x[run] == (best == action)[:, None]).all(0))
            assert len(here) == 1  # one signal is on exactly where the action is rewarded
            assert stream._orders[run][here[0]] == action - 1
        quiet = np.delete(rewards[run], rewarded, axis=0)
        np.testing.assert_allclose(np.unique(quiet, axis=0), [[0.0, -0.1, -0.1, -0.1]], rtol=1e-6)
        shares = np.delete(x[run].mean(0), [np.flatnonzero(stream._orders[run] == cue)[0] for cue in range(3)])
        assert 0.02 < shares.mean() < 0.08
        assert shares.max() < 0.12


def test_bad_settings_are_refused():
    wrong = [({"cues": 21}, "cues = 21"), ({"pause": (3, 2)}, "pause"), ({"cost": -1.0}, "cost = -1")]
    for settings, said in wrong:
        with pytest.raises(SettingError, match=said):
            Operant([0], **{**SMALL, **settings})
