"""Re-learning after a return, on curves whose answer is known, and on the stream whose period it is."""

from __future__ import annotations

import numpy as np
import pytest

from neoteny.errors import SettingError
from neoteny.report.statistics.relearning import after_returns, relearning
from neoteny.streams.threshold_features import ThresholdFeatures


def test_windows_begin_where_the_part_of_the_stream_is_present_again():
    stream = ThresholdFeatures([0], period=100, task_length=50)
    present = np.array([stream.present(step) for step in range(500)])
    found = after_returns(present.reshape(50, 10).mean(1), bin_size=10, period=100, window=100)
    assert found.tolist() == [1.0, 1.0, 1.0]
    begun = np.flatnonzero(np.diff(present.astype(int), prepend=0) == 1)
    steps = np.arange(500).reshape(50, 10).mean(1)
    assert np.allclose(after_returns(steps, 10, 100, 10), begun + 4.5)


def test_relearning_compares_each_run_with_its_own_first_time():
    errors = np.array([[2.0, 1.0, 0, 0, 1.0, 1.0, 0, 0, 3.0, 1.0], [4.0, 1.0, 0, 0, 4.0, 1.0, 0, 0, 4.0, 1.0]])
    assert relearning(errors, 5, 10, 5).tolist() == [1.0, 1.0]
    assert relearning(errors, 5, 10, 10).tolist() == pytest.approx([1.5 / 1.5, 1.0])


@pytest.mark.parametrize(
    ("bins", "sizes", "words"),
    [(8, (3, 10, 5), "bins must divide"), (8, (5, 10, 15), "within a period"), (4, (5, 10, 5), "nothing returns")],
)
def test_what_cannot_be_compared_is_refused(bins, sizes, words):
    with pytest.raises(SettingError, match=words):
        after_returns(np.ones(bins), *sizes)
