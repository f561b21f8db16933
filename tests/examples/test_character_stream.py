"""The stream of texts: its tasks, its systems, and that a run which was interrupted goes on as if it never had been."""

from __future__ import annotations

import json

import torch

from examples.running import load

example = load("character_stream")


def test_a_run_that_was_interrupted_goes_on_as_if_it_never_had_been(tmp_path):
    def run(tasks, folder):
        options = ["--systems", "cbp-stream", "restart", "--seeds", "1", "--steps", "3"]
        return example.main([*options, "--tasks", str(tasks), "--folder", str(tmp_path / folder)])

    straight = run(2, "straight")
    assert all(2 < loss < 6 for (losses,) in straight.values() for loss in losses)
    run(1, "parts")
    assert run(2, "parts") == straight
    assert json.loads((tmp_path / "parts" / "losses.json").read_text()) == {"steps": 3, "losses": straight}


def test_a_cycle_has_every_text_once_in_a_code_of_its_own():
    texts = [torch.full((100 + i,), i) for i in range(len(example.PACKAGES))]
    tasks = [example.task(texts, number, seed=0) for number in range(2 * len(texts))]
    for cycle in (tasks[: len(texts)], tasks[len(texts) :]):
        assert sorted(map(len, cycle)) == sorted(map(len, texts))
    assert len({int(task[0]) for task in tasks}) > len(texts)
    assert torch.equal(example.task(texts, 3, seed=0), tasks[3])
    assert any(not torch.equal(example.task(texts, 3, seed=seed), tasks[3]) for seed in (1, 2))


def test_a_text_is_its_characters():
    text = example.read("ctypes")
    assert len(text) > 10_000 and int(text.max()) < len(example.CHARACTERS)
    assert "import" in "".join(example.CHARACTERS[i] for i in text[:2000])
