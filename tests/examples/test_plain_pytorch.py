"""Plain PyTorch: the optimizer's state_dict carries all there is to save."""

from __future__ import annotations

from examples.running import assert_never_stopped, load, replaced


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    main = load("plain_pytorch").main
    straight = main(400, tmp_path / "straight")
    _, plasticity = main(200, tmp_path / "stopped")
    assert all(replaced(plasticity))
    assert_never_stopped(main(400, tmp_path / "stopped", resume=True), straight)
