"""The stream of one's own: it learns, and a run tells the same errors twice."""

from __future__ import annotations

from examples.running import load

example = load("own_stream")


def test_every_system_learns_and_units_can_be_replaced():
    for make in example.SYSTEMS.values():
        short, longer = (example.main(make, steps=steps) for steps in (200, 1_000))
        assert longer < short
    assert example.main(steps=200) == example.main(steps=200)
