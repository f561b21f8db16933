"""Conditioning: trials as described, returns that are sums of what comes, and the same numbers however it is cut."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from neoteny.errors import CheckpointError, SettingError, UnknownNameError
from neoteny.streams.conditioning import Conditioning

SHORT = {"task_length": 300, "memory": 3}
PATTERNS = {"stimuli": 6, "present": 3, "announcing": 10, "share": 0.5}
KINDS = {
    "trace conditioning": SHORT,
    "noisy patterning": {**SHORT, **PATTERNS, "interval": (4, 4), "distractors": 0, "noise": 0.2},
    "trace patterning": {**SHORT, **PATTERNS, "distractors": 5, "distraction": "trials"},
}
each = pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)


def taken(stream, *lengths):
    return [torch.cat(parts, 1) for parts in zip(*[stream.next(length) for length in lengths], strict=True)]


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@each
def test_cutting_resuming_and_other_runs_change_nothing(settings):
    whole = taken(Conditioning([0, 5], **settings), 1000)
    parts = Conditioning([0, 5], **settings)
    assert same(whole, taken(parts, 1, 298, 2, 400, 299))
    assert same([part[:, 1:] for part in whole[:1]], [part[:, :-1] for part in whole[1:2]])
    resumed = Conditioning([0, 5], **settings)
    first = Conditioning([0, 5], **settings)
    first.next(650)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert same([part[:, 650:] for part in whole], taken(resumed, 350))
    assert torch.equal(resumed.probe(20), parts.probe(20))
    assert same([part[1:] for part in whole], taken(Conditioning([5], **settings), 1000))
    with pytest.raises(CheckpointError, match="belongs to the stream"):
        Conditioning([0, 5], **{**settings, "discount": 0.8}).load_state_dict(first.state_dict())


@each
def test_returns_are_the_discounted_sums_of_what_comes(settings):
    _, _, cumulants, returns = (part.flatten(2).squeeze(-1).double().numpy() for part in
                                Conditioning([3], **settings).next(900))  # fmt: skip
    sums, total = np.zeros(900), 0.0
    for t in reversed(range(900)):
        total = cumulants[0, t] + 0.9 * total
        sums[t] = total
    np.testing.assert_allclose(returns[0, :700], sums[:700], atol=1e-5)


@each
def test_inputs_are_the_last_observations(settings):
    """The latest observation of each step, put side by side, gives all inputs, across stretches too."""
    x, _, cumulants, _ = Conditioning([1], **settings).next(800)
    signals = x.shape[-1] // 3
    latest = x[0, :, 0, -signals:]
    assert torch.equal(x[0, 2:, 0], torch.cat([latest[:-2], latest[1:-1], latest[2:]], 1))
    assert torch.equal(latest[1:, 0], cumulants[0, :-1, 0, 0])
    assert set(x.unique().tolist()) == {0.0, 1.0}


def trials(stimuli):
    """Steps at which stimuli come on."""
    on = stimuli.any(1)
    return np.flatnonzero(on & ~np.roll(on, 1))


def test_trace_conditioning_is_as_described():
    x = Conditioning([7], task_length=20_000).next(20_000)[0][0, :, 0].bool().numpy()
    outcome, stimulus, distractors = x[:, 0], x[:, 1:2], x[:, 2:]
    onsets = trials(stimulus)
    outcomes = np.flatnonzero(outcome & ~np.roll(outcome, 1))
    assert len(onsets) == len(outcomes) > 150
    assert set(outcomes - onsets) == set(range(7, 14))
    pauses = onsets[1:] - outcomes[:-1]
    assert pauses.min() >= 80
    assert pauses.max() <= 120
    assert stimulus.sum() == 4 * len(onsets)
    assert outcome.sum() == 2 * len(outcomes)
    for number, signal in enumerate(distractors.T, start=1):
        assert signal.mean() == pytest.approx(4 / (4 + 10 * number - 1), rel=0.25)
        # on for multiples of 4 steps: a distractor may come on again at once
        edges = np.flatnonzero(np.diff(signal.astype(int)))
        lengths = np.diff(edges)[0 if signal[edges[0] + 1] else 1 :: 2]
        assert set(lengths % 4) == {0}


def test_patterns_announce_the_outcome():
    settings = {**PATTERNS, "interval": (4, 4), "distractors": 0, "task_length": 20_000, "noise": 0.1}
    stream = Conditioning([2, 3], **settings)
    x = stream.next(20_000)[0][:, :, 0].bool().numpy()
    for run in range(2):
        outcome, stimuli = x[run, :, 0], x[run, :, 1:]
        onsets = trials(stimuli)
        assert set(stimuli[onsets].sum(1)) == {3}
        followed: dict[tuple[int, ...], list[bool]] = {}
        for onset in onsets:
            followed.setdefault(tuple(np.flatnonzero(stimuli[onset])), []).append(bool(outcome[onset + 4]))
        rates = np.array([np.mean(each) for each in followed.values()])
        assert len(rates) == 20
        assert (rates > 0.5).sum() == 10
        assert np.minimum(rates, 1 - rates).mean() == pytest.approx(0.1, abs=0.05)
        assert outcome[onsets + 4].mean() == pytest.approx(0.5, abs=0.12)
    assert not np.array_equal(stream._orders[0], stream._orders[1])


def test_distractors_of_trials_come_with_the_stimuli():
    x = Conditioning([2], **{**KINDS["trace patterning"], "task_length": 10_000, "memory": 1}).next(9_000)[0]
    stimuli, distractors = x[0, :, 0, 1:7].bool().numpy(), x[0, :, 0, 7:].bool().numpy()
    assert not (distractors.any(1) & ~stimuli.any(1)).any()
    assert distractors[trials(stimuli)].mean() == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"stimuli": 0}, "stimuli = 0"),
        ({"present": 2}, "present = 2 is not at most the 1 stimuli"),
        ({"announcing": 2}, "announcing = 2 is not at most the 1 patterns"),
        ({"share": 0.5}, "share = 0.5 is not 1"),
        ({"noise": 1.5}, "noise = 1.5"),
        ({"interval": (5, 3)}, "interval"),
        ({"pause": (1, 3)}, "pause"),
        ({"task_length": 100}, "task_length = 100 is not at least 135"),
        ({"discount": 0.99, "task_length": 500}, "the discount 0.99 forgets"),
        ({"memory": 0}, "memory = 0"),
    ],
)
def test_bad_settings_are_refused(settings, said):
    with pytest.raises(SettingError, match=said):
        Conditioning([0], **settings)
    with pytest.raises(UnknownNameError):
        Conditioning([0], distraction="never")  # pyright: ignore[reportArgumentType]
