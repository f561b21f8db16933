"""Hugging Face's Trainer: Accelerate's wrapper of the optimizer, `optimizer.pt` beside the safetensors."""

from __future__ import annotations

import pytest

from examples.running import assert_never_stopped, load, replaced

pytest.importorskip("transformers", reason="needs Hugging Face's transformers")
pytest.importorskip("accelerate", reason="transformers' Trainer needs Accelerate")

QUIET = {"disable_tqdm": True}


def test_stopped_and_resumed_is_never_stopped(tmp_path):
    main = load("hugging_face_trainer").main
    straight = main(200, tmp_path / "straight", **QUIET)
    _, plasticity = main(100, tmp_path / "stopped", **QUIET)
    assert all(replaced(plasticity))
    assert_never_stopped(main(200, tmp_path / "stopped", resume=True, **QUIET), straight)


def test_accumulated_gradients_of_mixed_precision(tmp_path):
    _, plasticity = load("hugging_face_trainer").main(10, tmp_path, gradient_accumulation_steps=2, bf16=True, **QUIET)
    assert plasticity.updates == 10  # of 20 batches
