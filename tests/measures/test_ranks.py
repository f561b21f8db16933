import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from neoteny.measures import approx_rank_99, effective_rank, srank_99, stable_rank
from neoteny.measures.ranks import singular_values

unhurried = settings(deadline=None)

RANKS = {
    "srank_99": srank_99,
    "approx_rank_99": approx_rank_99,
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
}
matrices = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 7)),
    elements=st.sampled_from([-3.0, -1.0, 0.0, 0.0, 0.25, 2.0]),
)


def reference(matrix):
    sigma = np.linalg.svd(matrix, compute_uv=False)
    if not sigma.any():
        return dict.fromkeys(RANKS, 0.0)
    counts = {}
    for name, values in (("srank_99", sigma), ("approx_rank_99", sigma**2)):
        share, k = 0.0, 0
        while share < 0.99 * (1 - 1e-14):
            share += values[k] / values.sum()
            k += 1
        counts[name] = float(k)
    p = sigma[sigma > 0] / sigma.sum()
    spectral, frobenius = np.linalg.norm(matrix, 2), np.linalg.norm(matrix, "fro")
    return {
        **counts,
        "effective_rank": math.exp(-sum(share * math.log(share) for share in p)),
        "stable_rank": frobenius**2 / spectral**2,
    }


@unhurried
@given(matrices)
def test_against_numpy(matrix):
    for name, expected in reference(matrix).items():
        assert RANKS[name](torch.from_numpy(matrix)).item() == pytest.approx(expected, rel=1e-9), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 50, 100, 200])
def test_equal_singular_values(size, dtype):
    orthogonal = torch.linalg.qr(
        torch.randn(300, size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0]
    features = 7 * orthogonal.to(dtype)
    assert effective_rank(features).item() == pytest.approx(size, rel=1e-5)
    assert stable_rank(features).item() == pytest.approx(size, rel=1e-5)
    if dtype == torch.float64 or size < 100:
        assert srank_99(features) == approx_rank_99(features) == math.ceil(0.99 * size)


def test_ninety_nine_of_a_hundred_equal_values_are_ninety_nine_percent():
    for dtype in (torch.float32, torch.float64):
        assert srank_99(torch.eye(100, dtype=dtype)) == 99
        assert approx_rank_99(torch.eye(100, dtype=dtype)) == 99


def test_geometric_singular_values():
    """sigma_i = q^i: a closed form for every rank."""
    q, n = 0.8, 40
    features = torch.diag(q ** torch.arange(n, dtype=torch.float64))
    p = (1 - q) / (1 - q**n) * q ** np.arange(n)
    # 1 - q^k >= 0.99 (1 - q^n)
    assert srank_99(features) == math.ceil(math.log(1 - 0.99 * (1 - q**n)) / math.log(q))
    assert approx_rank_99(features) == math.ceil(math.log(1 - 0.99 * (1 - q ** (2 * n))) / math.log(q**2))
    assert effective_rank(features).item() == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    assert stable_rank(features).item() == pytest.approx((1 - q ** (2 * n)) / (1 - q**2))


@unhurried
@given(matrices, st.floats(1e-3, 1e3), st.randoms())
def test_scale_order_and_repetition_change_nothing(matrix, scale, random):
    assume(matrix.any())
    features = torch.from_numpy(matrix)
    rows = list(range(len(matrix)))
    random.shuffle(rows)
    other = scale * features[rows].repeat(2, 1)
    for rank in RANKS.values():
        assert rank(other).item() == pytest.approx(rank(features).item(), rel=1e-6)
        assert 1 - 1e-9 <= rank(features) <= min(matrix.shape) + 1e-9


@unhurried
@given(npst.arrays(np.float64, (2, 3, 4, 3), elements=st.floats(-1, 1, width=16)))
def test_leading_dimensions_are_free_and_positions_are_rows(values):
    features = torch.from_numpy(values)
    rows = features.movedim(-1, -2).reshape(2, 9, 4)
    assert singular_values(features, positions=True).shape == (2, 4)
    for rank in RANKS.values():
        stacked = rank(features, positions=True)
        assert stacked.shape == (2,)
        torch.testing.assert_close(stacked, rank(rows))
        for run in range(2):
            torch.testing.assert_close(rank(features[run], positions=True), stacked[run])


def test_zeros_and_what_is_not_finite():
    features = torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(0))
    features[1] = 0
    features[2, 4, 1] = torch.nan
    features[3, 0, 0] = torch.inf
    for rank in RANKS.values():
        found = rank(features)
        assert found[0] == rank(features[0])
        assert found[1] == 0
        assert found[2:].isnan().all()


def test_tiny_and_huge_features():
    base = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    for scale in (1e-30, 1e30):
        for rank in RANKS.values():
            assert rank(base * scale).item() == pytest.approx(rank(base).item(), rel=1e-4)


def test_half_precision_is_taken():
    base = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    for rank in RANKS.values():
        assert rank(base) == rank(base.float())
