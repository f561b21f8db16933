"""Fine-tuning again and again: every system runs, and what is evaluated is what the page says."""

from __future__ import annotations

import json

import pytest
import torch

from examples.running import load


@pytest.fixture(scope="module")
def example():
    return load("fine_tuning")


def test_every_system_runs_and_writes_its_accuracies(example, mnist_dir, tmp_path, capsys):
    arguments = ["--systems", *example.SYSTEMS, "--rounds", "2", "--updates", "3", "--data-dir", str(mnist_dir)]
    found = example.main([*arguments, "--folder", str(tmp_path)])
    assert json.loads((tmp_path / "accuracies.json").read_text()) == found
    assert capsys.readouterr().out.count("s a run") == len(example.SYSTEMS) == len(found)
    assert all(len(each) == 1 and len(each[0]) == 2 for each in found.values())
    first = {system: each[0][0] for system, each in found.items()}
    assert first["plain"] == first["restart"] == first["head-reset"]  # they differ from the second round on
    assert found["plain"][0][1] != found["restart"][0][1]


def test_wrong_labels_are_wrong_and_as_many_as_stated(example):
    labels = torch.randint(0, 10, (200,))
    for share in example.WRONG:
        mistaken = example.with_mistakes(labels, share, torch.Generator().manual_seed(0))
        assert (mistaken != labels).sum() == round(200 * share)
        assert ((0 <= mistaken) & (mistaken < 10)).all()


def test_the_tortoise_is_what_is_evaluated(example):
    model, optimizer, plasticity = example.new("hare-and-tortoise")
    x, y = torch.rand(32, 14, 14), torch.randint(0, 10, (32,))
    tortoise = {name: value.detach().clone() for name, value in model.named_parameters()}
    for _ in range(4):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        for name, value in model.named_parameters():
            tortoise[name] = 0.99 * tortoise[name] + 0.01 * value.detach()
    with plasticity.evaluating():
        for name, value in model.named_parameters():
            torch.testing.assert_close(value.detach(), tortoise[name])
