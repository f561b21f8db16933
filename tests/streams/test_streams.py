"""What holds for every stream."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neoteny.errors import CheckpointError, SettingError
from neoteny.streams import ImageEpochs, PermutedImages, SlowlyChangingRegression
from neoteny.streams.conditioning import Conditioning
from neoteny.streams.linear_tracking import LinearTracking
from neoteny.streams.operant import Operant
from neoteny.streams.threshold_features import ThresholdFeatures

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 12), dtype=np.uint8)
LABELS = np.random.default_rng(1).integers(0, 10, 50)

STREAMS = {
    "flip all": lambda seeds: SlowlyChangingRegression(seeds, task_length=37),
    "flip one": lambda seeds: SlowlyChangingRegression(seeds, flip="one", task_length=37),
    "a task a step": lambda seeds: SlowlyChangingRegression(seeds, flip="one", task_length=1, batch_size=4),
    "regression in batches": lambda seeds: SlowlyChangingRegression(seeds, task_length=9, batch_size=3),
    "one pass": lambda seeds: PermutedImages(IMAGES, LABELS, seeds),
    "part of a pass": lambda seeds: PermutedImages(IMAGES, LABELS, seeds, task_length=37),
    "several passes": lambda seeds: PermutedImages(IMAGES, LABELS, seeds, task_length=120),
    "permuted labels": lambda seeds: PermutedImages(IMAGES, LABELS, seeds, task_length=37, permute="labels"),
    "images in batches": lambda seeds: PermutedImages(IMAGES, LABELS, seeds, batch_size=7),
    "epochs of permuted images": lambda seeds: ImageEpochs(IMAGES, LABELS, seeds, "pixels", 4, 30, 3),
    "epochs of shuffled labels": lambda seeds: ImageEpochs(IMAGES, LABELS, seeds, "labels", 3, None, 5),
}
every_stream = pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
few = settings(max_examples=20, deadline=None)
LENGTH = 150


def same(a, b):
    return all(torch.equal(left, right) for left, right in zip(a, b, strict=True))


@every_stream
def test_shapes_and_types(make):
    stream = make([3, 4])
    x, y = stream.next(LENGTH)
    assert x.shape[:3] == (2, LENGTH, stream.batch_size)
    assert x.dtype == torch.float32
    if isinstance(stream, PermutedImages):
        assert (y.shape, y.dtype) == (x.shape[:3], torch.int64)
    else:
        assert (y.shape, y.dtype) == ((*x.shape[:3], 1), torch.float32)
    assert stream.position == LENGTH
    assert stream.task == LENGTH // stream.task_length
    assert stream.probe(5).shape == (2, 5, x.shape[-1])


@every_stream
def test_equal_seeds_give_equal_numbers_and_others_do_not(make):
    a, b = make([3, 4]).next(LENGTH), make([3, 4]).next(LENGTH)
    assert same(a, b)
    assert not torch.equal(a[0][0], a[0][1])
    assert not torch.equal(a[1][0], a[1][1])


@every_stream
def test_run_k_alone_equals_run_k_in_the_stack(make):
    x, y = make(range(5, 12)).next(LENGTH)
    for run in (0, 3, 6):
        assert same(make([5 + run]).next(LENGTH), (x[run : run + 1], y[run : run + 1]))


@every_stream
@few
@given(cuts=st.lists(st.integers(1, 60), max_size=8))
def test_cutting_the_range_changes_nothing(make, cuts):
    whole, parts = make([0, 9]), make([0, 9])
    steps = [*cuts, 1]
    x, y = zip(*(parts.next(count) for count in steps), strict=True)
    assert same(whole.next(sum(steps)), (torch.cat(x, 1), torch.cat(y, 1)))


@every_stream
@few
@given(position=st.integers(0, LENGTH), data=st.data())
def test_a_saved_state_goes_on_identically(make, position, data):
    first = make([2, 3])
    if position:
        first.next(position)
    state = first.state_dict()
    state = data.draw(st.sampled_from([json.loads(json.dumps(state)), pickle.loads(pickle.dumps(state))]))
    second = make([2, 3])
    if data.draw(st.booleans(), label="used before"):
        second.next(77)
    second.load_state_dict(state)
    assert second.position == position
    assert torch.equal(first.probe(6), second.probe(6))
    assert same(first.next(LENGTH), second.next(LENGTH))
    assert first.state_dict() == second.state_dict()


@every_stream
def test_a_state_is_a_value(make):
    stream = make([2, 3])
    stream.next(20)
    state = stream.state_dict()
    before = json.dumps(state)
    stream.next(LENGTH)
    assert json.dumps(state) == before
    assert len(before) < 1000


@every_stream
def test_a_state_of_other_seeds_is_refused(make):
    with pytest.raises(CheckpointError, match="belongs to the stream"):
        make([2, 4]).load_state_dict(make([2, 3]).state_dict())
    with pytest.raises(CheckpointError, match="None"):
        make([2]).load_state_dict({"position": 3})


@every_stream
def test_the_probe_takes_nothing_from_the_stream(make):
    plain, probed = make([2, 3]), make([2, 3])
    assert torch.equal(probed.probe(9), probed.probe(9))
    a = plain.next(30)
    b = probed.next(30)
    probed.probe(4)
    assert same(a, b)
    assert same(plain.next(LENGTH), probed.next(LENGTH))


@every_stream
def test_what_is_handed_out_is_the_callers(make):
    stream, other = make([2, 3]), make([2, 3])
    for tensor in (*stream.next(10), stream.probe(3)):
        tensor.zero_()
    other.next(10)
    assert torch.equal(stream.probe(3), other.probe(3))
    assert same(stream.next(LENGTH), other.next(LENGTH))


@pytest.mark.parametrize("make", [*STREAMS.values(), Conditioning, LinearTracking, Operant, ThresholdFeatures])
def test_examples_are_on_the_device_that_was_asked_for(make):
    stream = make([2, 3]).to("meta")
    assert all(tensor.is_meta for tensor in (*stream.next(3), stream.probe(2)))


@every_stream
def test_bad_requests_are_refused(make):
    with pytest.raises(SettingError, match="steps = 0"):
        make([1]).next(0)
    with pytest.raises(SettingError, match="examples = 0"):
        make([1]).probe(0)
    with pytest.raises(SettingError, match="seeds"):
        make([])
    with pytest.raises(SettingError, match="seeds"):
        make([3, -1])


def test_torchs_and_numpys_global_generators_are_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    for make in STREAMS.values():
        make([0]).next(LENGTH)
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert (np.random.get_state()[1] == numpy_before).all()
