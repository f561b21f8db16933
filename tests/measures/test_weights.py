import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from neoteny.measures import distance_from_init, gradient_norm, weight_change, weight_magnitude

unhurried = settings(deadline=None)

shapes = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), min_size=1, max_size=4)


@st.composite
def networks(draw, count=1):
    runs = draw(st.integers(1, 3))
    stack = [
        [draw(npst.arrays(np.float64, (runs, *shape), elements=st.floats(-9, 9, width=32))) for _ in range(count)]
        for shape in draw(shapes)
    ]
    return [[torch.from_numpy(arrays[i]) for arrays in stack] for i in range(count)]


def flat(tensors, run):
    return np.concatenate([tensor[run].numpy().ravel() for tensor in tensors])


@unhurried
@given(networks(2))
def test_against_numpy_and_over_runs(pair):
    now, before = pair
    for run in range(len(now[0])):
        a, b = flat(now, run), flat(before, run)
        assert weight_magnitude(now, leading=1)[run].item() == pytest.approx(np.abs(a).mean())
        assert gradient_norm(now, leading=1)[run].item() == pytest.approx(np.linalg.norm(a))
        assert weight_change(now, before, leading=1)[run].item() == pytest.approx(np.linalg.norm(a - b))
        assert distance_from_init(now, before, leading=1)[run].item() == pytest.approx(np.linalg.norm(a - b))
        alone, alone_before = [tensor[run] for tensor in now], [tensor[run] for tensor in before]
        torch.testing.assert_close(weight_magnitude(alone), weight_magnitude(now, leading=1)[run])
        torch.testing.assert_close(weight_change(alone, alone_before), weight_change(now, before, leading=1)[run])


@unhurried
@given(networks())
def test_one_tensor_is_a_list_of_one(single):
    for tensor in single[0]:
        assert torch.equal(weight_magnitude(tensor, 1), weight_magnitude([tensor], 1))
        assert torch.equal(gradient_norm(tensor), gradient_norm(iter([tensor])))


def test_every_entry_counts_once():
    big, small = torch.ones(9, 9), 10 * torch.ones(1)
    assert weight_magnitude([big, small]).item() == pytest.approx((81 + 10) / 82)


def test_small_entries_do_not_vanish():
    tiny = torch.full((4,), 1e-30)
    assert gradient_norm([tiny, tiny]).item() == pytest.approx(8**0.5 * 1e-30)


def test_sums_of_half_precision_do_not_overflow():
    many = torch.full((300, 300), 2.0, dtype=torch.float16)
    assert weight_magnitude(many).item() == 2
    assert gradient_norm(torch.full((4,), 60_000.0, dtype=torch.float16)).item() == pytest.approx(119_990, rel=1e-3)


def test_lists_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        weight_change([torch.ones(1)], [torch.ones(1), torch.ones(1)])
