"""Accelerate: its wrapper of the optimizer, gradient accumulation, its folders of states."""

from __future__ import annotations

import pytest

from examples.running import assert_never_stopped, load, replaced

pytest.importorskip("accelerate", reason="needs Accelerate")


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    main = load("accelerate_loop").main
    straight = main(2, tmp_path / "straight")
    _, plasticity = main(1, tmp_path / "stopped")
    assert plasticity.updates == 200  # of 400 batches
    assert all(replaced(plasticity))
    assert_never_stopped(main(2, tmp_path / "stopped", resume_from=1), straight)
