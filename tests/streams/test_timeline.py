from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neoteny.streams.timeline import Timeline, every


@given(
    lengths=st.tuples(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50)),
    steps=st.integers(1, 300),
    segment=st.sampled_from([1, 8, 64]),
)
def test_segments_end_at_every_event_and_can_be_found_again(lengths, steps, segment):
    tasks, bins, looks = (every(length, steps) for length in lengths)
    line = Timeline(tasks=tasks, bins=bins, looks=np.insert(looks, 0, 0), rates={0: 1.0, steps // 2: 0.5})
    cuts = [0]
    while cuts[-1] < steps:
        cuts.append(line.next_stop(cuts[-1], segment))
    assert cuts[-1] == steps == line.steps
    assert max(np.diff(cuts)) <= segment
    for length in lengths:
        assert set(range(0, steps + 1, length)) <= set(cuts)
    assert steps // 2 in cuts


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_tasks_of_unlike_lengths(lengths):
    line = Timeline(tasks=np.cumsum(lengths), bins=np.cumsum(lengths), looks=np.array([0]))
    numbers = [task for task, length in enumerate(lengths) for _ in range(length)]
    assert [line.task(position) for position in range(sum(lengths))] == numbers
    assert line.task(sum(lengths)) == len(lengths) - 1
    assert [line.start(task) for task in range(len(lengths))] == [sum(lengths[:k]) for k in range(len(lengths))]
    assert [line.bin_size(int(end)) for end in line.bins] == lengths


def test_the_factor_of_the_step_size_holds_until_the_next():
    line = Timeline(tasks=np.array([10]), bins=np.array([10]), looks=np.array([0]), rates={0: 1.0, 3: 0.2, 7: 0.04})
    assert [line.rate(step) for step in range(10)] == [1.0] * 3 + [0.2] * 4 + [0.04] * 3
