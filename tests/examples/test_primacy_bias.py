"""The example that shows primacy bias in a network of one's own."""

from __future__ import annotations

import pytest

pytest.importorskip("gymnasium")
from examples.running import load


def test_a_primed_network_learns_more_slowly_than_a_plain_one(capsys):
    example = load("primacy_bias")
    plain, primed = example.main(example.Args(priming=3_000, updates=500))
    assert primed.difference > plain.difference
    assert "its error on new targets" in capsys.readouterr().out
