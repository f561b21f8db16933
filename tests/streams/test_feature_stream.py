"""Real series as streams: nothing of the future in features, labels when they are known, resumption."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny.data import Flights
from neoteny.errors import SettingError
from neoteny.streams.electricity import ElectricityDemand
from neoteny.streams.feature_stream import online_standardised
from neoteny.streams.flights import FlightDelays

NOISE = np.random.default_rng(0)
COUNT = 400
DEMAND = 5_000 + 800 * np.sin(np.arange(COUNT) / 4) + NOISE.normal(0, 50, COUNT)


def some_flights(delays=None):
    rng = np.random.default_rng(1)
    minute = np.sort(rng.integers(0, 3 * 24 * 60, COUNT)).astype(np.int32)
    drawn = rng.integers(-90, 400, COUNT)
    delay = (drawn if delays is None else delays).astype(np.int16)
    ends = [rng.integers(0, 6, COUNT).astype(np.int16) for _ in range(2)]
    distance = rng.integers(50, 3_000, COUNT).astype(np.int16)
    return Flights(minute, delay, distance, *ends, tuple("ABCDEF"))


def flights(delays=None, **settings):
    return FlightDelays(some_flights(delays), [0, 1], **{"delay": 20, "task_length": 90, "airports": 3, **settings})


def demand(**settings):
    return ElectricityDemand(DEMAND, [0, 1], **{"horizon": 24, "task_length": 60, **settings})


STREAMS = {"flights": flights, "electricity": demand}
each = pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)


@each
def test_labels_come_with_the_delay(make):
    stream = make()
    whole = [torch.cat(parts, 1) for parts in zip(*[stream.next(n) for n in (70, 50, 30)], strict=True)]
    inputs, targets, latest, truth = whole
    assert stream.PARTS == ("inputs", "targets", "latest", "truth")
    assert inputs.shape == (2, 150, 1, stream.inputs)
    assert torch.equal(inputs[:, stream.delay :], latest[:, : -stream.delay])
    assert torch.equal(targets[:, stream.delay :], truth[:, : -stream.delay])
    assert torch.equal(inputs[0], inputs[1])
    resumed, again = make(), make()
    again.next(95)
    resumed.load_state_dict(again.state_dict())
    for part, rest in zip(whole, resumed.next(55), strict=True):
        assert torch.equal(part[:, 95:], rest)
    assert stream.probe(7).shape == (2, 7, stream.inputs)
    assert stream.fingerprint() == make().fingerprint() != ""
    with pytest.raises(SettingError, match="take\\s+fewer or shorter tasks"):
        stream.next(stream.most)


def test_what_is_handed_out_is_the_callers():
    stream, other = (ElectricityDemand(DEMAND, [0], horizon=24, task_length=60) for _ in range(2))
    for part in stream.next(30):
        part.zero_()
    other.next(30)
    for part, own in zip(other.next(30), stream.next(30), strict=True):
        assert torch.equal(part, own)


def test_a_series_that_is_used_up_can_be_measured():
    stream = flights(delay=0, task_length=100)
    stream.next(COUNT - 1)
    before = stream.probe(5)
    stream.next(1)
    assert torch.equal(stream.probe(5), before)


@pytest.mark.parametrize("name", STREAMS)
def test_a_series_can_begin_later(name):
    whole, later = STREAMS[name](), STREAMS[name](first=100)
    whole.skip_to(100)
    for mine, theirs in zip(later.next(60), whole.next(60), strict=True):
        assert torch.equal(mine, theirs)
    assert later.most == whole.most - 100
    with pytest.raises(SettingError, match=f"first = {whole.most}: it must be at least 0"):
        STREAMS[name](first=whole.most)


def test_features_of_flights_against_the_ordinary_loop():
    given, stream = some_flights(), flights()
    late = np.clip(given.delay, -60, 180) / 30
    overall, by_origin, by_destination = 0.0, np.zeros(6), np.zeros(6)
    history, counts = [], np.bincount(given.origin)
    place = {airport: min(rank, 3) for rank, airport in enumerate(np.argsort(-counts, kind="stable"))}
    for t in range(COUNT):
        if t >= 20:  # the delay of the flight 20 before has become known
            k = t - 20
            overall += 0.01 * (late[k] - overall)
            by_origin[given.origin[k]] += 0.1 * (late[k] - by_origin[given.origin[k]])
            by_destination[given.destination[k]] += 0.1 * (late[k] - by_destination[given.destination[k]])
        o, d = given.origin[t], given.destination[t]
        history.append([given.distance[t], overall, by_origin[o], by_destination[d]])
        so_far = np.array(history, float)
        deviation = so_far.std(0)
        expected = np.where(deviation > 1e-6, (so_far[-1] - so_far.mean(0)) / np.maximum(deviation, 1e-6), 0.0)
        row = stream.features(t, t + 1)[0]
        np.testing.assert_allclose(row[11:15], expected, atol=1e-4)
        angle = 2 * np.pi * (given.minute[t] % 1440) / 1440
        np.testing.assert_allclose(row[[0, 3]], [np.sin(angle), np.cos(2 * angle)], atol=1e-6)
        assert np.flatnonzero(row[4:11]).tolist() == [given.minute[t] // 1440]
        assert np.flatnonzero(row[15:]).tolist() == [place[o], 4 + place[d]]
    np.testing.assert_allclose(stream._targets, late, rtol=1e-6)


def test_features_hold_nothing_of_the_future():
    """Other labels from flight 200 on leave the features up to flight 219 as they were."""
    other = some_flights().delay.copy()
    other[200:] = 0
    before, after = flights().features(0, COUNT), flights(other).features(0, COUNT)
    assert np.array_equal(before[:220], after[:220])
    assert not np.array_equal(before[220:], after[220:])
    changed = DEMAND.copy()
    changed[300:] += 1_000
    streams = [ElectricityDemand(demand, [0]) for demand in (DEMAND, changed)]
    one, two = (stream.features(0, 208) for stream in streams)
    assert np.array_equal(one[: 300 - 168], two[: 300 - 168])
    assert not np.array_equal(one[300 - 168 :], two[300 - 168 :])


def test_features_of_electricity():
    stream, t = ElectricityDemand(DEMAND, [0]), 250
    mean, deviation = DEMAND[: t + 1].mean(), DEMAND[: t + 1].std()
    row, target = stream.features(t - 168, t - 167)[0], stream._targets[t - 168]
    scaled = (DEMAND - mean) / deviation
    np.testing.assert_allclose(row[13:37], scaled[t - np.arange(24)], rtol=1e-4, atol=1e-5)
    assert row[37] == pytest.approx(scaled[t + 24 - 168], rel=1e-4)
    assert target == pytest.approx(scaled[t + 24], rel=1e-4)
    hour = t + 24
    assert row[0] == pytest.approx(np.sin(2 * np.pi * (hour % 24) / 24), abs=1e-6)
    assert np.flatnonzero(row[6:13]).tolist() == [hour // 24 % 7]


def test_standardised_by_what_came_before():
    columns = 1e6 + np.random.default_rng(2).normal(0, 3, (50, 2))
    found = online_standardised(columns)
    for t in range(1, 50):
        so_far = columns[: t + 1]
        np.testing.assert_allclose(found[t], (columns[t] - so_far.mean(0)) / so_far.std(0), rtol=1e-6)
    assert not online_standardised(np.ones((5, 1))).any()


def test_bad_settings_are_refused():
    with pytest.raises(SettingError, match="delay = 400"):
        flights(delay=400)
    with pytest.raises(SettingError, match="horizon = 168"):
        ElectricityDemand(DEMAND, [0], horizon=168)
    with pytest.raises(SettingError, match="more than 216 hours"):
        ElectricityDemand(DEMAND[:170], [0])
    gap = np.array(DEMAND, dtype=float)
    gap[20] = np.nan
    with pytest.raises(SettingError, match="demand: hour 20 is nan"):
        ElectricityDemand(gap, [0])
