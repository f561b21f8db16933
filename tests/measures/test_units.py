import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from neoteny.errors import SettingError
from neoteny.measures import dead_units, dormant_score, dormant_units

unhurried = settings(deadline=None)

# Activations after a rectifier: zeros are common, and exact.
features = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 6), st.integers(1, 4)),
    elements=st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.5, -1.0, 40.0]),
)


def reference(values, p, tau):
    """One run after another, one unit after another: [runs, examples, units, positions]."""
    rows = []
    for run in values:
        seen = [run[:, unit].ravel() for unit in range(run.shape[1])]
        size = np.array([np.abs(times).mean() for times in seen])
        rows.append(
            [
                np.mean([not times.any() for times in seen]),
                np.mean([np.count_nonzero(times) / times.size < p for times in seen]),
                np.mean(size / (size.mean() + 1e-9) <= tau),
            ]
        )
    return np.array(rows).T


def test_a_dead_layer_is_so_in_half_precision_too():
    assert dormant_score(torch.zeros(5, 3, dtype=torch.float16)) == 1


@unhurried
@given(features, st.sampled_from([0.0, 0.011, 0.3, 0.51, 1.0]), st.sampled_from([0.0, 0.03, 0.1, 0.9]))
def test_against_the_definitions(values, p, tau):
    dead, dormant, score = reference(values, p, tau)
    tensor = torch.from_numpy(values)
    np.testing.assert_allclose(dead_units(tensor, positions=True), dead, rtol=1e-6)
    np.testing.assert_allclose(dormant_units(tensor, p, positions=True), dormant, rtol=1e-6)
    np.testing.assert_allclose(dormant_score(tensor, tau, positions=True), score, rtol=1e-6)


@unhurried
@given(features)
def test_leading_dimensions_are_free_and_one_position_is_none(values):
    tensor = torch.from_numpy(values)
    for function in (dead_units, dormant_units, dormant_score):
        stacked = function(tensor, positions=True)
        assert stacked.shape == tensor.shape[:1]
        for run in range(len(tensor)):
            assert torch.equal(function(tensor[run], positions=True), stacked[run])
        assert torch.equal(function(tensor[None], positions=True), stacked[None])
        flat = tensor[..., :1]
        assert torch.equal(function(flat, positions=True), function(flat[..., 0]))


@pytest.mark.parametrize("share", [0.01, 0.07, 0.1, 0.29, 1 / 3, 0.57])
def test_active_on_exactly_a_share_is_not_dormant(share):
    examples = 300
    active = round(share * examples)
    values = torch.zeros(examples, 2)
    values[:active, 0] = 1
    values[: active - 1, 1] = 1
    assert dormant_units(values, p=share) == 0.5


def test_dormant_counts_what_dead_does_not():
    values = torch.zeros(1000, 4)
    values[:9, 1] = 1  # on 0.9% of the examples
    values[:10, 2] = 1  # on 1%
    values[:, 3] = -1  # negative is active
    assert dead_units(values) == 0.25
    assert dormant_units(values) == 0.5
    assert dormant_units(values, p=0) == 0


def test_positions_are_times_seen():
    values = torch.zeros(10, 2, 100)
    values[0, 0, 0] = 1
    assert dead_units(values, positions=True) == 0.5
    assert dormant_units(values, 0.002, positions=True) == 1
    assert dormant_units(values, 0.001, positions=True) == 0.5


def test_a_dead_layer_is_all_dormant_by_score():
    assert dormant_score(torch.zeros(5, 3)) == 1
    assert dormant_score(torch.ones(5, 3)) == 0
    assert dormant_score(torch.ones(5, 3), tau=1.0) == 1  # scores average to 1 in a layer


@unhurried
@given(npst.arrays(np.float64, (4, 5), elements=st.floats(-10, 10)), st.floats(0.1, 1000))
def test_the_score_does_not_depend_on_scale(values, scale):
    tensor = torch.from_numpy(np.where(np.abs(values) < 0.1, 0.1, values))
    at_tau = (tensor.abs().mean(0) / tensor.abs().mean() - 0.5).abs().min()
    if at_tau > 1e-6:
        assert dormant_score(tensor, 0.5) == dormant_score(tensor * scale, 0.5)


def test_bad_thresholds_are_refused():
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(SettingError, match="p = "):
            dormant_units(torch.ones(2, 2), bad)
    for bad in (-1.0, float("nan")):
        with pytest.raises(SettingError, match="tau = "):
            dormant_score(torch.ones(2, 2), bad)
