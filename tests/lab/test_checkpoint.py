from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from neoteny.errors import CheckpointError
from neoteny.lab import checkpoint

IDENTITY = {"benchmark": "b-v1", "seeds": [0, 1], "methods": {"l2": {"strength": 1e-3}}}


def test_everything_comes_back(tmp_path):
    rng = np.random.default_rng(3)
    state = {
        "generator": rng.bit_generator.state,
        "arrays": [np.arange(3, dtype=np.uint32), np.zeros((0, 2)), np.array([True, False])],
        "tensors": {"a": torch.randn(2, 3)[:, 1:], "b": (torch.tensor(1.5, dtype=torch.float64), None, "text")},
        "number": np.float64(0.1),
        5: float("nan"),
    }
    path = tmp_path / "checkpoint.pt"
    checkpoint.save(path, state, IDENTITY)
    found = checkpoint.load(path, IDENTITY)
    again = np.random.default_rng()
    again.bit_generator.state = found["generator"]
    assert again.random() == rng.random()
    for mine, theirs in zip(state["arrays"], found["arrays"], strict=True):
        assert mine.dtype == theirs.dtype and np.array_equal(mine, theirs)
    assert torch.equal(found["tensors"]["a"], state["tensors"]["a"])
    assert found["tensors"]["b"] == state["tensors"]["b"]
    assert found["number"] == 0.1 and np.isnan(found[5])
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_view_does_not_drag_its_base_along(tmp_path):
    checkpoint.save(tmp_path / "c", {"x": torch.zeros(10**6)[:2]}, IDENTITY)
    assert (tmp_path / "c").stat().st_size < 10_000


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({**IDENTITY, "benchmark": "c-v1"}, "benchmark is 'b-v1' there and 'c-v1' here"),
        ({**IDENTITY, "methods": {"cbp": {"rate": 0.1}}}, r"methods\.cbp"),
        ({**IDENTITY, "methods": {"l2": {"strength": 1e-2}}}, r"methods\.l2\.strength is 0.001 there and 0.01 here"),
        ({**IDENTITY, "seeds": [0, 2]}, "seeds"),
    ],
)
def test_another_configuration_is_refused(tmp_path, other, named):
    checkpoint.save(tmp_path / "c", {}, IDENTITY)
    with pytest.raises(CheckpointError, match=named):
        checkpoint.load(tmp_path / "c", other)


def test_tuples_and_lists_are_the_same_setting(tmp_path):
    checkpoint.save(tmp_path / "c", {"x": 1}, {"betas": (0.9, 0.99)})
    assert checkpoint.load(tmp_path / "c", {"betas": [0.9, 0.99]}) == {"x": 1}


def test_damage_is_noticed(tmp_path):
    path = tmp_path / "checkpoint.pt"
    with pytest.raises(CheckpointError, match="does not exist"):
        checkpoint.load(path, IDENTITY)
    checkpoint.save(path, {"x": torch.arange(1000.0)}, IDENTITY)
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[:-50], whole[: len(whole) // 2], pickle.dumps({"format": 1})):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="no complete checkpoint"):
            checkpoint.load(path, IDENTITY)
    flipped = bytearray(whole)
    flipped[whole.index(np.float32(500).tobytes())] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path, IDENTITY)


def test_another_format_is_refused(tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "c", {}, IDENTITY)
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    with pytest.raises(CheckpointError, match="format 1, this version reads 2"):
        checkpoint.load(tmp_path / "c", IDENTITY)


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    torch.save({"format": 1, "identity": {}, "state": Evil()}, tmp_path / "c")
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path / "c", {})
    assert not (tmp_path / "pwned").exists()
